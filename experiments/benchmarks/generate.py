"""Speed of generation against transformers' ``generate``, tunes under the rules of ABC, and rendering.

    python experiments/benchmarks/generate.py [--model outputs/quickstart/model] [--tunes 500] [--rounds 3]

The model is the one that ``make quickstart`` leaves (2 million parameters); beside it a model of 58 million random
parameters is measured, for speed alone. Sampling is the paper's but for the temperature, see conf/generation/nano.yaml.
All contenders take turns in one process. The last line is JSON:

- ``speed_1``: tokens a second for one prompt over those of ``generate``, for 128 and 512 new tokens, the smaller ratio;
- ``speed_64``: the same for 64 prompts of the validation split. The longest answer has 128 or 512 tokens, the others
  are to it as the corpus's answers are to their longest: a row that is done leaves its batch. ``generate`` gets them in
  one batch of 64 and in four of 16, with a criterion that stops each row where it should, and the better one counts;
- ``speed_1_58m``, ``speed_64_58m``: the same with 58 million parameters; ``tokens_per_s``: ours, by model and case;
- ``parse_rate``, ``bar_rate``, ``constraint_slowdown``: of tunes sampled with ``constraint=bars``; the last is the time
  of a token over that without; ``constraints`` has all figures of all constraints (constraint_figures.py);
- ``render_s``: median seconds of a tune to PNG, MIDI and WAV (render_figures.py).

``generate`` runs with one thread and with all, and its better time counts in each case; with 58 million parameters,
where one thread is always slower and small batches too, with all and in one batch, once.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

LENGTHS = (128, 512)
SEED = 1234
ONE, MANY = 1, 64


@dataclass(frozen=True, kw_only=True)
class Job:
    """A prompt and how long its answer is to be."""

    prompt_ids: tuple[int, ...]
    length: int


def main() -> None:
    """Take the measurements and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="outputs/quickstart/model", help="the model that composes")
    parser.add_argument("--tunes", type=int, default=500, help="tunes that are composed under each constraint")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each contender takes")
    parser.add_argument("--only-speed", action="store_true", help="leave constraints and rendering out")
    arguments = parser.parse_args()
    figures: dict[str, Any] = speed_figures(arguments.model, rounds=arguments.rounds)
    if not arguments.only_speed:
        figures |= tune_figures(arguments.model, tunes=arguments.tunes)
    print(json.dumps(figures))


def tune_figures(model: str, *, tunes: int) -> dict[str, Any]:
    """What constraints do to tunes, and how long a tune takes to be rendered."""
    from constraint_figures import constraint_figures
    from render_figures import render_figures

    ways = constraint_figures(model, tunes=tunes)
    bars = ways["bars"]
    return {
        "parse_rate": bars.figures["parse_rate"],
        "bar_rate": bars.figures["bar_rate"],
        "constraint_slowdown": round(1 + bars.slowdown, 3),
        "render_s": render_figures().png_midi_wav_s,
        "constraints": {name: asdict(way) for name, way in ways.items()},
    }


def speed_figures(model: str, *, rounds: int) -> dict[str, Any]:
    """Ratios of tokens a second, ours over the peer's."""
    from chatmusician.generation.backends.transformers_backend import TransformersBackend
    from chatmusician.generation.generator import Generator
    from chatmusician.generation.loading import load_generator

    nano = load_generator(model=model, device="cpu", batch_size=MANY)
    larger = Generator(
        backend=TransformersBackend(model=make_larger(len(nano.tokenizer)), tokenizer=nano.tokenizer), batch_size=MANY
    )
    figures: dict[str, Any] = {"tokens_per_s": {}}
    for name, generator, turns in (("", nano, rounds), ("_58m", larger, 1)):
        for count in (ONE, MANY):
            ratios = []
            for longest in LENGTHS:
                jobs = make_jobs(generator, count=count, longest=longest)
                ours, ratio = compare(
                    generator, jobs, rounds=turns * (3 if count == ONE else 1), small=generator is nano
                )
                figures["tokens_per_s"][f"{count}x{longest}{name}"] = round(ours)
                ratios.append(ratio)
                print(f"{count} of at most {longest}{name}: {ours:.0f} tokens/s, {ratio:.2f} times", flush=True)
            figures[f"speed_{count}{name}"] = round(min(ratios), 2)
    return figures


def make_larger(vocabulary: int) -> Any:
    """A LLaMA of 58 million random parameters with a vocabulary of the same size."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=640,
        intermediate_size=1664,
        num_hidden_layers=12,
        num_attention_heads=10,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(shape).eval()


def make_jobs(generator: Any, *, count: int, longest: int) -> list[Job]:
    """Prompts of the validation split, and lengths in proportion to their answers: the longest has all tokens."""
    from chatmusician.data.folk import FolkTasks
    from chatmusician.evaluation.sampling import sample_examples

    tasks = ("text_to_score", "form_to_music", "letters_and_motif_to_music", "terms_and_motif_to_music")
    examples = sample_examples(FolkTasks(tasks=tasks), split="validation", count=count, seed=SEED)
    answers = [len(generator.tokenizer(example.answer, add_special_tokens=False).input_ids) for example in examples]
    return [
        Job(prompt_ids=generator.prompt_ids(example.question), length=-(-answer * longest // max(answers)))
        for example, answer in zip(examples, answers, strict=True)
    ]


def compare(generator: Any, jobs: Sequence[Job], *, rounds: int, small: bool) -> tuple[float, float]:
    """Our tokens a second, and the median over the rounds of their ratio to the peer's best."""
    sizes = [len(jobs), 16] if small and len(jobs) > ONE else [len(jobs)]
    threads = torch.get_num_threads()

    def peer(size: int, limit: int) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(limit)
            by_transformers(generator, jobs, batch_size=size)
            torch.set_num_threads(threads)

        return run

    peers = [peer(size, limit) for size in sizes for limit in (sorted({1, threads}) if small else [threads])]
    tokens = sum(job.length for job in jobs)
    speeds, ratios = [], []
    for warm in (by_us, _generate):
        warm(generator, [Job(prompt_ids=jobs[0].prompt_ids, length=8)])
    for _ in range(rounds):
        ours = seconds_of(lambda: by_us(generator, jobs))
        theirs = min(seconds_of(run) for run in peers)
        speeds.append(tokens / ours)
        ratios.append(theirs / ours)
    return statistics.median(speeds), statistics.median(ratios)


def seconds_of(run: Callable[[], None]) -> float:
    """Wall-clock seconds of a call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def sampling() -> dict[str, Any]:
    """Settings of both contenders."""
    return {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.1}


def by_us(generator: Any, jobs: Sequence[Job]) -> None:
    """Answer all jobs with our loop."""
    from chatmusician.generation.backends.backend import Row, decode_rows
    from chatmusician.generation.decoding import Decoding

    rows = []
    for number, job in enumerate(jobs):
        decoding = Decoding(**sampling(), min_new_tokens=job.length, max_new_tokens=job.length, seed=SEED)
        rows.append(Row(number=number, prompt_ids=job.prompt_ids, limit=job.length, decoding=decoding))
    found: dict[int, list[int]] = {row.number: [] for row in rows}
    slots = min(MANY, len(rows))
    with generator.backend.open(slots=slots) as batch:
        for step in decode_rows(batch, rows, slots=slots):
            for drawn in step:
                found[drawn.row.number].append(drawn.token)
    if [len(ids) for ids in found.values()] != [job.length for job in jobs]:
        raise SystemExit("our answers are not as long as they should be")
    generator.tokenizer.batch_decode(list(found.values()))


def by_transformers(generator: Any, jobs: Sequence[Job], *, batch_size: int) -> None:
    """Answer all jobs with ``generate``, in batches."""
    for start in range(0, len(jobs), batch_size):
        _generate(generator, jobs[start : start + batch_size])


def _generate(generator: Any, jobs: Sequence[Job]) -> None:
    from transformers import StoppingCriteriaList

    tokenizer = generator.tokenizer
    width = max(len(job.prompt_ids) for job in jobs)
    ids = torch.full((len(jobs), width), tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, job in enumerate(jobs):
        ids[row, width - len(job.prompt_ids) :] = torch.tensor(job.prompt_ids)
        mask[row, width - len(job.prompt_ids) :] = 1
    lengths = torch.tensor([job.length for job in jobs])
    longest = int(lengths.max())

    def is_done(so_far: torch.Tensor, _scores: torch.Tensor, **_settings: object) -> torch.Tensor:
        return lengths <= so_far.shape[1] - width

    found = generator.model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        **sampling(),
        min_new_tokens=longest,
        max_new_tokens=longest,
        pad_token_id=tokenizer.pad_token_id,
        stopping_criteria=StoppingCriteriaList([is_done]),
    )
    tokenizer.batch_decode(found[:, width:])


if __name__ == "__main__":
    main()
