"""Motifs: the figure that a section says most often, as ABC.

Flow: ``form.sections`` -> `section_motifs`, the labels of the motif tasks of ChatMusician (arXiv 2402.16153, appendix
D): drop bar lines, chord symbols, annotations and decorations (and grace notes, which decorate), count all runs of 2 to
9 notes, take the most frequent, then the longest. This is read as: of each length the most frequent run, of these
the longest that comes more than once. The other reading, the longest of those that are most frequent over all lengths,
nearly always ends in two notes, since a run is never more frequent than its parts; the motifs that the paper shows
have 5 to 9. In ``|:EFGA EFG2|EFGA B4:|`` no run of 5 notes or more returns, and of those of 4 EFGA does: it is the
motif. A section that repeats no two notes is represented by its first nine, or as many as it has.

Runs are the same if notes, rests, ties and rhythm are; slurs and spaces do not count. A tuplet and a broken rhythm
are never cut: ``(3ABc`` and ``A>B`` go into a run whole or not at all, so that a motif has the durations it has in the
tune. It is written as where it first appears, a bar line become a space; slurs only if all in it close in it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from chatmusician.music.form import Section, sections
from chatmusician.music.lexer import Kind, Token, read_tuplet
from chatmusician.music.tunes import Tune

SHORTEST, LONGEST = 2, 9
"""Notes in a motif, chords counting as one and rests not at all."""

_GAPS = (Kind.SPACE, Kind.BAR, Kind.NEWLINE)


@dataclass(slots=True)
class _Figure:
    """A note or a rest with what cannot be parted from it: the others of its tuplet or broken rhythm."""

    notes: int = 0
    parts: list[str] = field(default_factory=list)
    """Its text in pieces, slurs and spaces among them."""
    sound: str = ""
    """Its text without slurs and spaces."""
    space_before: bool = False

    def add(self, text: str, *, sounds: bool = True) -> None:
        """Append a piece of text."""
        self.parts.append(text)
        if sounds:
            self.sound += text


class _FigureReader:
    """Joins tokens to figures, from left to right."""

    def __init__(self) -> None:
        self.figures: list[_Figure] = []
        self._prefix = ""  # slurs that open before a note to come
        self._tuplet = ""  # a tuplet mark before a note to come
        self._held = 0  # notes to come that belong to the last figure
        self._space = False

    def read(self, token: Token) -> None:
        """Take one token."""
        kind, text = token.kind, token.text
        if kind is Kind.NOTE or kind is Kind.CHORD:
            self._sound(text, notes=1)
        elif kind in _GAPS:
            self._space = True
        elif kind is Kind.TUPLET:
            self._tuplet = text
        elif kind is Kind.SLUR and "(" in text:
            self._prefix += text
        elif kind is Kind.REST:
            self._sound(text, notes=0)
        elif self.figures and kind in (Kind.TIE, Kind.BROKEN):
            self.figures[-1].add(text)
            self._held = max(self._held, 1) if kind is Kind.BROKEN else self._held
        elif self.figures and kind is Kind.SLUR:
            self.figures[-1].add(text, sounds=False)

    def _sound(self, text: str, *, notes: int) -> None:
        if self._held and not self._tuplet:
            figure = self.figures[-1]
            if self._space:
                figure.add(" ", sounds=False)
            self._held -= 1
        else:
            figure = _Figure(space_before=self._space)
            self.figures.append(figure)
            self._held = 0
        figure.notes += notes
        figure.add(self._prefix, sounds=False)
        if self._tuplet:
            figure.add(self._tuplet)
            self._held = read_tuplet(self._tuplet).r - 1
        figure.add(text)
        self._prefix, self._tuplet, self._space = "", "", False


def section_motifs(tune: Tune) -> tuple[str, ...]:
    """The motif of each section in the order written; empty text for a section without two notes in a row."""
    return tuple(motif_of(section) for section in sections(tune))


def motif_of(section: Section) -> str:
    """The motif of one section: see the module's docstring."""
    reader = _FigureReader()
    for token in section.tokens:
        reader.read(token)
    figures = reader.figures
    start, end = _most_frequent_run(figures)
    return _spell(figures[start:end])


def _most_frequent_run(figures: Sequence[_Figure]) -> tuple[int, int]:
    """Where the motif first appears, as a slice of the figures; an empty slice if there are not two notes."""
    before = [0, *accumulate(figure.notes for figure in figures)]  # notes before each figure
    ends = {notes: index for index, notes in reversed(list(enumerate(before)))}  # no rest at the end of a run
    starts = [start for start, figure in enumerate(figures) if figure.notes]
    longest_once = (0, 0)
    for length in range(LONGEST, SHORTEST - 1, -1):
        runs = [(start, ends[before[start] + length]) for start in starts if before[start] + length in ends]
        if not runs:
            continue
        sounds = [" ".join([figure.sound for figure in figures[start:end]]) for start, end in runs]
        sound, times = Counter(sounds).most_common(1)[0]
        if times > 1:
            return runs[sounds.index(sound)]
        longest_once = longest_once if longest_once[1] else runs[0]
    return longest_once


def _spell(figures: Sequence[_Figure]) -> str:
    parts: list[str] = []
    for figure in figures:
        if parts and figure.space_before:
            parts.append(" ")
        parts += figure.parts
    depth, balanced = 0, True
    for part in parts:
        depth += part.strip(".") == "("
        depth += 2 * (part == "((")
        depth -= part == ")"
        balanced = balanced and depth >= 0
    if not balanced or depth:
        parts = [part for part in parts if part.strip(".(") and part != ")"]
    return " ".join("".join(parts).split())
