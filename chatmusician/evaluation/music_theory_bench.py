"""MusicTheoryBench: 372 questions of music theory with four options, and how to ask them.

269 questions of knowledge and 98 of reasoning (split ``test``), and 5 worked examples (split ``dev``), from the Hub
(m-a-p/MusicTheoryBench) or from a local file of the same schema. A question is asked once for each of five shuffles of
its options, and the results are averaged, as in the paper; an interval is a bootstrap over questions. With 98 reasoning
questions it reaches about 9 points to either side, so that every published figure for reasoning but the best lies
within the interval of guessing.

Prompts, to the character, are made by `chatmusician.evaluation.choice_questions.option_strings`; the sentence "Use the
example below to answer the question that follows." is taken out of the stem, as the paper's evaluation does. Options
that speak of each other ("both A and B") are shuffled like all others.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError
from chatmusician.evaluation.choice_letters import answer_questions
from chatmusician.evaluation.choice_questions import (
    LETTERS,
    ChoiceOutcome,
    ChoiceQuestion,
    GroupResult,
    group_results,
    shuffled,
)
from chatmusician.evaluation.choice_scores import score_questions
from chatmusician.generation.generator import Generator

DATASET = "m-a-p/MusicTheoryBench"

REFERENCE_SENTENCE = "Use the example below to answer the question that follows."

REQUIRED = ("id", "stem", "options", "subject", "answer", "split", "abc_score")
"""Fields that a row must have; ``abc_score`` may be empty. ``instruction`` and ``analysis`` are not read."""

SUFFIXES = (".jsonl", ".parquet")

SHUFFLES = 5
SEED = 1234


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """Figures of the paper (arXiv 2402.16153, zero-shot but where ``setting`` says otherwise), as shares."""

    model: str
    setting: str
    knowledge: float | None
    reasoning: float | None


PUBLISHED = (
    PublishedRow(model="random", setting="zero-shot", knowledge=0.25, reasoning=0.25),
    PublishedRow(model="LLaMA2-7B", setting="zero-shot", knowledge=0.333, reasoning=None),
    PublishedRow(model="GPT-3.5", setting="zero-shot", knowledge=0.312, reasoning=None),
    PublishedRow(model="ChatMusician", setting="zero-shot", knowledge=0.395, reasoning=0.263),
    PublishedRow(model="ChatMusician-Base", setting="zero-shot", knowledge=0.402, reasoning=0.271),
    PublishedRow(model="GPT-4", setting="zero-shot", knowledge=0.582, reasoning=0.256),
    PublishedRow(model="GPT-4", setting="role play, chain of thought, 5-shot", knowledge=0.699, reasoning=None),
    PublishedRow(model="GPT-4", setting="role play, 5-shot", knowledge=None, reasoning=0.395),
)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The questions that are asked and the worked examples."""

    source: str
    """Hub id or path that they were read from."""
    questions: tuple[ChoiceQuestion, ...]
    """Split ``test``; a question's group is its subject."""
    examples: tuple[ChoiceQuestion, ...]
    """Split ``dev``, in the file's order."""


@dataclass(frozen=True, kw_only=True)
class QuestionRecord:
    """One question under one shuffle of its options."""

    outcome: ChoiceOutcome
    """Positions, letters and scores in it are those shown, after the shuffle."""
    shuffle: int
    """Number of the shuffle, from 0."""
    order: tuple[int, ...]
    """Position, in the file, of the option shown at each letter."""

    def to_dict(self) -> dict[str, Any]:
        """A flat row: id, subject, shuffle, order, and the outcome's fields, with letters for positions."""
        row = self.outcome.to_dict()
        return {
            "id": row.pop("question_id"),
            "subject": row.pop("group"),
            "shuffle": self.shuffle,
            "order": "".join(LETTERS[old] for old in self.order),
            **row,
        }


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """What a model got right, by subject."""

    source: str
    scoring: str
    """How the model's choice was found: "likelihood" or "written answer", and by which program if not by this one."""
    shots: int
    shuffles: int
    seed: int
    examples_dropped: int
    """Worked examples left out of prompts for want of room, over all questions and shuffles that were answered."""
    subjects: tuple[GroupResult, ...]
    """In the order in which they first appear."""
    records: tuple[QuestionRecord, ...]
    """Of every question and shuffle, shuffle by shuffle."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the records, ready for JSON, with the published figures beside it."""
        return {
            "benchmark": "MusicTheoryBench",
            "source": self.source,
            "scoring": self.scoring,
            "shots": self.shots,
            "shuffles": self.shuffles,
            "seed": self.seed,
            "examples_dropped": self.examples_dropped,
            "subjects": {result.group: result.to_dict() for result in self.subjects},
            "published": [asdict(row) for row in PUBLISHED],
        }


# -- the questions


def load_benchmark(source: str = DATASET) -> Benchmark:
    """Read the benchmark.

    Args:
        source: a local .jsonl or .parquet file, or what ``datasets.load_dataset`` takes: a Hub id or a folder.

    Raises:
        UserError: nothing can be read there; or a row lacks a field, repeats an id, or has an answer that is no letter
            or options that are not four, each with its place.
    """
    suffix = Path(source).suffix
    if suffix in SUFFIXES and not Path(source).is_file():
        raise UserError(f"{source} is not there: give a .jsonl or .parquet file, or the Hub id {DATASET}")
    read = {".jsonl": _lines_of_json, ".parquet": _rows_of_parquet}.get(suffix, _rows_of_dataset)
    parts: dict[str, list[ChoiceQuestion]] = {"test": [], "dev": []}
    places: dict[str, str] = {}
    for place, row in read(source):
        split, question = _parse_row(row, place)
        if question.question_id in places:
            raise UserError(
                f"{place}: id {question.question_id!r} is taken by {places[question.question_id]}: ids must differ"
            )
        places[question.question_id] = place
        parts[split].append(question)
    if not parts["test"]:
        raise UserError(f'{source} holds no questions: rows to be asked have "split": "test"')
    return Benchmark(source=source, questions=tuple(parts["test"]), examples=tuple(parts["dev"]))


def _lines_of_json(source: str) -> Iterator[tuple[str, Any]]:
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{source} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{source}:{number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{source}:{number} is not JSON ({error}): write one object a line") from error


def _rows_of_parquet(source: str) -> Iterator[tuple[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(source).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{source} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    for number, row in enumerate(rows, start=1):
        yield f"{source} row {number}", row


def _rows_of_dataset(source: str) -> Iterator[tuple[str, Any]]:
    from datasets import load_dataset

    try:
        splits = load_dataset(source)
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"questions={source} cannot be loaded ({reason}): give a Hub id such as {DATASET}, or a .jsonl or .parquet "
            "file"
        ) from error
    for name, rows in splits.items():
        for number, row in enumerate(rows, start=1):
            yield f"{source} ({name}) row {number}", row


def _parse_row(row: Any, place: str) -> tuple[str, ChoiceQuestion]:
    """The split of a row and its question."""
    if not isinstance(row, Mapping):
        raise UserError(f"{place} is not an object with the fields {', '.join(REQUIRED)}")
    missing = [name for name in REQUIRED if name not in row or (row[name] is None and name != "abc_score")]
    if missing:
        raise UserError(f"{place} has no {missing[0]!r}: a question has the fields {', '.join(REQUIRED)}")
    options, answer, split = row["options"], row["answer"], row["split"]
    if not isinstance(options, Mapping) or set(options) != set(LETTERS) or None in options.values():
        raise UserError(f"{place}: options must be an object with the keys A, B, C and D")
    if not isinstance(answer, str) or len(answer) != 1 or answer not in LETTERS:
        raise UserError(f"{place}: answer {answer!r} is not one of the letters A, B, C and D")
    if split not in ("test", "dev"):
        raise UserError(f"{place}: split {split!r} is neither test nor dev")
    question = ChoiceQuestion(
        question_id=str(row["id"]),
        group=str(row["subject"]),
        stem=str(row["stem"]).replace(REFERENCE_SENTENCE, "").strip(),
        abc=str(row["abc_score"]) if row["abc_score"] else None,
        options=(str(options["A"]), str(options["B"]), str(options["C"]), str(options["D"])),
        answer=LETTERS.index(answer),
    )
    return split, question


# -- asking them


def worked_examples(benchmark: Benchmark, shots: int) -> tuple[ChoiceQuestion, ...]:
    """The first ``shots`` worked examples.

    Raises:
        UserError: there are fewer.
    """
    if not 0 <= shots <= len(benchmark.examples):
        raise UserError(
            f'shots={shots} is out of range: {benchmark.source} has {len(benchmark.examples)} rows with "split": "dev"'
        )
    return benchmark.examples[:shots]


def shuffled_questions(
    benchmark: Benchmark, *, shuffles: int = SHUFFLES, seed: int = SEED
) -> list[tuple[ChoiceQuestion, int, tuple[int, ...]]]:
    """Every question under every shuffle, shuffle by shuffle: question, number of the shuffle, order of its options.

    Raises:
        UserError: ``shuffles`` is below 1.
    """
    if shuffles < 1:
        raise UserError(f"shuffles={shuffles} is out of range: it must be 1 or more")
    changed = []
    for number in range(shuffles):
        for question in benchmark.questions:
            other, order = shuffled(question, seed=seed, number=number)
            changed.append((other, number, order))
    return changed


def evaluate_by_likelihood(
    model: Any,
    tokenizer: Any,
    benchmark: Benchmark,
    *,
    shots: int = 0,
    shuffles: int = SHUFFLES,
    seed: int = SEED,
    batch_size: int = 16,
) -> BenchmarkResult:
    """Ask by likelihood, as the paper does; see `chatmusician.evaluation.choice_scores.score_questions`.

    Args:
        model: a causal model of transformers with full attention, or a PEFT model around one.
        tokenizer: its tokenizer.
        benchmark: the questions.
        shots: worked examples in each prompt: 0 or 5 in the paper.
        shuffles: how often each question is asked, each time with its options in another order.
        seed: of the shuffles.
        batch_size: prompts computed together.

    Raises:
        UserError: the benchmark has fewer than ``shots`` examples; ``shuffles`` or ``batch_size`` is below 1.
    """
    asked = shuffled_questions(benchmark, shuffles=shuffles, seed=seed)
    examples = worked_examples(benchmark, shots)
    outcomes = score_questions(
        model, tokenizer, [question for question, _, _ in asked], examples=examples, batch_size=batch_size
    )
    return collect_result(benchmark, asked, outcomes, scoring="likelihood", shots=shots, shuffles=shuffles, seed=seed)


def evaluate_by_writing(
    generator: Generator, benchmark: Benchmark, *, shuffles: int = SHUFFLES, seed: int = SEED
) -> BenchmarkResult:
    """Put the questions in the chat template and read the letters off greedy answers, zero-shot.

    See `chatmusician.evaluation.choice_letters.answer_questions`.

    Raises:
        UserError: ``shuffles`` is below 1.
    """
    asked = shuffled_questions(benchmark, shuffles=shuffles, seed=seed)
    outcomes = answer_questions(generator, [question for question, _, _ in asked])
    return collect_result(benchmark, asked, outcomes, scoring="written answer", shots=0, shuffles=shuffles, seed=seed)


def collect_result(
    benchmark: Benchmark,
    asked: Sequence[tuple[ChoiceQuestion, int, tuple[int, ...]]],
    outcomes: Sequence[ChoiceOutcome],
    *,
    scoring: str,
    shots: int,
    shuffles: int,
    seed: int,
) -> BenchmarkResult:
    """The result of `shuffled_questions` that were asked, from their outcomes in the same order."""
    return BenchmarkResult(
        source=benchmark.source,
        scoring=scoring,
        shots=shots,
        shuffles=shuffles,
        seed=seed,
        examples_dropped=sum(shots - outcome.examples for outcome in outcomes if outcome.answered),
        subjects=group_results(outcomes),
        records=tuple(
            QuestionRecord(outcome=outcome, shuffle=number, order=order)
            for (_, number, order), outcome in zip(asked, outcomes, strict=True)
        ),
    )
