"""A tune while it is written: its header, then its body with the bars of each voice.

``music`` reads the notation of one bar and asks at its events. Here they are answered: a bar begins as the voice's
`Section` says, a field changes meter, unit note length or voice, and the tune ends if every voice may.
"""

from typing import Any, NamedTuple

from chatmusician.generation.constraint.clock import Clock, Ticks, grain_of
from chatmusician.generation.constraint.fields import (
    CHECKED,
    LONGEST,
    Facts,
    bar_ticks,
    can_be_value,
    is_value,
    unit_ticks,
)
from chatmusician.generation.constraint.music import rest_bars, step, steps
from chatmusician.generation.constraint.sections import Gap, Section
from chatmusician.generation.constraint.states import (
    CONTROL,
    FOLDED,
    TEXT_STOPS,
    BarEnd,
    BarStart,
    Change,
    End,
    Event,
    Layer,
    Mode,
    Music,
    Next,
    text_tail,
)
from chatmusician.music.tunes import parse_meter


class Header(NamedTuple):
    """The header after the line of ``X:``. Without a name, at the start of a line."""

    facts: Facts = Facts()
    name: str = ""
    """The field at hand; ``%`` for a comment."""
    value: str | None = None
    """What is written of its value, as far as that matters; None before its colon."""
    ends: bool = False
    """In a comment: it stands behind the key, so the body begins after it."""

    @property
    def stops(self) -> str | None:
        """Within a text: the characters that do not simply belong to it. None elsewhere, and within a character."""
        if self.value or self.value is None or self.name in READ:
            return None
        return TEXT_STOPS if self.name == "%" else TEXT_STOPS + "%"


READ = CHECKED + "U"
"""Fields of the header whose values count."""


def header_step(header: Header, c: str) -> "Header | Facts | None":
    """A header after one more character; the facts of it where it is complete."""
    facts, name, value, _ = header
    if value is None:
        return _at_name(header, c)
    if c == "\n":
        return _after_field(header, value.strip())
    if c == "%" and name != "%":
        known = is_value(name, value.strip())
        return Header(facts.take(name, value.strip()), "%", "", ends=name == "K") if known else None
    if c in CONTROL:
        return None
    if name in CHECKED:
        longer = (value + c).lstrip()
        return header._replace(value=longer) if len(longer) <= LONGEST and can_be_value(name, longer) else None
    tail = (value.strip() or c) if name == "U" else text_tail(value, c)
    return header._replace(value=tail) if tail is not None else None


def _at_name(header: Header, c: str) -> Header | None:
    if header.name:
        return header._replace(value="") if c == ":" else None
    if c == "%":
        return Header(header.facts, "%", "")
    if c in " \t":
        return header
    return header._replace(name=c) if (c.isascii() and c.isalpha() and c != "X") or c == "+" else None


def _after_field(header: Header, value: str) -> Header | Facts | None:
    """The next line of the header, or what it says where this was its last."""
    if header.name == "%":
        return header.facts if header.ends else Header(header.facts)
    if not is_value(header.name, value):
        return None
    facts = header.facts.take(header.name, value)
    return facts if header.name == "K" else Header(facts)


class Moment:
    """A state of the music that occurs once only, with what each character was found to make of it."""

    __slots__ = ("_after", "_folds", "in_notation", "may_end", "music", "stops", "walks")

    def __init__(self, music: Music) -> None:
        self.music, self.may_end, self.stops, self._folds = music, music.may_end, music.stops, music.folds
        self._after: dict[str, Moment | Event | None] = {}
        self.in_notation = self._folds and music.mode not in (Mode.QUOTE, Mode.COMMENT)
        """It is in none of the texts that music may hold."""
        self.walks: dict[Any, Any] = {}
        """What walks over the vocabulary from here found; see ``choices``."""

    def after(self, c: str, moments: "Moments") -> "Moment | Event | None":
        """What a character makes of it."""
        if self._folds:
            c = FOLDED.get(c, c)
        try:
            return self._after[c]
        except KeyError:
            found = step(self.music, c)
            after = self._after[c] = moments[found] if isinstance(found, Music) else found
            return after


class Moments(dict[Music, Moment]):
    """The moments so far, by state."""

    def __missing__(self, music: Music) -> Moment:
        moment = self[music] = Moment(music)
        return moment


class Start(NamedTuple):
    """What a voice begins with."""

    counted: bool
    """Bars must add up."""
    full: Ticks | None
    clock: Clock
    letters: str


class Voice(NamedTuple):
    """A voice that is not the one at hand."""

    name: str
    music: Music
    section: Section


class Body(NamedTuple):
    """The body: the bar at hand, its voice, and the other voices."""

    moment: Moment
    section: Section
    start: Start
    name: str = ""
    others: tuple[Voice, ...] = ()

    @property
    def may_end(self) -> bool:
        """Whether the tune may end here."""
        return self.moment.may_end and all(_is_done(voice.music) for voice in self.others)


def _is_done(music: Music) -> bool:
    return music.may_end or (music.gap is not None and music.gap.left is None)


def begin_body(facts: Facts, moments: Moments, *, counted: bool) -> Body:
    """The body after a header that says ``facts``; its bars must add up if they are ``counted``."""
    meter = facts.read_meter
    full = bar_ticks(meter) if counted else None
    unit = facts.unit_ticks if counted else 1
    clock = Clock(room=None, unit=unit, grain=grain_of(unit, full or unit), compound=meter.compound)
    start = Start(counted, full, clock, facts.letters)
    music, section = _begin_voice(start)
    return Body(moments[music], section, start)


def _begin_voice(start: Start) -> tuple[Music, Section]:
    return Music(start.clock, letters=start.letters), Section(full=start.full, following=start.full)


def body_step(body: Body, c: str, moments: Moments) -> Body | End | None:
    """A body after one more character, or how the tune ended."""
    return answer(body, body.moment.after(c, moments), moments)


def answer(body: Body, found: "Moment | Next", moments: Moments) -> Body | End | None:
    """The body after what the music made of a character."""
    if isinstance(found, BarEnd):
        return _close_bar(body, found, moments)
    if isinstance(found, BarStart):
        return _open_bar(body, found, moments)
    if isinstance(found, Change):
        return _change(body, found, moments)
    if isinstance(found, Layer):
        clock = found.then.clock.overlay(body.section.room)
        return body._replace(moment=moments[found.then._replace(clock=clock)])
    if isinstance(found, End):
        return found if all(_is_done(voice.music) for voice in body.others) else None
    if isinstance(found, Music):
        return body._replace(moment=moments[found])
    return body._replace(moment=found) if found is not None else None


def _close_bar(body: Body, end: BarEnd, moments: Moments) -> Body | End | None:
    characters, music = end
    if not music.clock.settled:
        return None
    gap = Gap(left=music.clock.left, closings=body.section.closings)
    return answer(body, steps(music._replace(gap=gap, clock=music.clock.begin_bar()), characters), moments)


def _open_bar(body: Body, opening: BarStart, moments: Moments) -> Body | End | None:
    characters, music = opening
    section = body.section
    assert music.gap is not None
    if music.gap.left is not None:
        section = section.close(music.gap.left, music.gap.closing)
    music = music._replace(mode=Mode.INSIDE, data=None, gap=None, clock=music.clock.begin_bar(section.room))
    if characters[0] in "ZX":
        music, characters = rest_bars(music), characters[1:]
    return answer(body._replace(section=section), steps(music, characters), moments)


def _change(body: Body, change: Change, moments: Moments) -> Body:
    music, section, start = change.then, body.section, body.start
    if change.name == "V":
        return _switch(body, change, moments)
    if change.name == "L" and start.counted:
        unit = unit_ticks(change.value)
        grain = grain_of(unit, section.following or unit, music.clock.room or unit)
        music = music._replace(clock=music.clock._replace(unit=unit, grain=grain, last=0))
    elif change.name == "M":
        meter, unit = parse_meter(change.value), music.clock.unit
        grain = grain_of(unit, bar_ticks(meter) or unit) if start.counted else music.clock.grain
        music = music._replace(clock=music.clock._replace(grain=grain, compound=meter.compound))
        if start.counted:
            section = section._replace(following=bar_ticks(meter))
            if music.gap is not None and music.gap.left is None:
                section = section._replace(full=section.following)
    return body._replace(moment=moments[music], section=section)


def _switch(body: Body, change: Change, moments: Moments) -> Body:
    """Leave the voice at hand for another, which goes on where it was left."""
    here = change.then
    name = (change.value.split() or [""])[0]
    if name == body.name:
        return body._replace(moment=moments[here])
    left = Voice(body.name, here._replace(mode=Mode.INSIDE, data=None, words=False), body.section)
    voices = {voice.name: voice for voice in (*body.others, left)}
    found = voices.pop(name, None)
    music, section = (found.music, found.section) if found is not None else _begin_voice(body.start)
    music = music._replace(mode=here.mode, data=here.data, words=here.words, noted=here.noted)
    others = tuple(voices[other] for other in sorted(voices))
    return Body(moments[music], section, body.start, name, others)
