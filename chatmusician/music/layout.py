"""Layout: one way to write a tune, so that a model learns music and not the habits of transcribers.

Flow: parsed `Tune` -> `lay_out` -> the text that enters the corpus. What stays is what decides pitch, duration, form
and harmony: notes, rests, chords, ties, tuplets, broken rhythm, bar lines and endings, chord symbols, and changes of
key, meter and unit note length inside the tune. What goes: titles, rhythms and other fields that carry no notes,
comments, decorations, grace notes, slurs, annotations. The layout is::

    X:1
    L:1/8
    M:4/4                      C and C| as written
    K:Gdor                     tonic, mode by three letters, nothing for major, m for minor
    D2 | G2BG dGBG | AFcF AFcF | G2BG dGBd | gfdc A2 ::
    fg | "Gm"a2gf d^cde | d2G2 G2 :|

Lines have four bars, pickups not counted, and end with every double bar or repeat. Notes are grouped by the beat
(`chatmusician.music.beams`); bar lines stand between spaces, endings directly behind them (``|1``, ``:|2``).
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from chatmusician.music.beams import beam
from chatmusician.music.chord_symbols import names_chord
from chatmusician.music.durations import is_border, measure
from chatmusician.music.keys import parse_key
from chatmusician.music.lexer import Kind, Token, read_field
from chatmusician.music.tunes import AbcError, Tune, parse_meter, parse_unit_note_length

BARS_A_LINE = 4

_KEPT = frozenset({Kind.NOTE, Kind.REST, Kind.CHORD, Kind.TUPLET, Kind.BROKEN, Kind.TIE})
_MODES = {"": "", "maj": "", "ion": "", "m": "m", "min": "m", "aeo": "m"}


def lay_out(tune: Tune) -> str:
    """Write a one-voice tune in the layout above, with a final newline.

    Raises:
        AbcError: the tune has several voices or overlays, or an ``M:`` or key that the layout cannot write.
    """
    _check_one_voice(tune)
    header = ["X:1", f"L:{write_length(tune.unit_note_length)}", f"M:{tune.meter.text}", f"K:{_write_key(tune)}"]
    return "\n".join(header) + "\n" + "\n".join(_lines(tune)) + "\n"


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


class _LaidBar(NamedTuple):
    """The groups of notes of a bar, the bar line behind them, and whether it is a pickup. Some have no music."""

    groups: list[str]
    bar_line: str
    pickup: bool


def _bars(tune: Tune) -> Iterator[_LaidBar]:
    pickups = iter([bar.short and bar.opens_at_border for bar in measure(tune)[0]])
    unit, meter = tune.unit_note_length, tune.meter
    music: list[Token] = []
    groups: list[str] = []
    bar, ending, pickup = "", "", False
    for token in tune.tokens:
        if token.kind in (Kind.BAR, Kind.ENDING) and _sounds(music):
            pickup = next(pickups, False)
            groups, music = beam(music, unit=unit, meter=meter, pickup=pickup), []
        if token.kind is Kind.BAR:
            bar, ending = bar + token.text, ""  # bar lines with nothing between them are one: :| and |: are ::
        elif token.kind is Kind.ENDING and '"' not in token.text:
            bar, ending = bar or "|", token.text.removeprefix("[")
        elif (kept := _kept(token)) is not None:
            if bar:
                yield _LaidBar(groups, write_bar(bar) + ending, pickup)
                groups, bar, ending, pickup = [], "", "", False
            music.append(kept)
            if kept.kind is Kind.INLINE_FIELD:
                name, value = read_field(kept.text)
                unit = parse_unit_note_length(value) if name == "L" else unit
                meter = parse_meter(value) if name == "M" else meter
    if music:
        pickup = next(pickups, False)
        groups = beam(music, unit=unit, meter=meter, pickup=pickup)
    if groups or bar:
        yield _LaidBar(groups, write_bar(bar) + ending if bar else "", pickup)


def _sounds(tokens: Iterable[Token]) -> bool:
    return any(token.kind in (Kind.NOTE, Kind.REST, Kind.CHORD) for token in tokens)


def _kept(token: Token) -> Token | None:
    """A token as the layout keeps it: music as it is, a change of key, meter or unit as inline field; else None."""
    if token.kind in _KEPT or names_chord(token):
        return token
    if token.kind not in (Kind.FIELD, Kind.INLINE_FIELD):
        return None
    name, value = read_field(token.text)
    if name not in ("K", "M", "L"):
        return None
    value = short_key(value, line=token.line) if name == "K" else value.strip()
    return token._replace(kind=Kind.INLINE_FIELD, text=f"[{name}:{value}]")


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


def _lines(tune: Tune) -> Iterator[str]:
    """Lines of four bars, pickups not counted; a new line after a border, and before a repeat that opens."""
    line: list[str] = []
    count = 0
    for groups, bar_line, pickup in _bars(tune):
        line += groups
        count += bool(groups) and not pickup
        if bar_line == "|:" and count:
            yield " ".join([*line, "|"] if groups else line)
            line, count = [], 0
        if bar_line:
            line.append(bar_line)
        ends = count >= BARS_A_LINE or is_border(bar_line)
        if count and ends and bar_line != "|:" and not bar_line[-1:].isdigit():
            yield " ".join(line)
            line, count = [], 0
    if line:
        yield " ".join(line)
