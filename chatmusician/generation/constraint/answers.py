"""An answer while it is written: prose, in which a tune may begin.

Where a tune begins and ends is for `chatmusician.music.extraction` to say; this is its forward reading. A tune begins
after a line ``X:1``, alone or at the end of a line, and is then held to the rules. It ends at an empty line, at a
fence or at the next ``X:``, if it may. What follows an empty line is prose, unless it goes on as music: whether it does
is in `Doubt` until a bar line comes. So is what follows a ``K:`` line without an ``X:`` before: it is a tune, with the
fields above it for its header, once there is a bar line in the music after it. A line that is not music by these rules
may not have a bar line, or it would be taken for part of a tune that is wrong.
"""

from enum import Enum, auto
from typing import NamedTuple

from chatmusician.generation.constraint.fields import LONGEST, Facts, is_value
from chatmusician.generation.constraint.states import LINE_ENDS, End, Mode
from chatmusician.generation.constraint.tunes import Body, Header, Moments, begin_body, body_step, header_step

_MOST_DIGITS = 9
"""Digits of a tune's number that `parse_tune` reads."""
_DIGITS_A_TOKEN = 4
"""More digits than this no token has."""
_NEAR = 6
"""Lines after a ``K:`` in which `extract_tune` looks for music."""
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class At(Enum):
    """Where in a line of prose the last character stands, as to an ``X:`` with a number that may end it."""

    START = auto()  # nothing but spaces before
    OTHER = auto()
    LETTER = auto()  # after a letter, where no X: is looked for
    X = auto()
    COLON = auto()
    DIGITS = auto()
    SPACED = auto()  # spaces after the digits
    REMARK = auto()  # a comment after the number, on a line that begins with X:
    DONE = auto()  # the line has ended, and a header begins


class Number(NamedTuple):
    """An ``X:`` line being looked for."""

    at: At = At.START
    digits: int = 0
    first: bool = False
    """The X opened its line, so that the number may be missing and a comment may follow."""


def number_step(number: Number, c: str) -> Number | None:
    """After one more character; None for a number with too many digits."""
    at = number.at
    if c == "\n":
        done = at in (At.DIGITS, At.SPACED, At.REMARK) or (at is At.COLON and number.first)
        return Number(At.DONE) if done else Number()
    if at is At.REMARK or (c in " \t" and at in (At.START, At.COLON, At.SPACED)):
        return number
    if c == "X" and at is not At.LETTER:
        return Number(At.X, first=at is At.START)
    if c == ":" and at is At.X:
        return number._replace(at=At.COLON)
    if c in "0123456789" and at in (At.COLON, At.DIGITS):
        return number._replace(at=At.DIGITS, digits=number.digits + 1) if number.digits < _MOST_DIGITS else None
    if c in " \t" and at is At.DIGITS:
        return number._replace(at=At.SPACED)
    if c == "%" and number.first and at in (At.COLON, At.DIGITS, At.SPACED):
        return number._replace(at=At.REMARK)
    return Number(At.LETTER if c.isascii() and c.isalpha() else At.OTHER)


class Line(NamedTuple):
    """A line of prose as a field."""

    name: str = ""
    """A capital, perhaps of a field; ``%`` for a comment, ``-`` for anything else, empty at the start."""
    value: str | None = None
    """What is written behind the colon, as far as that matters; None before."""
    keyed: bool = False
    """In a comment: it stands behind a ``K:`` with a key."""

    @property
    def is_key(self) -> bool:
        """Whether it is a ``K:`` with a key."""
        return self.name == "K" and self.value is not None and is_value("K", self.value.strip())


class Prose(NamedTuple):
    """Text that is no tune."""

    number: Number = Number()
    line: Line = Line()
    facts: Facts = Facts()
    """What the fields directly above say."""

    @property
    def is_free(self) -> bool:
        """Whether any token may follow."""
        return self.number.digits <= _MOST_DIGITS - _DIGITS_A_TOKEN


class Doubt(NamedTuple):
    """Text that may turn out to be music."""

    prose: Prose
    body: Body | None
    """The music that it would be; None once this line cannot be music."""
    lines: int
    """In how many more lines `extract_tune` would take a bar line for that of a tune."""
    once: bool
    """The line at hand must be music if it is to belong to the tune."""
    colon: bool = False
    """The last character is a colon."""


class NumberLine(NamedTuple):
    """The ``X:`` line of a tune that follows another at once, which must be one."""

    number: Number = Number(At.COLON, first=True)


State = Prose | Doubt | NumberLine | Header | Body


PLAIN_PROSE = Prose(Number(At.OTHER), Line("-"))
"""Prose that has begun its line."""


class Grammar:
    """The machine: `step` from state to state.

    Args:
        counted: bars must add up, by the rules of `chatmusician.music.bars`.
    """

    def __init__(self, *, counted: bool) -> None:
        self.counted = counted
        self.moments = Moments()

    def step(self, state: State, c: str) -> State | None:
        """The state after one more character; None if it may not come."""
        if isinstance(state, Body):
            return self.after_body(state, body_step(state, c, self.moments))
        if isinstance(state, Header):
            found = header_step(state, c)
            return begin_body(found, self.moments, counted=self.counted) if isinstance(found, Facts) else found
        if c in LINE_ENDS:
            c = "\n"
        if isinstance(state, Doubt):
            return self._doubt_step(state, c)
        number = number_step(state.number, c)
        if number is None or number.at is At.DONE:
            return Header() if number is not None else None
        if isinstance(state, NumberLine):
            ended = number.at in (At.OTHER, At.LETTER, At.X)
            return None if ended else NumberLine(number)
        return self._prose_step(state, number, c)

    def steps(self, state: State, characters: str) -> State | None:
        """The state after several characters."""
        found: State | None = state
        for c in characters:
            found = self.step(found, c) if found is not None else None
        return found

    def after_body(self, body: Body, found: Body | End | None) -> State | None:
        """Where a tune has ended, what comes after it."""
        if found is End.BLANK:
            return Doubt(Prose(), body, lines=0, once=True)
        if found is End.FENCE:
            return PLAIN_PROSE
        return NumberLine() if isinstance(found, End) else found

    def _prose_step(self, prose: Prose, number: Number, c: str) -> State | None:
        line, facts = prose.line, prose.facts
        if c == "%" and line.value is not None:
            return Prose(number, Line("%", keyed=line.is_key), facts if line.is_key else _facts_after(line, facts))
        if c != "\n":
            return Prose(number, _line_step(line, c), facts)
        after = Prose(number, facts=_facts_after(line, facts))
        if not (line.keyed or line.is_key):
            return after
        body = begin_body(facts, self.moments, counted=self.counted) if not facts.wrong else None
        return Doubt(after, body, lines=_NEAR, once=False)

    def _doubt_step(self, doubt: Doubt, c: str) -> State | None:
        prose = self.step(doubt.prose, c)
        if prose is None or isinstance(prose, Header):
            return prose
        if isinstance(prose, Doubt):  # another K:, while the first is in doubt
            return doubt._replace(prose=prose.prose, body=self._next_body(doubt), lines=_NEAR, colon=False)
        assert isinstance(prose, Prose)
        if c == "\n":
            return self._next_line(doubt, prose)
        body = None
        if doubt.body is not None:
            found = body_step(doubt.body, c, self.moments)
            if isinstance(found, Body):
                if found.moment.music.mode is Mode.BAR:
                    return found
                body = found
        if c == "|" or (doubt.colon and c in ":]") or (c == ":" and not doubt.prose.line.name):
            return None
        return doubt._replace(prose=prose, body=body, colon=c == ":")

    def _next_line(self, doubt: Doubt, prose: Prose) -> State:
        blank = not doubt.prose.line.name
        body = doubt.body if blank else self._next_body(doubt)
        if doubt.lines == 1 or (body is None and not doubt.lines):
            return prose
        return Doubt(prose, body, max(doubt.lines - 1, 0), once=doubt.once or blank)

    def _next_body(self, doubt: Doubt) -> Body | None:
        """The music that it would be after a line that was not empty and had no bar line."""
        found = body_step(doubt.body, "\n", self.moments) if doubt.body is not None and not doubt.once else None
        return found if isinstance(found, Body) else None


def _line_step(line: Line, c: str) -> Line:
    """A line of prose after a character that neither ends it nor begins its comment."""
    name, value, _ = line
    if name in ("-", "%") or (not name and c in " \t"):
        return line
    if not name:
        return Line(c if c in _CAPITALS or c == "%" else "-")
    if value is None:
        return Line(name, "") if c == ":" else Line("-")
    if not value and c in "|:":  # a note and a bar line
        return Line("-")
    return Line(name, value + c) if name in "XMLKU" and len(value) <= LONGEST else line._replace(value=value or c)


def _facts_after(line: Line, facts: Facts) -> Facts:
    """What is known of a header when a line of prose has ended."""
    if line.name == "%":
        return facts
    if line.value is None:
        return Facts()
    if line.name in "XK":  # an X: that is no number; a K: that is no key, or that ended a header
        return facts._replace(wrong=True)
    return facts.take(line.name, line.value.strip())
