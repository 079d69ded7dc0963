"""Bar lines and endings as they are written, one sign after the other.

A ``|`` may become ``||``, ``|]`` or ``|:``, or carry the number of an ending. So where a bar may be short at one kind
of bar line and not at another, its first sign is accepted if one that is right can still come of it.
"""

from chatmusician.generation.constraint.states import Mode, Music


def bar_sign(m: Music, sign: str, *, thick: bool = False) -> Music | None:
    """After one of ``| : ]`` of a bar line; ``thick`` if it is the ``|`` of ``[|``. None if it may not stand here."""
    assert m.gap is not None
    if m.gap.ending:
        return None
    token = (m.data if m.mode is Mode.BAR else "") + sign
    token = "|" + sign if "|" in token and sign != "|" else token[-2:]  # what decides which signs may follow
    gap = m.gap.add(sign, thick=thick)
    return m._replace(gap=gap, mode=Mode.BAR, data=token, words=m.words and sign != "|") if gap.can_ripen else None


def begin_ending(m: Music, digit: str) -> Music | None:
    """After the first digit of an ending's number; None if no ending may begin here."""
    assert m.gap is not None
    gap = m.gap._replace(ending=True, pipe=False, opens=False)
    if m.gap.left is None or m.gap.ending or digit not in "123456789" or not gap.is_right:
        return None
    return m._replace(gap=gap, mode=Mode.ENDING, data=1)
