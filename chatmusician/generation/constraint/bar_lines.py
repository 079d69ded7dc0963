"""Bar lines and endings as they are written, one sign after the other.

A ``|`` may become ``||``, ``|]`` or ``|:``, or carry the number of an ending. So where a bar may be short at one kind
of bar line and not at another, its first sign is accepted if one that is right can still come of it.
"""

from chatmusician.generation.constraint.sections import ANY, Gap
from chatmusician.generation.constraint.states import Mode, Music


def bar_sign(m: Music, sign: str, *, thick: bool = False) -> Music | None:
    """After one of ``| : ]`` of a bar line; ``thick`` if it is the ``|`` of ``[|``. None if it may not stand here."""
    token = (m.data if m.mode is Mode.BAR else "") + sign
    m = close(m)
    gap = m.gap
    if gap is None or gap.ending:
        return None
    gap = gap.add(sign, thick=thick)
    token = "|" + sign if "|" in token and sign != "|" else token[-2:]  # what decides which signs may follow
    after = m._replace(gap=gap, mode=Mode.BAR, data=token, words=m.words and sign != "|")
    return after if _can_be_right(after, gap) else None


def begin_ending(m: Music, digit: str) -> Music | None:
    """After the first digit of an ending's number; None if no ending may begin here."""
    m = close(m)
    gap = m.gap
    if gap is None or gap.left is None or gap.ending or digit not in "123456789":
        return None
    gap = gap._replace(ending=True, pipe=False, opens=False)
    if not m.closings.allow(gap.left, gap.closing):
        return None
    return m._replace(gap=gap, mode=Mode.ENDING, data=1)


def close(m: Music) -> Music:
    """The gap after the bar at hand, still empty; no gap where a tuplet or broken rhythm is unfinished."""
    if m.gap is not None or not m.clock.settled:
        return m
    return m._replace(gap=Gap(left=m.clock.left), clock=m.clock._replace(room=None, last=0, layer=None))


def _can_be_right(m: Music, gap: Gap) -> bool:
    """Whether the gap is right as it is, or with more signs."""
    if gap.left is None or m.closings is ANY:
        return True
    left = gap.left
    may_come = (gap, gap._replace(border=True), gap._replace(ending=True), gap._replace(border=True, ending=True))
    return any(m.closings.accept(left, after.closing) for after in may_come)
