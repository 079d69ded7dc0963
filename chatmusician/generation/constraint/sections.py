"""Where a bar may be closed: the rules of `chatmusician.music.bars`, read forward.

`bars.judge` looks at a whole voice. Here a voice comes bar by bar, and what matters of its past is a `Section`: how
long the pickups were, whether an ending cut a bar, what bar line came last. From it follows how far the bar at hand may
be short of full when a bar line of each kind closes it (`Closings`), and, where a bar is short because the next one
completes it, how long the next one must then be (``owed``).

In 6/8 with the unit 1/8, where a bar lasts 6::

    B | c2B A2D | G3 G2 :|: d | ... :|      G3 G2 lacks 1: the pickup B completes it
    c6 | d4 |1 e2 :|2 f2 |]                 d4 lacks 2: both endings must bring 2
    c6 | d5 || e | f6 |]                    d5 lacks 1, and nothing before completes it: 1 is owed

A pickup may have any length below a full bar: the first bar of the tune, and the first of a section if the section goes
on after it with a plain bar line.
"""

from enum import IntEnum, auto
from typing import NamedTuple

from chatmusician.generation.constraint.clock import Ticks


class Closing(IntEnum):
    """What closes a bar: bar lines and ending marks with no note between them, taken together."""

    PLAIN = auto()  # |
    BORDER = auto()  # a double or thick bar line, or a repeat sign
    ENDING = auto()  # |1
    BORDER_ENDING = auto()  # :|2


class Closings(NamedTuple):
    """What a bar may lack of its room when it is closed, by the kind of closing; None for anything."""

    plain: tuple[Ticks, ...] | None = None
    border: tuple[Ticks, ...] | None = None
    ending: tuple[Ticks, ...] | None = None
    border_ending: tuple[Ticks, ...] | None = None
    lends: Ticks | None = None
    """Where a border closes a bar that lacks more than this, the next bar may bring the rest; None if it may not."""

    def allow(self, left: Ticks, closing: Closing) -> bool:
        """Whether the bar is right, as far as it can be known."""
        allowed = (self.plain, self.border, self.ending, self.border_ending)[closing - 1]
        return allowed is None or left in allowed

    def lend(self, left: Ticks, closing: Closing) -> Ticks:
        """What the next bar must bring if this one is to be right; 0 for nothing."""
        if closing is not Closing.BORDER or self.lends is None or self.allow(left, closing):
            return 0
        return max(left - self.lends, 0)


ANY = Closings()


class Gap(NamedTuple):
    """Between two bars: what stands there so far, and what may stand there."""

    left: Ticks | None = None
    """What the bar before lacks of its room; None where there is no bar before."""
    closings: Closings = ANY
    """Where that bar may be closed."""
    lines: bool = False
    """Whether there is a bar line yet; only before the first bar there may be none."""
    border: bool = False
    ending: bool = False
    pipe: bool = False
    """The last sign is a ``|``, which another one makes a double bar."""
    opens: bool = False
    """The last sign is a ``:``: a repeat begins, and the tune cannot end."""
    on_line: bool = False
    """There is a ``|`` on the line of text at hand."""

    @property
    def closing(self) -> Closing:
        """What these signs are if nothing comes to them."""
        if self.ending:
            return Closing.BORDER_ENDING if self.border else Closing.ENDING
        return Closing.BORDER if self.border else Closing.PLAIN

    @property
    def is_right(self) -> bool:
        """Whether the bar before is right, as far as it can be known."""
        return self.left is None or self.closings.allow(self.left, self.closing)

    @property
    def is_lent(self) -> bool:
        """Whether the bar before will be right if the next one brings what it lacks."""
        return self.left is not None and self.closings.lend(self.left, self.closing) > 0

    @property
    def is_ripe(self) -> bool:
        """Whether the next bar may begin; else the bar line must first become another kind."""
        return self.is_right or self.is_lent

    @property
    def can_ripen(self) -> bool:
        """Whether it is ripe, or can be made so by more signs."""
        with_border, with_ending = self._replace(border=True), self._replace(ending=True)
        return any(gap.is_ripe for gap in (self, with_border, with_ending, with_border._replace(ending=True)))

    def add(self, sign: str, *, thick: bool = False) -> "Gap":
        """With one more of ``| : ]``; ``thick`` if it is the ``|`` of ``[|``."""
        border = self.border or sign != "|" or self.pipe or thick
        return self._replace(
            lines=True,
            border=border,
            pipe=sign == "|",
            opens=sign == ":",
            on_line=self.on_line or sign == "|",
        )


class Section(NamedTuple):
    """What decides about the bar at hand of one voice. Lengths are in ticks."""

    full: Ticks | None
    """A full bar; None where bars are not counted."""
    following: Ticks | None
    """A full bar from the next bar on."""
    first: Ticks | None = None
    """The first bar of the tune if it is short, else 0; None where that is the bar at hand."""
    pickup: Ticks = 0
    """The first bar of the section if it is short; 0 where that is the bar at hand."""
    before: Ticks = 0
    """The bar before if it is short and a border closed it."""
    stem: Ticks | None = None
    """The bar that the first ending of the section follows, 0 if it is full; None before an ending."""
    opening: Closing = Closing.BORDER
    """What stands before the bar at hand; the start of the tune is a border."""
    owed: Ticks = 0
    """What the bar at hand must last to complete the one before; 0 for nothing."""

    @property
    def room(self) -> Ticks | None:
        """What the bar at hand may last; None for anything."""
        return self.owed or self.full

    @property
    def closings(self) -> Closings:
        """Where the bar at hand may be closed."""
        if self.full is None or self.first is None:
            return ANY
        after_ending = self.opening in (Closing.ENDING, Closing.BORDER_ENDING)
        pickups: set[Ticks] = {length for length in (self.first, self.pickup) if length}
        if self.owed:
            completed: set[Ticks] = {0} if self.full - self.owed in (self.first, self.before) else set()
            at_border = pickups | {0} if after_ending else completed
            return Closings(plain=(0,), border=_sorted(at_border), ending=(), border_ending=_sorted(at_border))
        stem = self.stem if after_ending and self.stem else 0
        plain: set[Ticks] = {0, stem}
        if self.before and not stem and self.opening is Closing.BORDER_ENDING:
            plain.add(self.before)
        at_border = plain | {stem + length for length in pickups}
        if self.before and self.opening is Closing.BORDER:
            at_border.add(self.before)
        return Closings(
            plain=None if self.opening is Closing.BORDER else _sorted(plain),
            border=_sorted(at_border),
            ending=(0,) if after_ending or self.stem is not None else None,
            border_ending=_sorted(at_border),
            lends=stem,
        )

    def close(self, left: Ticks, closing: Closing) -> "Section":
        """The section at the next bar, after this one was closed so that it lacked ``left`` of its room."""
        room = self.room
        if room is None or self.full is None:
            return Section(full=self.following, following=self.following, first=0, stem=0, opening=closing)
        lasted = room - left
        short = lasted if lasted < self.full else 0
        has_ending = closing in (Closing.ENDING, Closing.BORDER_ENDING)
        owed = left if closing is Closing.ENDING and self.first is not None else self.closings.lend(left, closing)
        pickup = short if self.opening is Closing.BORDER else self.pickup
        stem = self.stem if self.stem is not None or not has_ending else short
        return Section(
            full=self.following,
            following=self.following,
            first=short if self.first is None else self.first,
            pickup=0 if closing is Closing.BORDER else pickup,
            before=short if closing in (Closing.BORDER, Closing.BORDER_ENDING) else 0,
            stem=None if closing is Closing.BORDER else stem,
            opening=closing,
            owed=owed,
        )


def _sorted(lengths: set[Ticks]) -> tuple[Ticks, ...]:
    return tuple(sorted(lengths))
