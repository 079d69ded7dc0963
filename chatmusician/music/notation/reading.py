"""ABC read as a score, as far as it can be read.

Flow: sanitised ABC -> `read_score` -> `Score` -> ``writing``. `chatmusician.music.checks` says whether a tune is right;
this is for the eye, and a tune with a slip in it is to be seen with that slip. So a key or a meter that means nothing,
or a sign out of place, is left out and told in `Score.notes`, and all else is read.

Left out without a word are what is heard and not printed, or neither: the order of parts (``P:`` of the header),
directives, remarks, histories, and the words that stand after a tune (``W:``).
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from chatmusician.music.keys import NO_KEY, Key, parse_key
from chatmusician.music.lexer import Kind, Token, read_field, tokenize
from chatmusician.music.notation.measures import begin_repeats, end_last_endings, fill_up, number_measures
from chatmusician.music.notation.score import Clef, Event, Heading, Measure, NotationError, Score
from chatmusician.music.notation.signs import KNOWN
from chatmusician.music.notation.texts import plain_text, read_tempo
from chatmusician.music.notation.voices import LAYERS_MOST, VoiceReader
from chatmusician.music.tunes import FREE_METER, Meter, parse_meter, parse_unit_note_length

VOICES_MOST = 16
TOLD_MOST = 3
"""Characters left out that are told one by one."""

_FIRST_TUNE = re.compile(r"^X:.*?(?=\n[ \t]*\n|\nX:|\Z)", re.MULTILINE | re.DOTALL)
"""From ``X:`` to an empty line (ABC 2.1, section 2.2.2): abc2midi stops there too."""
_FIELD = re.compile(r"(?![A-Ga-gxz]:[|:])([A-Za-z+]):([^%]*)")  # "G:|" is music
_USER_SIGN = re.compile(r"([H-Wh-w~])\s*=\s*[!+]?([^!+\s]+)")
_KEPT_FIELDS = {"R": "rhythm", "O": "origin", "S": "source", "B": "book", "Z": "transcription"}
_PIPES = Key(tonic="D", mode="major")  # what K:HP plays, though it prints no signature

_CLEFS = {
    "treble": Clef(),
    "bass": Clef(sign="F", line=4),
    "alto": Clef(sign="C", line=3),
    "tenor": Clef(sign="C", line=4),
    "soprano": Clef(sign="C", line=1),
    "mezzosoprano": Clef(sign="C", line=2),
    "baritone": Clef(sign="F", line=3),
    "perc": Clef(sign="percussion"),
}
_CLEF = re.compile(rf"(?:^|[\s=\"])({'|'.join(_CLEFS)})([1-5]?)([+-]8)?(?=$|[\s\"])")
_ONLY_CLEF = re.compile(r"(?!none)[a-z+-]|$")
_OCTAVE = re.compile(r"\boctave=([+-]?[0-4])\b")
_NAME = re.compile(r"\b(?:name|nm)=(?:\"([^\"]*)\"|(\S+))")


def first_tune(abc: str) -> str:
    """The first tune of a text, from ``X:`` to an empty line, with a final newline; all of it where there is none."""
    tune = _FIRST_TUNE.search(abc)
    return tune.group() + "\n" if tune else abc


def read_score(abc: str) -> Score:
    """Read the first tune of a text.

    Raises:
        NotationError: it has no header or no notes, more than `VOICES_MOST` voices, or more bars than a score can have.
    """
    lines = first_tune(abc).split("\n")
    fields: list[tuple[str, str]] = []
    body = len(lines)
    for index, line in enumerate(lines):
        match = _FIELD.match(line)
        if match:
            fields.append((match[1], match[2].strip()))
        if (match and match[1] == "K") or (not match and line.strip() and not line.startswith("%")):
            body = index + 1 if match else index
            break
    if not {"X", "K"} & {name for name, _ in fields}:
        raise NotationError("this is no tune: it has neither an X: nor a K: line; write the header before the music")
    reader = _TuneReader(fields)
    reader.read("\n".join(lines[body:]), first_line=body + 1)
    return reader.score()


class _TuneReader:
    """Hands the tokens of a tune's body to its voices."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields
        self._notes: list[str] = []
        self._unknown: list[Token] = []
        self._words_left_over = 0
        self._meter: Meter = FREE_METER
        self._key, self._clef, self._octave = NO_KEY, Clef(), 0
        self._properties: dict[str, str] = {}  # what V: of the header says of a voice
        unit: Fraction | None = None
        for name, value in fields:
            if name == "M":
                self._meter = self._meter_of(value) or self._meter
            elif name == "L":
                unit = self._unit_of(value) or unit
            elif name == "K":
                self._key = self._key_of(value) or self._key
                self._clef, self._octave = read_clef(value) or self._clef, read_octave(value)
            elif name == "V" and value:
                voice, _, properties = value.partition(" ")
                self._properties[voice] = self._properties.get(voice, "") + " " + properties
        self._unit = unit or self._meter.unit_note_length
        self._voices: dict[str, VoiceReader] = {}
        self._voice = self._voice_named("")
        for tempo in self._values("Q")[-1:]:
            self._voice.change(read_tempo(tempo, unit=self._unit))
        if not any(name == "K" for name, _ in fields):
            self._notes.append("the header has no K: line; it is read without a key")

    def _values(self, name: str) -> list[str]:
        return [value for field, value in self._fields if field == name]

    def read(self, body: str, *, first_line: int) -> None:
        """Read the music."""
        definitions = [match for value in self._values("U") if (match := _USER_SIGN.match(value))]
        signs = {match[1]: match[2] for match in definitions}
        for token in tokenize(body, line=first_line, user_letters="".join(signs)):
            if token.kind is Kind.FIELD or token.kind is Kind.INLINE_FIELD:
                self._field(*read_field(token.text))
            elif token.kind is Kind.UNKNOWN:
                self._unknown.append(token)
            elif token.kind is Kind.DECORATION and token.text in signs:
                self._voice.read(token._replace(text=f"!{signs[token.text]}!"))
            else:
                self._voice.read(token)

    def _field(self, name: str, value: str) -> None:
        """Heed a field of the body."""
        if name == "V" and value:
            self._change_voice(value)
        elif name == "K":
            self._change_key(value)
        elif name == "M":
            if meter := self._meter_of(value):
                self._voice.change(meter)
        elif name == "L":
            self._voice.unit = self._unit_of(value) or self._voice.unit
        elif name == "Q":
            self._voice.change(read_tempo(value, unit=self._voice.unit))
        elif name in "PT" and value:
            self._voice.change(Heading(text=plain_text(value), boxed=name == "P"))
        elif name in "w+":
            self._words_left_over += self._voice.sing(value, goes_on=name == "+")

    def _change_voice(self, value: str) -> None:
        name, _, properties = value.partition(" ")
        if name not in self._voices:
            self._properties[name] = f"{self._properties.get(name, '')} {properties}"
        self._voice = self._voice_named(name)

    def _voice_named(self, name: str) -> VoiceReader:
        if name not in self._voices:
            if len(self._voices) >= VOICES_MOST:
                raise NotationError(f"the tune has more than {VOICES_MOST} voices; split it")
            unnamed = self._voices.get("")
            if unnamed is not None and not unnamed.begun:  # what came before the first V: is the first voice's
                voice = self._voices.pop("")
            else:
                voice = VoiceReader(
                    key=self._key, meter=self._meter, unit=self._unit, clef=self._clef, octave=self._octave
                )
            self._give_properties(voice, self._properties.get(name, ""))
            self._voices[name] = voice
        return self._voices[name]

    def _give_properties(self, voice: VoiceReader, properties: str) -> None:
        if clef := read_clef(properties):
            voice.change(clef)
        voice.octave = read_octave(properties) or voice.octave
        if name := _NAME.search(properties):
            voice.name = plain_text(name[1] or name[2] or "")

    def _change_key(self, value: str) -> None:
        if clef := read_clef(value):
            self._voice.change(clef)
        self._voice.octave = read_octave(value) or self._voice.octave
        if (_ONLY_CLEF.match(value) is None) and (key := self._key_of(value)):
            self._voice.change_key(key)

    def _key_of(self, value: str) -> Key | None:
        try:
            key = parse_key(value)
        except ValueError as error:
            self._notes.append(shortened(str(error)))
            return None
        return _PIPES if key.mode in ("HP", "Hp") else key

    def _meter_of(self, value: str) -> Meter | None:
        try:
            return parse_meter(value)
        except ValueError as error:
            self._notes.append(shortened(str(error)))
            return None

    def _unit_of(self, value: str) -> Fraction | None:
        try:
            return parse_unit_note_length(value)
        except ValueError as error:
            self._notes.append(shortened(str(error)))
            return None

    def score(self) -> Score:
        """The score, at the end of the tune.

        Raises:
            NotationError: it has no notes.
        """
        parts = [part for voice in self._voices.values() if (part := voice.part()).measures]
        if not any(item.pitches for part in parts for item in _events(part.measures)):
            raise NotationError("the tune has no notes; write music after its K: line")
        longest = max(len(part.measures) for part in parts)
        for part in parts:
            if (count := len(part.measures)) < longest:
                name = part.name or f"voice {parts.index(part) + 1}"
                self._notes.append(f"{name} has {count} bars and another voice {longest}; rests fill it up")
                fill_up(part, longest)
            number_measures(part)
            end_last_endings(part)
            begin_repeats(part)
        if self._unknown:
            places = [f"{token.text!r} in line {token.line}, column {token.column}" for token in self._unknown]
            more = f" and {len(places) - TOLD_MOST} more" if len(places) > TOLD_MOST else ""
            self._notes.append(f"left out, as ABC has no such sign: {'; '.join(places[:TOLD_MOST])}{more}")
        if layers := sum(voice.layers_left_out for voice in self._voices.values()):
            self._notes.append(f"left out, as a staff shows {LAYERS_MOST} layers (&) of a bar: {layers} more")
        signs = {sign for part in parts for event in _events(part.measures) for sign in event.signs}
        if unknown := sorted(signs - KNOWN):
            listed = ", ".join(f"!{sign}!" for sign in unknown)
            self._notes.append(f"left out, as the score has no sign for it: {listed}")
        if self._words_left_over:
            self._notes.append(
                f"left out, as no note is there to sing them to: {self._words_left_over} syllables of w:"
            )
        return Score(
            titles=tuple(title for value in self._values("T") if (title := plain_text(value))),
            composer=", ".join(plain_text(value) for value in self._values("C")),
            fields=tuple((kept, plain_text(value)) for name, value in self._fields if (kept := _KEPT_FIELDS.get(name))),
            parts=tuple(parts),
            notes=tuple(dict.fromkeys(self._notes)),
        )


def shortened(text: str, *, most: int = 200) -> str:
    """A text with its middle left out, where it is longer than a message should be."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def read_clef(properties: str) -> Clef | None:
    """The clef in the value of a ``K:`` or ``V:`` field; None if there is none.

    >>> read_clef("C clef=treble-8")
    Clef(sign='G', line=2, octaves=-1)
    """
    match = _CLEF.search(properties)
    if match is None:
        return None
    clef = _CLEFS[match[1]]
    line = int(match[2]) if match[2] else clef.line
    return replace(clef, line=line, octaves={"+8": 1, "-8": -1}.get(match[3], 0))


def read_octave(properties: str) -> int:
    """The octaves that ``octave=-1`` in a ``K:`` or ``V:`` field moves a voice by."""
    match = _OCTAVE.search(properties)
    return int(match[1]) if match else 0


def _events(measures: Iterable[Measure]) -> list[Event]:
    return [item for measure in measures for layer in measure.layers for item in layer if isinstance(item, Event)]
