"""What holding tunes to the rules of ABC does to them, and what it costs.

    python experiments/benchmarks/constraint_figures.py [--model outputs/quickstart/model] [--tunes 500]

Prompts of the validation split, sampled as `conf/generation/nano.yaml` says, are answered without a constraint, with
``syntax`` and with ``bars``. They come in groups of 50, and each group is answered in all three ways, one after the
other in one process. The last line is JSON; for each way (``none``, ``syntax``, ``bars``):

- ``parse_rate``, ``abc2midi_rate``: of the answers; ``bar_rate``: of the bars of tunes that parse; ``in_time``: answers
  in which every bar adds up;
- ``repeat_signs``, ``repeated_bars``, ``in_key``, ``interval_distance``, ``length_distance``, ``bars_a_tune``: as the
  evaluation defines them, what the tunes are like, since a constraint should not change that;
- ``cut``: answers that the limit of tokens cut; ``gave_way``: tokens for which no choice was left;
- ``tokens_per_s``: of all groups, of processor time of one core, since others may use the machine too;
- ``slowdown``: how much longer a token takes than without constraint, median of the groups; ``slowdown_first``: in the
  first group, where every situation of a tune is new.

Other benchmarks call `constraint_figures`.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

WAYS = ("none", "syntax", "bars")
A_GROUP = 50
SEED = 1234
NAMES = (
    *("parse_rate", "abc2midi_rate", "bar_rate", "repeat_signs", "repeated_bars", "in_key"),
    *("interval_distance", "length_distance", "bars_a_tune"),
)


@dataclass(frozen=True, kw_only=True)
class ConstraintFigures:
    """What tunes are like that were sampled in one way, and how fast they came."""

    figures: dict[str, float]
    """By the names of `chatmusician.evaluation.tune_metrics`."""
    in_time: float
    cut: int
    gave_way: int
    tokens_per_s: float
    slowdown: float
    slowdown_first: float


@dataclass
class Sampled:
    """What one way of sampling has given so far."""

    answers: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Seconds a token, by group."""


def main() -> None:
    """Take the measurements and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="outputs/quickstart/model", help="the model that composes")
    parser.add_argument("--tunes", type=int, default=500, help="tunes that are composed in each way")
    arguments = parser.parse_args()
    found = constraint_figures(arguments.model, tunes=arguments.tunes)
    print(json.dumps({way: asdict(figures) for way, figures in found.items()}))


def constraint_figures(model: str, *, tunes: int = 500) -> dict[str, ConstraintFigures]:
    """The figures of each way, from ``tunes`` answers of a model in a folder."""
    from chatmusician.data.folk import FolkCollections, FolkTasks
    from chatmusician.evaluation.sampling import sample_examples

    tasks = ("text_to_score", "form_to_music", "letters_and_motif_to_music", "terms_and_motif_to_music")
    examples = sample_examples(FolkTasks(tasks=tasks), split="validation", count=tunes, seed=SEED)
    real_tunes = [tune.abc for tune in FolkCollections().tunes("validation")]
    ways = sample(model, [example.question for example in examples])
    return {way: measure(ways[way], ways["none"], examples, real_tunes) for way in WAYS}


def sample(model: str, questions: list[str]) -> dict[str, Sampled]:
    """Answers to the questions in each way."""
    import torch

    from chatmusician.generation.decoding import Decoding
    from chatmusician.generation.loading import load_generator

    torch.set_num_threads(1)  # a second one helps so small a model little, and waits where others use the machine
    generator = load_generator(model=model, device="cpu")
    nano = Decoding(temperature=0.9, repetition_penalty=1.0, max_new_tokens=512, seed=SEED)
    generator.generate(questions[:2], nano)  # a warm-up
    ways = {way: Sampled() for way in WAYS}
    for start in range(0, len(questions), A_GROUP):
        group = questions[start : start + A_GROUP]
        numbers = range(start, start + len(group))
        for way, sampled in ways.items():
            started = time.process_time()
            answers = generator.generate(group, replace(nano, constraint=way), numbers=numbers)
            seconds = time.process_time() - started
            sampled.answers += answers
            sampled.seconds.append(seconds / sum(answer.tokens for answer in answers))
        print(
            f"{start + len(group)}: " + ", ".join(f"{way} {1 / s.seconds[-1]:.0f}" for way, s in ways.items()),
            flush=True,
        )
    return ways


def measure(sampled: Sampled, free: Sampled, examples: list[Any], real_tunes: list[str]) -> ConstraintFigures:
    """The figures of one way, slower than ``free``."""
    from chatmusician.evaluation.tune_metrics import TuneMetrics

    metrics = TuneMetrics(training_melodies=(), real_tunes=real_tunes)
    for example, answer in zip(examples, sampled.answers, strict=True):
        metrics.update(question=example.question, task=example.task, answer=answer.text)
    figures = metrics.compute()
    in_time = sum(record["parses"] and record["bars"] == record["bars_right"] for record in metrics.records)
    tokens = [answer.tokens for answer in sampled.answers]
    groups = [sum(tokens[start : start + A_GROUP]) for start in range(0, len(tokens), A_GROUP)]
    seconds = sum(count * each for count, each in zip(groups, sampled.seconds, strict=True))
    slower = [here / there - 1 for here, there in zip(sampled.seconds, free.seconds, strict=True)]
    return ConstraintFigures(
        figures={name: round(figures[name].value, 4) for name in NAMES},
        in_time=round(in_time / len(examples), 4),
        cut=sum(answer.cut is not None for answer in sampled.answers),
        gave_way=sum(answer.gave_way for answer in sampled.answers),
        tokens_per_s=round(sum(tokens) / seconds),
        slowdown=round(statistics.median(slower), 3),
        slowdown_first=round(slower[0], 3),
    )


if __name__ == "__main__":
    main()
