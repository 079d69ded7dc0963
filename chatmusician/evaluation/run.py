"""The evaluate command: compose tunes from held-out prompts, measure them, and write down the figures.

Writes into the run's folder ``answers.jsonl`` (every prompt with its answer and what was found in it) and
``metrics.json`` (the figures), and prints the figures.
"""

import json
import logging
import random
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from chatmusician.data.folk import FolkTasks, FolkTunes, melody_of
from chatmusician.data.instructions import Example
from chatmusician.data.shards import write_bytes, write_json
from chatmusician.errors import UserError
from chatmusician.evaluation.composition import BarRate, CopiedRate, ParseRate
from chatmusician.evaluation.likelihood import bits_per_byte
from chatmusician.generation.generator import Generator
from chatmusician.generation.loading import load_generator
from chatmusician.music.checks import TuneCheck, check_tune
from chatmusician.music.extraction import extract_tune
from chatmusician.music.tunes import parse_tune

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> dict[str, float]:
    """Evaluate as configured; the figures by name."""
    output = Path(HydraConfig.get().runtime.output_dir)
    tasks: FolkTasks = instantiate(cfg.tasks)
    tunes: FolkTunes = instantiate(cfg.tunes)
    generator = load_generator(model=cfg.model, adapter=None, tokenizer=None, batch_size=cfg.batch_size)
    examples = sample_examples(tasks, split=cfg.split, count=cfg.samples, seed=cfg.seed)
    melodies = frozenset(tune.melody for tune in tunes.collections.tunes("train"))
    started = time.perf_counter()
    figures, rows = compose(generator, examples, melodies, decoding=instantiate(cfg.generation))
    figures["generate_s"] = round(time.perf_counter() - started, 1)
    figures["bits_per_byte"] = bits_per_byte(
        generator.model,
        generator.tokenizer,
        list(tunes.documents(cfg.split)),
        window=generator.window,
        batch_size=cfg.batch_size,
    )
    figures = {name: round(value, 4) for name, value in figures.items()}
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_bytes(output / "answers.jsonl", lines.encode())
    write_json(output / "metrics.json", figures)
    for name, value in figures.items():
        print(f"{name:16} {value}")
    print(f"answers: {output / 'answers.jsonl'}")
    return figures


def sample_examples(tasks: FolkTasks, *, split: str, count: int, seed: int) -> list[Example]:
    """A seeded sample of the questions of a split.

    Raises:
        UserError: the split has fewer questions.
    """
    examples = list(tasks.examples(split))
    if len(examples) < count:
        raise UserError(f"samples={count}: the {split} split has only {len(examples)} questions of these tasks")
    return random.Random(seed).sample(examples, count)


def compose(
    generator: Generator, examples: list[Example], melodies: frozenset[str], *, decoding: Any
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Answer the questions and measure the tunes: figures by name, and a row for each answer."""
    parse_rate, bar_rate, copied_rate = ParseRate(), BarRate(), CopiedRate(melodies=melodies)
    rows: list[dict[str, Any]] = [{} for _ in examples]
    questions = [example.question for example in examples]
    for done, (index, answer) in enumerate(generator.answers(questions, decoding), start=1):
        abc = extract_tune(answer.text).abc
        check: TuneCheck | None = check_tune(abc) if abc is not None else None
        melody = melody_of(parse_tune(abc)) if abc is not None and check is not None and check.parses else None
        parse_rate.update(check)
        bar_rate.update(check)
        copied_rate.update(melody)
        rows[index] = {
            "task": examples[index].task,
            "question": examples[index].question,
            "answer": answer.text,
            "parses": check is not None and check.parses,
            "reason": check.reason if check is not None else "no tune in the answer",
            "bars": check.bars if check is not None else 0,
            "bars_right": check.bars_right if check is not None else 0,
            "copied": melody is not None and melody in melodies,
            "finished": answer.finished,
        }
        if done % 50 == 0:
            log.info("%d of %d tunes composed", done, len(examples))
    figures = {
        "parse_rate": float(parse_rate.compute()),
        "bar_rate": float(bar_rate.compute()),
        "copied_rate": float(copied_rate.compute()),
    }
    return figures, rows
