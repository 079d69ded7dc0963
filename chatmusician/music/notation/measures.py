"""The measures of a part once all are there: their numbers, where repeats begin, which endings are the last."""

from fractions import Fraction

from chatmusician.music.notation.score import Event, Measure, Part
from chatmusician.music.tunes import Meter


def fill_up(part: Part, measures: int) -> None:
    """Give a part as many measures as the others have, by rests."""
    while len(part.measures) < measures:
        rest = Event(pitches=(), length=part.meter.bar_length or Fraction(1), whole_measure=True)
        part.measures.append(Measure(layers=[[rest]]))


def end_last_endings(part: Part) -> None:
    """Take the repeat from the end of a last ending, where ``:|`` only says that the section is over."""
    label = ""
    for index, measure in enumerate(part.measures):
        label = measure.ending or label
        ends = measure.ending_closes and not (index + 1 < len(part.measures) and part.measures[index + 1].ending)
        if ends and measure.repeat_plays and not label.startswith("1"):
            measure.repeat_plays, measure.bar_line = 0, "light-light"
        label = "" if measure.ending_closes else label


def begin_repeats(part: Part) -> None:
    """Say where sections begin that are repeated without a sign for it, the first section aside.

    That is after the last repeat or double bar (ABC 2.1, section 4.8); programs that read MusicXML go back to the start
    instead.
    """
    begun, after = False, 0
    for index, measure in enumerate(part.measures):
        begun |= measure.repeat_begins
        if measure.repeat_plays:
            if not begun and after and not part.measures[after].ending:
                part.measures[after].repeat_begins = True
            begun, after = False, index + 1
        elif measure.ending_closes or (after and not begun and ends_section(measure)):
            begun, after = False, index + 1


def ends_section(measure: Measure) -> bool:
    """Whether its bar line is double or thick, or repeats."""
    return measure.bar_line in ("light-light", "light-heavy", "heavy-light") or measure.repeat_plays > 0


def number_measures(part: Part) -> None:
    """Count the measures from 1; what is short at the start of the tune or of a section is an upbeat, not counted."""
    meter, count, upbeats = part.meter, 0, 0
    at_border = True
    for measure in part.measures:
        meter = next((item for item in measure.layers[0] if isinstance(item, Meter)), meter)
        short = meter.bar_length is not None and measure.duration < meter.bar_length
        measure.upbeat = short and (at_border or measure.repeat_begins)
        if measure.upbeat:
            measure.number = f"X{upbeats}" if upbeats or count else "0"
            upbeats += 1
        else:
            count += 1
            measure.number = str(count)
        at_border = ends_section(measure)
