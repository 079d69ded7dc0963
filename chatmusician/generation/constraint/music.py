"""The music of a tune, character by character: what may come next.

`step` is the tokenizer of `chatmusician.music.lexer` and the timekeeping of `chatmusician.music.durations` turned into
one machine over `Music`. A character is refused if it means nothing in ABC, if a note that it begins or lengthens does
not fit the bar, or if it closes a bar that cannot be right.

What a machine that reads forward cannot know, or what would make `extract_tune` take a line of music for prose, is left
out: ``["text"`` for an ending, the capitals I K N Q U V W before a note, fields ``m: r: s:`` in the body, a comment
behind music on a line without ``|``.
"""

from collections.abc import Callable

from chatmusician.generation.constraint.bar_lines import bar_sign, begin_ending
from chatmusician.generation.constraint.clock import Written
from chatmusician.generation.constraint.notes import (
    ACCIDENTALS,
    NOTES,
    after_accidental,
    begin_broken,
    begin_note,
    on_broken,
    on_note,
    on_tuplet,
    tuplet_mark,
)
from chatmusician.generation.constraint.states import (
    BarEnd,
    BarStart,
    End,
    Layer,
    Mode,
    Music,
    Next,
    Pending,
    Read,
    Reread,
    Within,
)
from chatmusician.generation.constraint.texts import in_comment, in_inline, in_named, in_quote, on_field
from chatmusician.music.lexer import DECORATION_LETTERS

_DIGITS = "0123456789"
_LABELS = "KLMNPQRTUVWXw+"
"""What can be the name of a field in the body; ``X`` begins another tune."""
_INLINE = "KLMNPQRUV"
_MOST_DIGITS = 4


def step(music: Music, character: str) -> Next:
    """What one more character makes of a state."""
    found = _STEPS[music.mode](music, character)
    while isinstance(found, Reread):
        found = _STEPS[found.then.mode](found.then, character)
    return found


def steps(music: Music, characters: str) -> Next:
    """What several characters make of a state. The end or start of a bar among them takes along those that follow."""
    found: Next = music
    for place, character in enumerate(characters):
        if isinstance(found, BarEnd | BarStart):
            return found._replace(characters=found.characters + characters[place:])
        if not isinstance(found, Music):
            return None
        found = step(found, character)
    return found


def rest_bars(m: Music) -> Music:
    """After a ``Z``, which fills the bar."""
    return m._replace(mode=Mode.DIGITS, data=0, clock=m.clock.rest())


# At the start of a line


def _at_line(m: Music, c: str) -> Next:
    if c in " \t":
        return m
    if c == "\n":
        return End.BLANK if m.may_end else None
    if c == "%":
        return m._replace(mode=Mode.COMMENT, data="")
    if c == "`":
        return m._replace(mode=Mode.FENCE, data="`") if m.may_end else None
    inside = m._replace(mode=Mode.INSIDE)
    if c == "~":
        return inside._replace(mode=Mode.TILDE)
    if c == ":":
        return BarEnd(c, m) if m.gap is None else bar_sign(inside, c)
    if c in _LABELS and (c != "X" or m.may_end or _again(inside, "X") is not None):
        return inside._replace(mode=Mode.LABEL, data=c)
    return _inside(inside, c)


def _after_label(m: Music, c: str) -> Next:
    if c != ":":
        return _again(m, m.data + c)
    if m.data == "X":
        return End.NUMBER if m._replace(mode=Mode.LINE, data=None).may_end else None
    return m._replace(mode=Mode.COLON) if m.data != "M" or m.owes_nothing else None


def _after_colon(m: Music, c: str) -> Next:
    if c in "|:":
        return _again(m, m.data + ":" + c)
    return on_field(m._replace(mode=Mode.FIELD, data=(m.data, "")), c)


def _again(m: Music, characters: str) -> Next:
    """Read as music what might have been the name of a field."""
    return steps(m._replace(mode=Mode.INSIDE, data=None), characters)


def _after_tilde(m: Music, c: str) -> Next:
    if c != "~":
        return _inside(m._replace(mode=Mode.INSIDE), c)
    return m._replace(mode=Mode.FENCE, data="~~") if m._replace(mode=Mode.LINE).may_end else None


def _in_fence(m: Music, c: str) -> Next:
    if c != m.data[0]:
        return None
    return End.FENCE if len(m.data) == 2 else m._replace(data=m.data + c)


# Inside a line


def _inside(m: Music, c: str) -> Next:
    if m.within is Within.CHORD:
        return _in_chord(m, c)
    if m.within is Within.GRACE:
        return _in_grace(m, c)
    if c in NOTES or c in ACCIDENTALS or c in "zxZX":
        if m.gap is not None:
            return BarStart(c, m) if (m.owes_nothing if c in "ZX" else m.gap.is_ripe) else None
        if c in "ZX":
            return rest_bars(m) if m.clock.room is None else None
        return begin_note(m, c)
    if c == ".":
        return m._replace(mode=Mode.DOT)
    if c in " \t-)`$" or c in DECORATION_LETTERS:
        return m
    if c in m.letters:
        return m._replace(words=True)
    return _SIGNS[c](m, c) if c in _SIGNS else None


def _after_dot(m: Music, c: str) -> Next:
    """Read a dotted slur, no tuplet, or a dotted bar line, which does not make the one before it a double one."""
    if c == "(":
        return m._replace(mode=Mode.INSIDE)
    gap = m.gap._replace(pipe=False) if m.gap is not None and c in "|:[" else m.gap
    return _inside(m._replace(mode=Mode.INSIDE, gap=gap), c)


def _on_digits(m: Music, c: str) -> Next:
    if c in _DIGITS and (m.data or c != "0"):
        return m._replace(data=m.data + 1) if m.data < _MOST_DIGITS else None
    return _inside(m._replace(mode=Mode.INSIDE, data=None), c)


def _in_chord(m: Music, c: str) -> Next:
    if c in NOTES or c in ACCIDENTALS or (c == "z" and m.first):
        return begin_note(m, c)
    if c == "]" and m.first:
        outside = m._replace(within=Within.NOTHING, first=0, mode=Mode.NOTE)
        return outside._replace(data=Pending(Written(m.first)))
    if c in "-()` " or c in DECORATION_LETTERS or c in m.letters:
        return m
    return _SIGNS[c](m, c) if c in '"!+' else None


def _in_grace(m: Music, c: str) -> Next:
    if c == "/":
        return m._replace(data=None) if m.data == "{" else None
    m = m._replace(data=None)
    if c in NOTES or c in ACCIDENTALS:
        return begin_note(m, c)
    if c == "}":
        return m._replace(within=Within.NOTHING)
    if c in "-()` ><[]" or c in DECORATION_LETTERS or c in m.letters:
        return m
    return _SIGNS[c](m, c) if c in "!+" else None


# Signs that begin something, and what they begin


def _new_line(m: Music, _: str) -> Next:
    if m.words:
        return None
    return m._replace(mode=Mode.LINE, data=None, gap=m.gap and m.gap._replace(on_line=False))


def _after_paren(m: Music, c: str) -> Next:
    if c not in "123456789":
        return _inside(m._replace(mode=Mode.INSIDE, data=None), c)
    if m.gap is not None:
        return BarStart("(" + c, m) if m.gap.is_ripe else None
    return tuplet_mark(m, "(" + c)


def _after_bracket(m: Music, c: str) -> Next:
    if m.gap is None and (c == "|" or c in _DIGITS):
        return BarEnd("[" + c, m._replace(mode=Mode.INSIDE))
    if c == "|":
        return bar_sign(m, "|", thick=True)
    if c in _DIGITS:
        return begin_ending(m, c)
    if c in _INLINE and (c != "M" or m.owes_nothing or _begin_chord(m, c) is not None):
        return m._replace(mode=Mode.BRACKET_LETTER, data=c)
    return _begin_chord(m, c)


def _begin_chord(m: Music, characters: str) -> Next:
    if m.gap is not None:
        return BarStart("[" + characters, m) if m.gap.is_ripe else None
    if not m.clock.fits(Written(m.clock.unit)):
        return None
    return steps(m._replace(mode=Mode.INSIDE, data=None, within=Within.CHORD), characters)


def _after_bracket_letter(m: Music, c: str) -> Next:
    if c != ":":
        return _begin_chord(m, m.data + c)
    if m.data == "M" and not m.owes_nothing:
        return None
    return m._replace(mode=Mode.INLINE, data=(m.data, "", 0))


def _to_line_end(m: Music, c: str) -> Next:
    if c == "\n":
        return _new_line(m, c)
    return m._replace(data="") if c in " \t" else m if c == m.data == "*" else None


def _begin_bar_line(m: Music, c: str) -> Next:
    if m.gap is None:
        return BarEnd(c, m)
    after = bar_sign(m, c)
    return after if c == "|" or after is None else m._replace(mode=Mode.HALF_BAR)


def _on_half_bar(m: Music, c: str) -> Next:
    colon = bar_sign(m, ":")
    return _on_bar(colon, c) if colon is not None and c in "|:" else None


def _on_bar(m: Music, c: str) -> Next:
    token: str = m.data
    if c == "|" or (c == ":" and token[-2:] != ":]") or (c == "]" and token[-1] != "]"):
        return bar_sign(m, c)
    if c == "[":
        return m._replace(mode=Mode.BRACKET, data=None)
    if c in _DIGITS:
        return begin_ending(m, c) if token[-1] != "]" else None
    return _inside(m._replace(mode=Mode.INSIDE, data=None), c)


def _on_ending(m: Music, c: str) -> Next:
    if c in _DIGITS:
        more = m.data < _MOST_DIGITS and (m.data or c != "0")
        return m._replace(data=m.data + 1) if more else None
    if not m.data:
        return None
    return m._replace(data=0) if c in ",-" else _inside(m._replace(mode=Mode.INSIDE, data=None), c)


def _begin(mode: Mode, data: object = None) -> Callable[[Music, str], Next]:
    return lambda m, _: m._replace(mode=mode, data=data)


_SIGNS: dict[str, Callable[[Music, str], Next]] = {
    "\n": _new_line,
    "|": _begin_bar_line,
    ":": _begin_bar_line,
    "[": _begin(Mode.BRACKET),
    "(": _begin(Mode.PAREN),
    ">": begin_broken,
    "<": begin_broken,
    '"': _begin(Mode.QUOTE, ""),
    "!": _begin(Mode.NAMED, ("!", 0)),
    "+": _begin(Mode.NAMED, ("+", 0)),
    "{": lambda m, _: m._replace(within=Within.GRACE, data="{"),
    "*": _begin(Mode.LINE_END, "*"),
    "\\": _begin(Mode.LINE_END, "\\"),
    "&": lambda m, _: Layer(m) if m.gap is None and m.clock.settled and not m.clock.rests else None,
    "y": _begin(Mode.DIGITS, 0),
    "%": lambda m, _: m._replace(mode=Mode.COMMENT, data="") if m.gap is not None and m.gap.on_line else None,
}

_STEPS: dict[Mode, Callable[[Music, str], Read]] = {
    Mode.LINE: _at_line,
    Mode.LABEL: _after_label,
    Mode.COLON: _after_colon,
    Mode.INSIDE: _inside,
    Mode.DOT: _after_dot,
    Mode.ACCIDENTAL: after_accidental,
    Mode.NOTE: on_note,
    Mode.DIGITS: _on_digits,
    Mode.PAREN: _after_paren,
    Mode.TUPLET: on_tuplet,
    Mode.BROKEN: on_broken,
    Mode.BRACKET: _after_bracket,
    Mode.BRACKET_LETTER: _after_bracket_letter,
    Mode.INLINE: in_inline,
    Mode.FIELD: on_field,
    Mode.QUOTE: in_quote,
    Mode.NAMED: in_named,
    Mode.COMMENT: in_comment,
    Mode.LINE_END: _to_line_end,
    Mode.HALF_BAR: _on_half_bar,
    Mode.BAR: _on_bar,
    Mode.ENDING: _on_ending,
    Mode.TILDE: _after_tilde,
    Mode.FENCE: _in_fence,
}
