"""Makes ABC from strangers and models safe to hand to the outside tools, and says what it took out.

Some directives read files (``%%abc-include``, ``%%format``, ``%%EPS``, ``%%MIDI ptstress``), pass PostScript or SVG
through (``%%beginps``), and huge numbers make a converter loop for hours. So:

* directives, written ``%%name``, ``I:name`` or ``[I:name]``, stay only if they are on a list of harmless ones;
* macros (``m:``) go, as text substitution could put together again what was taken apart;
* numbers and runs of signs beyond the constants below go from the music, so that a note keeps its pitch and loses
  an absurd length; control characters go; lines and whole texts too long are cut off at a line.

What remains is the text as it was, to the character: an ordinary tune passes unchanged. The first of the two defences;
the other is `chatmusician.music.sandbox`.
"""

import math
import re
from dataclasses import dataclass

TEXT_CHARACTERS = 30_000
"""Length of the whole text; of the 4,433 folk tunes that music21 ships the longest has 2,439."""
LINE_CHARACTERS = 10_000
"""Length of a line; a model may write a whole tune, 1,536 tokens, on one."""
NUMBER_MOST = 512
"""Largest number in the music: a length's numerator or denominator, an ending's or tuplet's figure."""
REST_BARS_MOST = 100
"""Largest multi-measure rest, ``Z100``."""
RUN_MOST = {"/": 8, ">": 3, "<": 3, ",": 5, "'": 5, ":": 4}
"""Longest runs of signs: halvings of a length, dots of a broken rhythm, octaves, and repeats (``|::`` plays thrice)."""
TEMPO_RANGE = (4, 1000)
"""Beats a minute that a ``Q:`` field may ask for, slowest and fastest."""
OCTAVES_MOST = 4
"""Octaves that a voice may be moved by; abc2midi writes a broken file where notes leave the range of MIDI."""
VOICE_BYTES = 120
"""Length of what a ``V:`` field says; more words write over abc2midi's memory from 300 on."""
GRACES_MOST = 4
"""Groups of grace notes one after the other; nine make abc2midi divide by zero."""
LAYERS_MOST = 500
"""Layers (``&``) on a line; abc2midi crashes on 3,800."""
PART_PLAYS_MOST = 64
"""Product of the repeat counts of a ``P:`` field such as ``((AB)3C)2``: a bound of how often a part is played."""

REPORTED_MOST = 50
"""How many removals are listed one by one."""

TEXT_DIRECTIVES = frozenset({"abc-creator", "center", "text"})
"""Names of directives that stay whatever text follows."""
DIRECTIVES = frozenset(
    {"abc-version", "barsperstaff", "graceslurs", "measurenb", "midi", "percmap", "propagate-accidentals", "score"}
    | {"slurgraces", "staves", "titlecaps", "titleleft"}
)
"""Names of directives that stay while no number in them is above `NUMBER_MOST`: they read no file."""
MIDI_DIRECTIVES = frozenset(
    {"bassprog", "bassvol", "beat", "channel", "chordprog", "chordvol", "control", "deltaloudness", "drone", "droneoff"}
    | {"droneon", "drum", "drumoff", "drumon", "gchord", "gchordoff", "gchordon", "grace", "gracedivider"}
    | {"nobarlines", "program", "ratio", "rtranspose", "transpose"}
)
"""What may follow ``%%MIDI``."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
DIRECTIVE_LINE = re.compile(r"\s*(?:%%|I:)\s*(?P<directive>.*)")
INLINE_DIRECTIVE = re.compile(r"\[\s*I:(?P<directive>[^\]]*)(?:\]|$)")
INLINE_FIELD = re.compile(r"\[([A-Za-z]):([^\]]*)(?:\]|$)")
FIELD = re.compile(r"(?![A-Ga-gxz]:[|:])([A-Za-z+]):(.*)")  # "G:|" is music
TEXT_FIELDS = frozenset("ABCDFGHNORSTWZrw+")
QUOTED_OR_COMMENT = re.compile(r'("[^"]*"|%.*)')
OCTAVE = re.compile(r"octave\s*=\s*[+-]?(\d+)")
NUMBER = re.compile(r"(?P<rest>[ZX]?)(?P<number>\d+)")
ZERO_DENOMINATOR = re.compile(r"/0+(?!\d)")
GRACES = re.compile(rf"(?:\{{[^{{}}]*\}}\s*){{{GRACES_MOST + 1},}}")
RUN = re.compile(r"([/:<>,'])\1+")


@dataclass(frozen=True, kw_only=True)
class Sanitised:
    """ABC that is safe for the tools, with what was taken out of it."""

    abc: str
    removed: tuple[str, ...]
    """One line for each thing removed, with the line of the original text it was on."""


def sanitise(abc: str) -> Sanitised:
    """The ABC without what could harm or hang a tool. Never fails, and ``sanitise(x.abc).removed`` is empty."""
    removed: list[str] = []
    if len(abc) > TEXT_CHARACTERS:
        removed.append(f"everything after character {TEXT_CHARACTERS} of {len(abc)}")
        abc = abc[:TEXT_CHARACTERS].rpartition("\n")[0]
    kept: list[str] = []
    block_end = ""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", abc), start=1):
        if block_end:
            block_end = "" if _directive_name(line) == block_end else block_end
            continue
        clean, found = _sanitise_line(line)
        removed += [f"line {number}: {what}" for what in found]
        if clean is not None:
            kept.append(clean)
        elif (name := _directive_name(line)).startswith("begin"):
            block_end = "end" + name.removeprefix("begin")
            removed.append(f"line {number}: all that follows up to %%{block_end}")
    if len(removed) > REPORTED_MOST:
        removed[REPORTED_MOST:] = [f"{len(removed) - REPORTED_MOST} more"]
    return Sanitised(abc="\n".join(kept), removed=tuple(removed))


def _directive_name(line: str) -> str:
    """``midi`` of ``%%MIDI program 1``; empty where the line is no directive."""
    match = DIRECTIVE_LINE.match(line)
    return re.split(r"[\s=]", match["directive"].lower(), maxsplit=1)[0] if match else ""


def _sanitise_line(line: str) -> tuple[str | None, list[str]]:
    """The line that may stay, None for no line at all, and what was taken out."""
    found: list[str] = []
    before: str | None = None
    while line != before:  # what is left when a part goes may be a directive again: [[I:x]I:abc-include y]
        before = line
        fault = _line_fault(line)
        if fault:
            return None, [*found, fault]
        line = _sanitise_parts(line, found)
    return line, found


def _line_fault(line: str) -> str:
    """Why the line may not stay at all; empty if it may."""
    if len(line) > LINE_CHARACTERS:
        return f"a line of {len(line)} characters, more than {LINE_CHARACTERS}"
    if line.count("&") > LAYERS_MOST:
        return f"a line of {line.count('&')} layers (&), more than {LAYERS_MOST}"
    if directive := DIRECTIVE_LINE.match(line):
        return "" if is_harmless(directive["directive"]) else f"the directive {_quote(line)}"
    if (field := FIELD.match(line)) and (fault := _field_fault(field[1], field[2])):
        return f"the field {_quote(line)} ({fault})"
    return ""


def is_harmless(directive: str) -> bool:
    """Whether a directive, without its ``%%`` or ``I:``, may be handed to the tools."""
    name, *words = directive.lower().replace("=", " ").split() or [""]
    if name in TEXT_DIRECTIVES:
        return True
    # "I: :: ||" is information in the sense of the old standard, "%% G A ^f" a comment: no directive is called so.
    if re.fullmatch(r"[:|()\d^_=]*[a-g]?[,']*", name):
        return True
    if name == "propagate-accidentals" and words not in (["not"], ["octave"], ["pitch"]):
        return False
    if name not in DIRECTIVES or (name == "midi" and (not words or words[0] not in MIDI_DIRECTIVES)):
        return False
    return all(_within(digits, NUMBER_MOST) for digits in re.findall(r"\d+", directive))


def _field_fault(letter: str, value: str) -> str:
    """Why an information field, ``letter:value``, would burden a tool; empty if it would not."""
    if letter in TEXT_FIELDS or letter == "X":
        return ""
    if letter == "m":
        return "macros are not supported"
    value = QUOTED_OR_COMMENT.sub("", value)
    numbers = re.findall(r"\d+", value)
    if letter == "Q" and numbers:
        *beat, tempo = numbers
        slowest, fastest = TEMPO_RANGE
        if not _within(tempo, fastest) or int(tempo) < slowest:
            return f"the tempo is not {slowest} to {fastest} beats a minute"
        numbers = beat
    if not all(_within(digits, NUMBER_MOST) for digits in numbers):
        return f"a number above {NUMBER_MOST}"
    if letter == "P" and math.prod(map(int, numbers)) > PART_PLAYS_MOST:
        return f"a part played more than {PART_PLAYS_MOST} times"
    if letter == "V" and len(value.encode("utf-8", "replace")) > VOICE_BYTES:
        return f"more than {VOICE_BYTES} bytes about a voice"
    if any(not _within(digits, OCTAVES_MOST) for digits in OCTAVE.findall(value)):
        return f"a voice moved by more than {OCTAVES_MOST} octaves"
    return "a division by zero" if letter in "LMQ" and ZERO_DENOMINATOR.search(value) else ""


def _within(digits: str, most: int) -> bool:
    """Whether a number written in digits, however many, is at most ``most``."""
    return len(digits) <= 9 and int(digits) <= most


def _sanitise_parts(line: str, found: list[str]) -> str:
    """The line without the parts that may not stay; each is added to ``found``."""

    def drop(kind: str, part: str) -> str:
        found.append(f"the {kind} {_quote(part)}")
        return ""

    line = CONTROL.sub(lambda match: drop("control characters", match.group()), line)
    line = INLINE_DIRECTIVE.sub(
        lambda match: match.group() if is_harmless(match["directive"]) else drop("directive", match.group()), line
    )

    def bounded_field(match: re.Match[str]) -> str:
        fault = _field_fault(match[1], match[2])
        if fault:
            found.append(f"the field {_quote(match.group())} ({fault})")
        return "" if fault else match.group()

    line = INLINE_FIELD.sub(bounded_field, line)
    if re.match(r"X:.*\d{10}", line):  # more than a C int holds; a tune needs some number
        drop("reference number", line)
        return "X:1"
    if FIELD.match(line) or DIRECTIVE_LINE.match(line):
        return line

    def bounded_number(match: re.Match[str]) -> str:
        most = REST_BARS_MOST if match["rest"] else NUMBER_MOST
        within = _within(match["number"], most)
        return match.group() if within else match["rest"] + drop("number", match.group())

    def bounded_run(match: re.Match[str]) -> str:
        return match.group() if len(match.group()) <= RUN_MOST[match[1]] else drop("run", match.group())

    pieces = QUOTED_OR_COMMENT.split(line)  # quotations and comments are at the odd places, and stay
    for place in range(0, len(pieces), 2):
        music = NUMBER.sub(bounded_number, pieces[place])
        music = GRACES.sub(lambda match: drop("grace notes", match.group()), music)
        music = ZERO_DENOMINATOR.sub(lambda match: drop("denominator", match.group()), music)
        pieces[place] = RUN.sub(bounded_run, music)
    return "".join(pieces)


def _quote(text: str, *, characters: int = 60) -> str:
    """The text in quotation marks, shortened for a message."""
    text = text.strip(" ")
    return repr(text if len(text) <= characters else text[: characters - 3] + "...")
