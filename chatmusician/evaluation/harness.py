"""MMLU and MusicTheoryBench through EleutherAI's lm-eval (the extra ``eval``), as a second opinion.

MMLU runs as lm-eval ships it, 5-shot. MusicTheoryBench is not among its tasks; the files in ``harness_tasks`` add it,
zero-shot and 5-shot, with the prompts of `chatmusician.evaluation.choice_questions`. lm-eval scores a continuation
given a context, and the paper scores whole strings, so the context is no more than what lm-eval needs before the first
predicted token: nothing where the tokenizer adds a beginning-of-text token, else the text of the first token::

    string         Read the following ... Answer: B
    context        Read                                      (tokens: |Read| the| following ...)
    continuation        the following ... Answer: B          every token that has one before it

The score of an option is then minus lm-eval's log likelihood over the number of tokens predicted: the same number as
`chatmusician.evaluation.choice_scores.score_options` gives, computed by other code, one pass for each option. Use
that one to get results and this one to doubt them.
"""

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatmusician.data.tokenizers import load_tokenizer
from chatmusician.errors import UserError
from chatmusician.evaluation.choice_questions import ChoiceOutcome, GroupResult, group_result, group_results
from chatmusician.evaluation.choice_scores import adds_beginning, fit_strings, scored_outcome
from chatmusician.evaluation.music_theory_bench import (
    DATASET,
    SEED,
    SHUFFLES,
    BenchmarkResult,
    collect_result,
    load_benchmark,
    shuffled_questions,
    worked_examples,
)
from chatmusician.generation.generator import Generator
from chatmusician.generation.loading import load_generator

TASKS = Path(__file__).parent / "harness_tasks"

TASKS_BY_SHOTS = {0: "music_theory_bench_zero_shot", 5: "music_theory_bench_five_shot"}

MMLU_EXAMPLES = 5
"""Worked examples of each subject."""

MMLU_PUBLISHED = {"ChatMusician-Base": 0.485, "ChatMusician": 0.468, "LLaMA2-7B": 0.4679}
"""MMLU 5-shot of the paper, as shares."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MmluResult:
    """What a model got right in MMLU."""

    shots: int
    truncated: int
    """Questions whose prompt, examples and all, is longer than the model's window: lm-eval cuts off its beginning."""
    overall: GroupResult
    """Over all questions, each counting the same."""
    subjects: tuple[GroupResult, ...]
    """By lm-eval's task."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON, with the published figures beside it."""
        return {
            "benchmark": "MMLU",
            "scoring": "likelihood of the letter, by lm-eval",
            "shots": self.shots,
            "truncated": self.truncated,
            "overall": self.overall.to_dict(),
            "subjects": {result.group: result.to_dict() for result in self.subjects},
            "published": MMLU_PUBLISHED,
        }


def evaluate_mmlu(
    *,
    model: str,
    tasks: Sequence[str | Mapping[str, Any]] = ("mmlu",),
    shots: int = 5,
    batch_size: int = 8,
    device: str = "auto",
    dtype: str = "auto",
) -> MmluResult:
    """Run MMLU as lm-eval ships it. The questions come from the Hub (cais/mmlu).

    Args:
        model: a model folder or Hub id.
        tasks: lm-eval's names of MMLU or parts of it, such as ``mmlu_stem``; or its task configurations.
        shots: worked examples in each prompt.
        batch_size: strings computed together.
        device, dtype: as for `chatmusician.generation.loading.load_generator`.

    Raises:
        UserError: lm-eval is not installed, it has no such task, ``shots`` is not 0 to 5, or the questions or the model
            cannot be loaded.
    """
    if not 0 <= shots <= MMLU_EXAMPLES:
        raise UserError(f"shots={shots} is out of range: MMLU has {MMLU_EXAMPLES} worked examples for each subject")
    manager = _task_manager(_shipped_tasks("mmlu"))
    unknown = [task for task in tasks if isinstance(task, str) and task not in manager.all_tasks]
    if unknown:
        raise UserError(f"lm-eval has no task {unknown[0]!r} in MMLU: choose mmlu, mmlu_stem, mmlu_humanities, ...")
    harness = _harness_model(model, batch_size=batch_size, device=device, dtype=dtype)
    samples = _run(harness, list(tasks), manager, shots=shots)
    outcomes = [
        ChoiceOutcome(
            question_id=f"{task}/{sample['doc_id']}",
            group=task,
            answer=sample["target"],
            answered=True,
            chosen=max(range(len(sample["filtered_resps"])), key=lambda option: sample["filtered_resps"][option][0]),
        )
        for task, asked in samples.items()
        for sample in asked
    ]
    return MmluResult(
        shots=shots,
        truncated=sum(_is_truncated(harness, sample) for asked in samples.values() for sample in asked),
        overall=group_result("mmlu", outcomes),
        subjects=group_results(outcomes),
    )


def evaluate_music_theory_bench(
    *,
    model: str,
    questions: str = DATASET,
    shots: int = 0,
    shuffles: int = SHUFFLES,
    seed: int = SEED,
    batch_size: int = 8,
    device: str = "auto",
    dtype: str = "auto",
) -> BenchmarkResult:
    """Run MusicTheoryBench through lm-eval, by our task files.

    Args:
        model: a model folder or Hub id.
        questions: a local .jsonl or .parquet file, or a Hub id.
        shots: 0 or 5.
        shuffles, seed: as for `chatmusician.evaluation.music_theory_bench.evaluate_by_likelihood`.
        batch_size: strings computed together.
        device, dtype: as for `chatmusician.generation.loading.load_generator`.

    Raises:
        UserError: lm-eval is not installed, there is no task of so many shots, no question fits the model's window, or
            the questions or the model cannot be loaded.
    """
    if shots not in TASKS_BY_SHOTS:
        raise UserError(f"shots={shots} has no lm-eval task: choose one of {', '.join(map(str, TASKS_BY_SHOTS))}")
    manager = _task_manager(
        TASKS, metadata={"pretrained": model, "questions": questions, "shuffles": shuffles, "seed": seed}
    )
    benchmark = load_benchmark(questions)
    asked = shuffled_questions(benchmark, shuffles=shuffles, seed=seed)
    harness = _harness_model(model, batch_size=batch_size, device=device, dtype=dtype)
    (samples,) = _run(harness, [TASKS_BY_SHOTS[shots]], manager, shots=None).values()
    scored = {(sample["doc"]["id"], sample["doc"]["shuffle"]): sample for sample in samples}
    outcomes = []
    for question, number, _ in asked:
        sample = scored.get((question.question_id, number))
        scores = None if sample is None else _mean_nats(sample["doc"], sample["filtered_resps"])
        outcomes.append(scored_outcome(question, scores, examples=0 if sample is None else sample["doc"]["examples"]))
    return collect_result(
        benchmark, asked, outcomes, scoring="likelihood, by lm-eval", shots=shots, shuffles=shuffles, seed=seed
    )


# -- what the task files call


def music_theory_rows(
    *,
    pretrained: str,
    shots: int,
    questions: str = DATASET,
    tokenizer: str | None = None,
    shuffles: int = SHUFFLES,
    seed: int = SEED,
    **_metadata: Any,
) -> dict[str, Any]:
    """The split ``test`` for lm-eval: a row for each question and shuffle that fits the model's window.

    Args:
        pretrained, tokenizer: the model's folder or Hub id, and its tokenizer's; lm-eval's names for them.
        shots: worked examples, from split ``dev``.
        questions, shuffles, seed: see `evaluate_music_theory_bench`.
        _metadata: what else lm-eval passes to every task.

    Raises:
        UserError: the questions or the tokenizer cannot be read, or no question fits.
    """
    from datasets import Dataset
    from transformers import AutoConfig

    reader = load_tokenizer(tokenizer or pretrained)
    window = AutoConfig.from_pretrained(pretrained).max_position_embeddings
    benchmark = load_benchmark(questions)
    examples = worked_examples(benchmark, shots)
    asked = shuffled_questions(benchmark, shuffles=shuffles, seed=seed)
    rows = []
    for question, number, _ in asked:
        fitted = fit_strings(reader, question, examples, window=window)
        if fitted is not None:
            context = "" if adds_beginning(reader) else _first_token(reader, fitted.strings[0], fitted.ids[0][0])
            rows.append(
                {
                    "id": question.question_id,
                    "subject": question.group,
                    "shuffle": number,
                    "examples": fitted.examples,
                    "context": context,
                    "choices": [string.removeprefix(context) for string in fitted.strings],
                    "tokens": [len(ids) - 1 for ids in fitted.ids],
                    "gold": question.answer,
                }
            )
    if not rows:
        raise UserError(f"no question of {benchmark.source} fits the window of {window} tokens of {pretrained}")
    if len(rows) < len(asked):
        log.warning("%d of %d prompts do not fit the window of %d tokens", len(asked) - len(rows), len(asked), window)
    return {"test": Dataset.from_list(rows)}


def music_theory_metrics(row: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Whether the option with the lowest mean cross-entropy is right, overall and for the row's subject."""
    scores = _mean_nats(row, results)
    right = float(scores.index(min(scores)) == row["gold"])
    return {"acc": right, f"acc_{row['subject']}": right}


def _mean_nats(row: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> list[float]:
    """Mean cross-entropy of each option, from lm-eval's log likelihoods."""
    return [-likelihood / tokens for (likelihood, _), tokens in zip(results, row["tokens"], strict=True)]


def _first_token(tokenizer: Any, string: str, token: int) -> str:
    """The text of the first token of ``string``, which lm-eval will tokenise again."""
    text = tokenizer.decode([token])
    if not string.startswith(text) or tokenizer(text, add_special_tokens=False).input_ids != [token]:
        raise UserError(f"the tokenizer reads its token {text!r} in another way alone: lm-eval cannot score with it")
    return text


# -- lm-eval


def _require_lm_eval() -> None:
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError("this needs lm-eval, which is not installed: pip install 'chatmusician[eval]'")


def _shipped_tasks(name: str) -> Path:
    """The folder of lm-eval's own task files for a benchmark; reading that alone spares some 14,000 others."""
    _require_lm_eval()
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).parent / name


def _task_manager(folder: Path, *, metadata: dict[str, Any] | None = None) -> Any:
    _require_lm_eval()
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=folder, include_defaults=False, metadata=metadata)


def _harness_model(model: str, *, batch_size: int, device: str, dtype: str) -> Any:
    """lm-eval's view of a model that is loaded as for generation, with the same refusals."""
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size} is out of range: it must be 1 or more")
    generator: Generator = load_generator(model=model, backend="transformers", device=device, dtype=dtype)
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=generator.model,
        tokenizer=generator.tokenizer,
        batch_size=batch_size,
        max_length=generator.window,
    )


def _run(harness: Any, tasks: list[Any], manager: Any, *, shots: int | None) -> dict[str, list[dict[str, Any]]]:
    """lm-eval's samples of every task."""
    from lm_eval import simple_evaluate

    try:
        results = simple_evaluate(
            model=harness, tasks=tasks, num_fewshot=shots, task_manager=manager, bootstrap_iters=0, log_samples=True
        )
    except OSError as error:  # what datasets and the Hub raise where there is no such data, or no network
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"lm-eval cannot run {tasks}: {reason}") from error
    assert results is not None  # it is so on other ranks than the first, and this is one process
    return {task: sorted(found, key=lambda sample: sample["doc_id"]) for task, found in results["samples"].items()}


def _is_truncated(harness: Any, sample: dict[str, Any]) -> bool:
    """Whether lm-eval had to cut a prompt: it needs room for all tokens but the last."""
    return any(
        len(harness.tok_encode(context + continuation)) - 1 > harness.max_length
        for context, continuation in sample["arguments"]
    )
