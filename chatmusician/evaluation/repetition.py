"""Repetition: does a tune come back to what it said? Real tunes do; a model that rambles does not."""

from collections import Counter, defaultdict

from chatmusician.evaluation.answers import AnswerMean, TuneAnswer
from chatmusician.music.events import Event
from chatmusician.music.lexer import Kind


class RepeatSigns(AnswerMean):
    """Share of answers whose tune has a repeat sign, the repetition of the paper (arXiv 2402.16153).

    Counted are signs that close a repeat (``:|``, ``::``), since one that only opens repeats nothing. An answer without
    a tune, or whose tune does not parse, has none.
    """

    def value(self, answer: TuneAnswer) -> float:
        """1 if there is a sign, else 0."""
        tokens = answer.tune.tokens if answer.tune is not None else ()
        return float(any(token.kind is Kind.BAR and token.text.lstrip(".").startswith(":") for token in tokens))


class RepeatedBars(AnswerMean):
    """Share of a tune's bars that come more than once in it, as they are written; the mean over tunes that parse.

    Bars are the same if their notes, rests, durations and ties are: spaces, chord symbols and decorations do not count.
    Bars without a note are left out, repeat signs are not unfolded. ``GABc|d4|GABc|`` has 2 of 3. A repetition that
    is a step higher does not count.
    """

    def value(self, answer: TuneAnswer) -> float | None:
        """The share, None unless the tune parses."""
        bars: dict[tuple[str, int], list[Event]] = defaultdict(list)
        for event in answer.events:
            bars[event.voice, event.bar].append(event)
        written = [tuple(event.written for event in bar) for bar in bars.values() if any(event.notes for event in bar)]
        times = Counter(written)
        return sum(count for count in times.values() if count > 1) / len(written) if written else None
