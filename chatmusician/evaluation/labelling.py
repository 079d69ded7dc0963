"""Answers to questions about a tune (its motifs, its form, its key), held against the label that it has.

Answers are compared as text, without the space around them. An empty answer is wrong, and as far from the right one as
that is long. Answers to questions that ask for a tune are left out.
"""

from chatmusician.evaluation.answers import AnswerMean, TuneAnswer
from chatmusician.music.form import levenshtein


class LabelExact(AnswerMean):
    """Share of answers that are the right one, to the character."""

    def value(self, answer: TuneAnswer) -> float | None:
        """1 if it is right, else 0."""
        solution = answer.requirements.solution
        return None if solution is None else float(answer.text.strip() == solution)


class LabelDistance(AnswerMean):
    """Edit distance (Levenshtein) in characters from the answer to the right one; the mean over answers."""

    def value(self, answer: TuneAnswer) -> float | None:
        """The distance, 0 for the right answer."""
        solution = answer.requirements.solution
        return None if solution is None else float(levenshtein(answer.text.strip(), solution))
