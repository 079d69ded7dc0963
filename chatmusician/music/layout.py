"""Layout: one way to write a tune, so that a model learns music and not the habits of transcribers.

Flow: parsed `Tune` -> `lay_out` -> the text that enters the corpus. What stays is what decides pitch, duration, form and
harmony: notes, rests, chords, ties, tuplets, broken rhythm, bar lines and endings, chord symbols, and changes of key,
meter and unit note length inside the tune. What goes: titles and other fields that carry no music, comments, decorations,
grace notes, slurs, annotations. The layout is::

    X:1
    R:reel                     where the tune says so
    L:1/8
    M:4/4                      C and C| as written
    K:Gdor                     tonic, mode by three letters, nothing for major, m for minor
    D2 | G2BG dGBG | AFcF AFcF |        four bars a line, a new line after every double bar or repeat
    G2BG dGBd | gfdc A2 :|

Beams (the spaces between notes) stay; bar lines stand between spaces, endings directly behind them (``|1``, ``:|2``).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from chatmusician.music.durations import is_border, measure
from chatmusician.music.keys import parse_key
from chatmusician.music.lexer import Kind, Token, read_field
from chatmusician.music.tunes import AbcError, Tune

BARS_A_LINE = 4

_KEPT = frozenset({Kind.NOTE, Kind.REST, Kind.CHORD, Kind.TUPLET, Kind.BROKEN, Kind.TIE})
# A chord symbol names a chord; quotation marks around fingerings, dynamics and "Segno" are not chord symbols.
_CHORD_NAME = re.compile(r'"[A-G][#b]?(?:m|min|maj|dim|aug|sus|\+|°)?(?:\d{1,2})?(?:/[A-G][#b]?)?"')
_MODES = {"": "", "maj": "", "ion": "", "m": "m", "min": "m", "aeo": "m"}


def lay_out(tune: Tune) -> str:
    """Write a one-voice tune in the layout above, with a final newline.

    Raises:
        AbcError: the tune has several voices or overlays, or an ``M:`` or key that the layout cannot write.
    """
    _check_one_voice(tune)
    header = ["X:1"]
    if tune.rhythm:
        header.append(f"R:{tune.rhythm.strip().lower()}")
    header += [f"L:{write_length(tune.unit_note_length)}", f"M:{tune.meter.text}", f"K:{_write_key(tune)}"]
    pickups = [bar.short and bar.opens_at_border for bar in measure(tune)[0]]
    return "\n".join(header) + "\n" + "\n".join(_lines(_pieces(tune.tokens), pickups)) + "\n"


def write_length(length: Fraction) -> str:
    """A unit note length as a field has it: ``1/8``."""
    return f"{length.numerator}/{length.denominator}"


def _write_key(tune: Tune) -> str:
    return short_key(tune.fields[-1].value, line=tune.fields[-1].line)


def short_key(value: str, *, line: int = 1) -> str:
    """The value of a ``K:`` field in short: ``G``, ``Gm``, ``Ador``, ``HP``, ``none``.

    Raises:
        AbcError: the value is not a key.
    """
    try:
        key = parse_key(value)
    except ValueError as error:
        raise AbcError(str(error), line=line) from None
    if not key.tonic:
        return "HP" if value.strip().startswith(("HP", "Hp")) else "none"
    mode = key.mode[:3].lower() if key.mode not in ("", "m") else key.mode
    return key.tonic + _MODES.get(mode, mode)


def _check_one_voice(tune: Tune) -> None:
    voices = {field.value.split()[0] for field in tune.fields if field.name == "V" and field.value}
    for token in tune.tokens if "&" in tune.body or "V:" in tune.body else ():
        if token.kind is Kind.OVERLAY:
            raise AbcError("an overlay (&) is a second voice", line=token.line, column=token.column, source=tune.source)
        if token.text.startswith(("V:", "[V:")):
            voices |= set(read_field(token.text)[1].split()[:1])
    if len(voices) > 1:
        raise AbcError("the tune has several voices", line=tune.fields[0].line, source=tune.source)


def _pieces(tokens: Iterable[Token]) -> Iterator[str]:
    """The body as music (runs without a space inside), spaces, and bar lines that end in a space of their own."""
    music, bar, ending = "", "", ""
    for token in tokens:
        kind = token.kind
        if kind is Kind.BAR:
            if music:
                yield music
                music = ""
            bar += token.text  # bar lines with nothing between them are one: :| and |: are ::
            ending = ""
        elif kind is Kind.ENDING and '"' not in token.text:
            if music:
                yield music
                music = ""
            ending = token.text.removeprefix("[")
            bar = bar or "|"
        elif kept := _kept_text(token):
            if bar:
                yield " " + write_bar(bar) + ending
                bar, ending = "", ""
            music += kept
        elif kind in (Kind.SPACE, Kind.NEWLINE) and music:
            yield music
            music = ""
    if music:
        yield music
    if bar:
        yield " " + write_bar(bar)


def _kept_text(token: Token) -> str:
    """A token as the layout writes it: music as it is, a change of key, meter or unit as inline field, else nothing."""
    if token.kind is Kind.CHORD:
        return token.text.replace(" ", "")
    if token.kind in _KEPT or (token.kind is Kind.CHORD_SYMBOL and _CHORD_NAME.fullmatch(token.text)):
        return token.text
    if token.kind not in (Kind.FIELD, Kind.INLINE_FIELD):
        return ""
    name, value = read_field(token.text)
    if name == "K":
        return f"[K:{short_key(value, line=token.line)}]"
    return f"[{name}:{value.strip()}]" if name in ("M", "L") else ""


def write_bar(text: str) -> str:
    """One of ``| || |] |: :| ::`` for a bar line of any shape.

    >>> [write_bar(bar) for bar in ("|", ":||:", ":|]", "[|:", "||:", "|[|", ".|", "|||")]
    ['|', '::', ':|', '|:', '|:', '||', '|', '||']
    """
    text = text.lstrip(".")
    closes, opens = text.startswith(":"), text.endswith(":")
    if closes and opens:
        return "::"
    if closes or opens:
        return ":|" if closes else "|:"
    if text.endswith("|]"):
        return "|]"
    return "||" if is_border(text) or text.count("|") > 1 else "|"


def _lines(pieces: Iterable[str], pickups: Sequence[bool]) -> Iterator[str]:
    """Lines of four bars, pickups not counted; a new line after a border, and before a repeat that opens."""
    line: list[str] = []
    bars, bar, music = 0, 0, False
    for piece in pieces:
        if not piece.startswith(" "):
            line.append(piece)
            music = True
            continue
        bar_line = piece.strip()
        if music:
            bars += not (bar < len(pickups) and pickups[bar])
            bar += 1
        if bar_line == "|:" and bars:
            yield " ".join([*line, "|"] if music else line)
            line, bars = [], 0
        line.append(bar_line)
        music = False
        if not bar_line[-1].isdigit() and bars and (bars >= BARS_A_LINE or is_border(bar_line)) and bar_line != "|:":
            yield " ".join(line)
            line, bars = [], 0
    if line:
        yield " ".join(line)
