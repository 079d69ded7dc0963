"""The task forms: what a visitor filled in, as the question that a fine-tuned model knows.

Flow: fields of the page, perhaps filled from an upload (``uploads``) -> a question -> ``desk``. A question is the first
wording of its task and below it the input, to the character as `chatmusician.data.questions` writes it for training; a
model that saw a thousand such questions answers another one better than the same wish in a visitor's words. What a
field may hold is checked here, so that a slip of the pen is named and not sung.
"""

import re

from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.data.questions import quoted
from chatmusician.data.wordings import (
    CHORDS_TO_MUSIC,
    FORM_TO_MUSIC,
    HARMONISATION,
    LETTERS_AND_MOTIF_TO_MUSIC,
    TERMS_AND_MOTIF_TO_MUSIC,
    TEXT_TO_SCORE,
)
from chatmusician.errors import UserError
from chatmusician.music.chord_symbols import CHORD_NAME, without_chords
from chatmusician.music.form import terms_of_letters
from chatmusician.music.layout import lay_out, short_key, write_length
from chatmusician.music.sanitising import TEXT_CHARACTERS
from chatmusician.music.tunes import AbcError, parse_meter, parse_tune, parse_unit_note_length

CHORDS_MOST = 200
MOTIFS_MOST = 20
FIELD_CHARACTERS = 200
"""Length of a motif, and of what any other field of one line holds."""

METERS = ("2/4", "3/4", "4/4", "6/8", "9/8", "C", "C|")
UNIT_NOTE_LENGTHS = ("1/4", "1/8", "1/16")
RHYTHMS = ("reel", "jig", "hornpipe", "waltz", "polka", "slip jig", "march", "air", "strathspey")
FORMS = tuple(", ".join(terms_of_letters(letters)) for letters in ("A", "AA'", "AABA", "AB", "ABC", "ABAC", "ABCD"))
"""Forms by their terms, those that a tune of these letters has."""

_LETTERS = re.compile(r"(?:[A-Za-z]'*)+")
_BETWEEN_CHORDS = re.compile(r"[\s,;|'\"]+")


def ask_for_chords(chords: str) -> str:
    """The question for a tune over chords, written with any of spaces, commas, bar lines and quotation marks between.

    Raises:
        UserError: there are none, too many, or one is not the name of a chord.
    """
    names = [name for name in _BETWEEN_CHORDS.split(chords) if name]
    if not 0 < len(names) <= CHORDS_MOST:
        raise UserError(f"{len(names)} chords were given: write from 1 to {CHORDS_MOST}, such as G D7 Em C")
    if strange := [name for name in names if CHORD_NAME.fullmatch(name) is None]:
        raise UserError(f"{strange[0][:20]!r} is not the name of a chord: write names such as G, D7, F#m or C/E")
    return f"{CHORDS_TO_MUSIC[0]}\n{quoted(names)}"


def ask_for_form(*, form: str, motifs: str, meter: str, unit_note_length: str, key: str) -> str:
    """The question for a tune of a form, with or without motifs.

    Args:
        form: terms such as ``Binary, Sectional: Verse/Chorus``, or letters such as ``AABA``.
        motifs: one a line, in ABC; they are read in the meter, unit note length and key that follow.
        meter: as in an ``M:`` field.
        unit_note_length: as in an ``L:`` field.
        key: as in a ``K:`` field.

    Raises:
        UserError: a field is empty that the task needs, or holds what it cannot.
    """
    form = _one_line("the form", form)
    given = [_one_line("a motif", motif) for motif in motifs.splitlines() if motif.strip()]
    letters = _LETTERS.fullmatch(form) is not None and form.upper() == form
    if len(given) > MOTIFS_MOST:
        raise UserError(f"{len(given)} motifs were given: write at most {MOTIFS_MOST}, one a line")
    if not given:
        if letters:
            raise UserError(f"the letters {form[:20]} come with motifs: write one a line, or choose a form by its name")
        return f"{FORM_TO_MUSIC[0]}\n{form}"
    header = f"X:1\nL:{_unit(unit_note_length)}\nM:{_meter(meter)}\nK:{_key(key)}"
    listed = f"[{quoted(given)}]"
    if letters:
        return f"{LETTERS_AND_MOTIF_TO_MUSIC[0]}\n'{form}';{header}\n{listed}"
    terms = [term for term in re.split(r",\s*", form) if term]
    return f"{TERMS_AND_MOTIF_TO_MUSIC[0]}\n[{quoted(terms)}];{header}\n{listed}"


def ask_for_harmony(abc: str) -> str:
    """The question for chords to a melody, which is laid out as in training and freed of chords it has.

    Raises:
        UserError: it is no tune of one voice.
    """
    if not abc.strip():
        raise UserError("there is no melody: write one in ABC notation, or upload a file")
    if len(abc) > TEXT_CHARACTERS:
        raise UserError(f"the melody has {len(abc)} characters: the most is {TEXT_CHARACTERS}")
    laid_out = LabelledTune(lay_out(parse_tune(_from_its_number(abc))))
    head = laid_out.abc[: len(laid_out.abc) - len(laid_out.tune.body)]
    return f"{HARMONISATION[0]}\n{lay_out(parse_tune(head + without_chords(laid_out.tune)))}"


def ask_for_description(*, meter: str, key: str, unit_note_length: str, rhythm: str) -> str:
    """The question for a tune of a meter, key, unit note length and, if it is not empty, kind (``reel``).

    Raises:
        UserError: a field holds what it cannot.
    """
    facts = [f"Meter {_meter(meter)}", f"Key {_key(key)}", f"Note Length {_unit(unit_note_length)}"]
    if rhythm.strip():
        facts.append(f"Rhythm {_one_line('the rhythm', rhythm).lower()}")
    return "\n".join([TEXT_TO_SCORE[0], *facts])


def _from_its_number(abc: str) -> str:
    """A tune from its ``X:`` line on, one supplied where it begins with another field."""
    abc = abc.strip()
    start = re.search(r"^X:", abc, re.MULTILINE)
    return abc[start.start() :] if start else f"X:1\n{abc}"


def _one_line(what: str, text: str) -> str:
    words = " ".join(text.split())
    if not 0 < len(words) <= FIELD_CHARACTERS:
        raise UserError(f"{what} has {len(words)} characters: write from 1 to {FIELD_CHARACTERS}")
    return words


def _meter(text: str) -> str:
    try:
        return parse_meter(_one_line("the meter", text)).text
    except ValueError as error:
        raise UserError(f"the meter: {error}") from None


def _unit(text: str) -> str:
    try:
        return write_length(parse_unit_note_length(_one_line("the unit note length", text)))
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"the unit note length: {error}") from None


def _key(text: str) -> str:
    try:
        return short_key(_one_line("the key", text))
    except AbcError as error:
        raise UserError(f"the key: {error.reason}") from None
