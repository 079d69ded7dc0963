"""Parts of an evaluation that ask questions with four options: the theory quiz, MusicTheoryBench and MMLU."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from chatmusician.evaluation.choice_letters import answer_questions
from chatmusician.evaluation.choice_questions import (
    ChoiceQuestion,
    GroupResult,
    group_result,
    group_results,
)
from chatmusician.evaluation.choice_scores import score_questions
from chatmusician.evaluation.music_theory_bench import (
    DATASET,
    SEED,
    SHUFFLES,
    BenchmarkResult,
    evaluate_by_likelihood,
    evaluate_by_writing,
    load_benchmark,
)
from chatmusician.evaluation.parts import Subject
from chatmusician.evaluation.results import Measured, PartResult, measured
from chatmusician.music.theory.questions import ALL, LEVELS, Question, generate


def accuracy_figures(groups: Iterable[GroupResult], *, prefix: str) -> dict[str, Measured]:
    """The accuracy of each group, where any question was answered."""
    return {
        f"{prefix}/{result.group}": measured(result.accuracy, count=result.questions)
        for result in groups
        if result.accuracy is not None
    }


@dataclass(frozen=True, kw_only=True)
class TheoryQuiz:
    """Questions of `chatmusician.music.theory` with answers known by construction, by likelihood.

    Args:
        questions: how many; 2,000 give an interval of about two points either way.
        split: validation, or test once at the end.
        topics: empty for all.
        levels: of difficulty, 1 to 3.
        seed: of the questions.
        writing: also let the model write its answers, and read the letters.
    """

    questions: int = 2000
    split: str = "validation"
    topics: Sequence[str] = ()
    levels: Sequence[int] = LEVELS
    seed: int = 1234
    writing: bool = False

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.evaluation.parts.Part`."""
        return {**asdict(self), "topics": list(self.topics) or list(ALL), "levels": list(self.levels)}

    def run(self, subject: Subject, *, name: str) -> PartResult:
        """See `chatmusician.evaluation.parts.Part`."""
        asked = list(
            generate(
                seed=self.seed,
                count=self.questions,
                topics=tuple(self.topics) or ALL,
                levels=tuple(self.levels),
                split=self.split,
            )
        )
        generator = subject.generator
        choices = [as_choice(question) for question in asked]
        scored = {"": score_questions(generator.model, generator.tokenizer, choices, batch_size=subject.batch_size)}
        if self.writing:
            scored["written/"] = answer_questions(generator, choices)
        figures: dict[str, Measured] = {}
        for way, outcomes in scored.items():
            prefix = f"{name}/{way}".rstrip("/")
            levels = [
                replace(outcome, group=f"level {question.level}")
                for outcome, question in zip(outcomes, asked, strict=True)
            ]
            groups = [
                group_result("all", outcomes),
                *group_results(outcomes),
                *sorted(group_results(levels), key=_group),
            ]
            figures |= accuracy_figures(groups, prefix=prefix)
        records = [
            {"id": f"{way}{outcome.question_id}", "level": question.level, **outcome.to_dict()}
            for way, outcomes in scored.items()
            for outcome, question in zip(outcomes, asked, strict=True)
        ]
        unreadable = sum(outcome.unreadable for outcome in scored.get("written/", []))
        return PartResult(
            part=name, figures=figures, records=tuple(records), details={"split": self.split, "unreadable": unreadable}
        )


def as_choice(question: Question) -> ChoiceQuestion:
    """A quiz question as one with four options, grouped by its topic."""
    return ChoiceQuestion(
        question_id=question.id,
        group=question.topic,
        stem=question.stem,
        abc=question.abc,
        options=question.options,
        answer=question.answer,
    )


def _group(result: GroupResult) -> str:
    return result.group


@dataclass(frozen=True, kw_only=True)
class MusicTheoryBench:
    """The paper's benchmark, zero-shot and with worked examples, as in the paper and as people would use it.

    Args:
        source: a Hub id, or a local .jsonl or .parquet file of the same schema.
        shots: numbers of worked examples to evaluate with.
        shuffles: how often each question is asked, each time with its options in another order.
        seed: of the shuffles.
        writing: also let the model write its answers (zero-shot), and read the letters.
    """

    source: str = DATASET
    shots: Sequence[int] = (0, 5)
    shuffles: int = SHUFFLES
    seed: int = SEED
    writing: bool = True

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.evaluation.parts.Part`."""
        return {**asdict(self), "shots": list(self.shots)}

    def run(self, subject: Subject, *, name: str) -> PartResult:
        """See `chatmusician.evaluation.parts.Part`."""
        benchmark = load_benchmark(self.source)
        generator = subject.generator
        results: dict[str, BenchmarkResult] = {}
        for shots in self.shots:
            results[f"{shots}-shot"] = evaluate_by_likelihood(
                generator.model,
                generator.tokenizer,
                benchmark,
                shots=shots,
                shuffles=self.shuffles,
                seed=self.seed,
                batch_size=subject.batch_size,
            )
        if self.writing:
            results["written"] = evaluate_by_writing(generator, benchmark, shuffles=self.shuffles, seed=self.seed)
        figures: dict[str, Measured] = {}
        records: list[dict[str, Any]] = []
        for way, result in results.items():
            figures |= accuracy_figures(result.subjects, prefix=f"{name}/{way}")
            for record in result.records:
                row = record.to_dict()
                records.append({**row, "way": way, "id": f"{way}/{row['id']}/{record.shuffle}"})
        details = {way: result.to_dict() for way, result in results.items()}
        return PartResult(part=name, figures=figures, records=tuple(records), details=details)


@dataclass(frozen=True, kw_only=True)
class Mmlu:
    """MMLU through EleutherAI's lm-eval (the extra ``eval``), as it ships.

    Args:
        tasks: lm-eval's names of MMLU or parts of it.
        shots: worked examples in each prompt.
    """

    tasks: Sequence[str] = ("mmlu",)
    shots: int = 5

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.evaluation.parts.Part`."""
        return {"tasks": list(self.tasks), "shots": self.shots}

    def run(self, subject: Subject, *, name: str) -> PartResult:
        """See `chatmusician.evaluation.parts.Part`."""
        from chatmusician.evaluation.harness import evaluate_mmlu

        result = evaluate_mmlu(model=subject.model, tasks=self.tasks, shots=self.shots, batch_size=subject.batch_size)
        figures = accuracy_figures([result.overall, *result.subjects], prefix=name)
        return PartResult(part=name, figures=figures, details=result.to_dict())
