"""Texts in the music, character by character: fields, chord symbols and annotations, decorations, comments."""

from chatmusician.generation.constraint.fields import CHECKED, LONGEST, can_be_value, is_value
from chatmusician.generation.constraint.states import READ, Change, Mode, Music, Next, Read, Reread, Within, text_tail

_MOST_NAMED = 30
_MOST_INLINE = 200


def in_inline(m: Music, c: str) -> Next:
    """Within an inline field; the body learns its value at the ``]``."""
    name, value, count = m.data
    if c == "]":
        if not is_value(name, value.strip()):
            return None
        return Change(name, value.strip(), m._replace(mode=Mode.INSIDE, data=None, words=True))
    value = _longer(name, value, c)
    if value is None or count == _MOST_INLINE or not " " <= c <= "~":
        return None
    return m._replace(data=(name, value, count + 1))


def on_field(m: Music, c: str) -> Next:
    """Within a field that is a line; the body learns its value at the end of it."""
    name, value = m.data
    if c in "\n%":
        if not is_value(name, value.strip()):
            return None
        after = m._replace(mode=Mode.LINE, data=None) if c == "\n" else m._replace(mode=Mode.COMMENT, data="")
        return Change(name, value.strip(), after._replace(gap=m.gap and m.gap._replace(on_line=False)))
    value = _longer(name, value, c) if name in READ else text_tail(value, c)
    return m._replace(data=(name, value)) if value is not None else None


def _longer(name: str, value: str, c: str) -> str | None:
    """The value of a field with one more character, as far as it is needed; None if it cannot be one."""
    if name not in READ:
        return ""
    if not " " <= c <= "~" or c == "\\" or len(value) == LONGEST:
        return None
    if name in CHECKED:
        return value + c if can_be_value(name, (value + c).lstrip()) else None
    return value if value.endswith(" ") and value.strip() else value.lstrip() + c  # the first word names a voice


def in_quote(m: Music, c: str) -> Next:
    """Within a chord symbol or an annotation."""
    if c == '"':
        return m._replace(mode=Mode.INSIDE, data=None)
    tail = None if c == "\n" else text_tail(m.data, c)
    return m._replace(data=tail) if tail is not None else None


def in_named(m: Music, c: str) -> Read:
    """Within a decoration such as ``!trill!``."""
    sign, count = m.data
    if c == sign and count:
        return m._replace(mode=Mode.INSIDE, data=None, words=True)
    if sign == "!" and not count and c in " \n" and m.within is Within.NOTHING:  # the ! of abc2win, a line break
        return Reread(m._replace(mode=Mode.INSIDE, data=None))
    if count == _MOST_NAMED or c in sign + '|"[]' or not "!" <= c <= "~":
        return None
    return m._replace(data=(sign, count + 1))


def in_comment(m: Music, c: str) -> Next:
    """Within a comment."""
    if c == "\n":
        return m._replace(mode=Mode.LINE, data=None, words=False, gap=m.gap and m.gap._replace(on_line=False))
    tail = text_tail(m.data, c)
    return m._replace(data=tail) if tail is not None else None
