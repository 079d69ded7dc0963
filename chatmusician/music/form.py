"""Form: the sections of a tune, the letters that compare them, and the terms that letters stand for.

Flow: ``Tune.tokens`` -> `sections` -> `form_letters` -> `form_terms`; ``motif`` takes the sections too. These are the
labels of the score tasks of ChatMusician (arXiv 2402.16153, appendix D): double bars and repeat signs delimit sections;
two sections are as similar as 10 x (1 - edit distance / longer length); against the earlier sections, earliest first,
one of 8 or more gives the same letter, else one of 6 or more that letter with a prime, else the next letter is taken.
So a tune whose third section is 8.5 like the first, and whose fourth is 7.0 like the second and below 6 like the first,
is ``ABAB'``.

What the paper leaves open, and what is done here: second endings belong to the section of the first; what has
music in less than two bars (an upbeat between ``:|`` and ``|:``) joins the next section, or at the end the one before;
sections are compared by notes, rests, rhythm and bar lines, without spaces, chord symbols, annotations, decorations,
grace notes and slurs, which say how to play and not what; repeats are not unfolded; of several voices the first counts.

Edit distances are computed bit-parallel (Myers 1999, in Hyyrö's form) on Python's long integers: the letters of 4,423
tunes take 1 to 2 s of one core.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from chatmusician.music.durations import has_ending, is_border
from chatmusician.music.lexer import Kind, Token, read_field
from chatmusician.music.tunes import Tune

SAME = 8.0
"""Similarity from which two sections share a letter."""
VARIED = 6.0
"""Similarity from which a section is a variation, written with a prime."""

_COMPARED = frozenset({Kind.NOTE, Kind.REST, Kind.CHORD, Kind.BROKEN, Kind.TUPLET, Kind.TIE})
_SOUNDING = frozenset({Kind.NOTE, Kind.REST, Kind.CHORD})


@dataclass(frozen=True, kw_only=True)
class Section:
    """Music between two borders: double bars, repeat signs, or the ends of the tune."""

    tokens: tuple[Token, ...]

    @property
    def music(self) -> str:
        """What sections are compared by: notes, rests, rhythm, and ``|`` for every bar line inside."""
        parts: list[str] = []
        for token in self.tokens:
            if token.kind in _COMPARED:
                parts.append(token.text)
            elif token.kind is Kind.BAR and parts and parts[-1] != "|":
                parts.append("|")
        return "".join(parts).rstrip("|")


def sections(tune: Tune) -> tuple[Section, ...]:
    """The sections of a tune in the order written. A tune with notes has at least one."""
    tokens = _first_voice(tune)
    found: list[list[Token]] = []
    current: list[Token] = []
    for index, token in enumerate(tokens):
        current.append(token)
        at_border = token.kind is Kind.BAR and is_border(token.text) and not _opens_ending(tokens, index)
        if at_border and _has_two_bars(current):
            found.append(current)
            current = []
    if any(token.kind in _SOUNDING for token in current):
        if found and not _has_two_bars(current):
            found[-1] += current
        else:
            found.append(current)
    return tuple(Section(tokens=tuple(tokens)) for tokens in found)


def _first_voice(tune: Tune) -> list[Token]:
    """The tokens of the voice that has the first note."""
    found: list[Token] = []
    voice, first = "", None
    for token in tune.tokens:
        if token.kind in (Kind.FIELD, Kind.INLINE_FIELD) and token.text.lstrip("[").startswith("V:"):
            voice = read_field(token.text)[1].split(" ")[0]
        elif first is None and token.kind in _SOUNDING:
            first = voice
        if first in (None, voice):
            found.append(token)
    return found


def _opens_ending(tokens: Sequence[Token], index: int) -> bool:
    """True if the border at index carries the number of an ending, perhaps after a line end: ``:|2``, ``:| [2``."""
    for token in tokens[index + 1 :]:
        if token.kind is Kind.ENDING:
            return has_ending(token.text)
        if token.kind not in (Kind.SPACE, Kind.NEWLINE, Kind.CONTINUATION, Kind.COMMENT, Kind.BAR):
            return False
    return False


def _has_two_bars(tokens: Sequence[Token]) -> bool:
    """True if there is more than an upbeat: music on both sides of a bar line."""
    bars_with_music = [
        any(token.kind in _SOUNDING for token in group)
        for is_bar, group in groupby(tokens, key=lambda token: token.kind is Kind.BAR)
        if not is_bar
    ]
    return sum(bars_with_music) > 1


def levenshtein(a: str, b: str, *, limit: int | None = None) -> int:
    """Fewest insertions, deletions and substitutions of one character that make b of a.

    Args:
        a: a text, length m.
        b: another, length n. Time is proportional to n times m / 30 (a digit of Python's integers has 30 bits).
        limit: distances above it need not be exact: any number above the limit may be returned for them.
    """
    if len(a) < len(b):
        a, b = b, a
    if not b or (limit is not None and len(a) - len(b) > limit):
        return len(a)
    if a == b:
        return 0
    where: dict[str, int] = {}  # bit i of where[c] is set if a[i] == c
    for i, character in enumerate(a):
        where[character] = where.get(character, 0) | 1 << i
    mask, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    rises, falls, distance = mask, 0, len(a)  # bit i: the column's entry i + 1 is one above, or below, its entry i
    for column, character in enumerate(b, start=1):
        equal = where.get(character, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        right_up = falls | ~(diagonal | rises) & mask
        right_down = rises & diagonal
        distance += (right_up & last != 0) - (right_down & last != 0)
        if limit is not None and distance - (len(b) - column) > limit:
            return limit + 1
        right_up = (right_up << 1 | 1) & mask
        rises = (right_down << 1) & mask | ~(diagonal | right_up) & mask
        falls = right_up & diagonal
    return distance


def similarity(a: str, b: str) -> float:
    """10 x (1 - edit distance / longer length), 10 for equal texts (appendix D). Below `VARIED` it may be inexact."""
    longer = max(len(a), len(b))
    if longer == 0:
        return 10.0
    limit = int(longer * (1 - VARIED / 10)) + 1
    return 10 * (1 - levenshtein(a, b, limit=limit) / longer)


def form_letters(tune: Tune) -> str:
    """The form as letters, one a section, such as ``AABA`` or ``ABA'C``; empty for a tune without notes."""
    return "".join(compare_sections([section.music for section in sections(tune)]))


def compare_sections(music: Sequence[str]) -> tuple[str, ...]:
    """The letter, with primes, of each text: see the module's docstring."""
    labels: list[str] = []
    for index, text in enumerate(music):
        alike = [similarity(text, earlier) for earlier in music[:index]]
        same = next((label for label, value in zip(labels, alike, strict=True) if value >= SAME), None)
        varied = next((label for label, value in zip(labels, alike, strict=True) if value >= VARIED), None)
        if same is None and varied is not None:
            same = varied + "'"
        labels.append(same or _letter(len({label[0] for label in labels})))
    return tuple(labels)


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else chr(ord("a") + (index - 26) % 26)


_FORMS = (
    # (term, pattern of the letters, with primes kept, that the whole form must match)
    ("Only One Section", r"A+"),
    ("Variational", r"A(?:A'*)+"),
    ("American Popular", r"AA'*B'*A'*"),
)
_COLLAPSED_FORMS = (
    # (term, pattern of the letters without primes and repetitions: AABB'A is ABA)
    ("Binary", r"(?:AB)+"),
    ("Compound Ternary", r"(ABA?)[^AB]+\1"),
    ("Compound Binary", r"(?=.*(.).\1)[AB]{2,}[CD]{2,}"),
    ("Ternary", r"ABC|A[^A]+A"),
    ("Through Composed", r"(?!.*(.).*\1).{4,}"),
)
_SECTIONAL_FORMS = (
    ("Sectional: Verse/Chorus", r"(?:AB)+"),
    ("Sectional: Verse/Chorus/Verse/Bridge", r"ABAC[ABC]*"),
    ("Sectional: Verse/Chorus/Bridge", r"(?:AB)+C[ABC]*"),
)


def form_terms(tune: Tune) -> tuple[str, ...]:
    """The terms for the form of a tune, most general first; empty where none fits. See `terms_of_letters`."""
    return terms_of_letters(form_letters(tune))


def terms_of_letters(letters: str) -> tuple[str, ...]:
    """The terms for a form in letters: at most one for the plan of the whole, at most one for a plan as in songs.

    Primes and immediate repetitions do not count but for the first three. In the order tried, the plan is

    =================  =======================================================  ====================
    Only One Section   one section, or the same one again                       A, AA
    Variational        variations of one section                                AA', AA'A''
    American Popular   AABA, 32-bar song form; variations allowed               AABA, AA'BA
    Binary             two sections, once or alternating                        AB, AABB, ABAB
    Compound Ternary   a part of two or more sections comes back around another  ABCAB, ABACDCABA
    Compound Binary    two parts of two sections, one returning within           ABACD, ABCDC
    Ternary            three sections, or the first comes back at the end       ABC, ABA, ABCA
    Through Composed   four or more sections, none comes back                   ABCD
    =================  =======================================================  ====================

    and with ``Sectional:`` before it, a song's plan: Verse/Chorus (AB, ABAB), Verse/Chorus/Verse/Bridge (ABAC and on
    with these three) or Verse/Chorus/Bridge (ABC, ABABC and on with these three). The paper's examples pair terms so:
    ``Binary, Sectional: Verse/Chorus`` and ``Ternary, Sectional: Verse/Chorus/Bridge``.
    """
    if not letters:
        return ()
    plain = letters.replace("'", "")
    collapsed = "".join(letter for letter, _ in groupby(plain))
    plan = _first_match(_FORMS, letters) or _first_match(_COLLAPSED_FORMS, collapsed)
    song = _first_match(_SECTIONAL_FORMS, collapsed)
    return tuple(term for term in (plan, song) if term)


def _first_match(table: Sequence[tuple[str, str]], letters: str) -> str | None:
    return next((term for term, pattern in table if re.fullmatch(pattern, letters)), None)
