"""What each instruction task makes of a tune: the input of its question and the answer.

Every function here takes a `LabelledTune` and gives a `Question`, or None where the tune does not allow the task.
Wordings are in ``wordings``, the tasks themselves in ``instructions``. The inputs are those of the paper's Table 2;
identification of key, meter and kind of tune has been added in their manner. The field that would give an answer away
is not in its input. Chords and meters are only asked for where all bars add up, since they are read by bars.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatmusician.data.labelled_tunes import LabelledTune
from chatmusician.music.layout import write_length
from chatmusician.music.withholding import changes, without_key, without_meter

VOICES_OF_CHORALE = 4
LONGEST_RHYTHM = 30
"""Characters; longer ``R:`` fields are remarks."""

_SAME_RHYTHM = {"slipjig": "slip jig"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """The input of a question, without its instruction, and the answer."""

    material: str
    """Empty where the instruction says it all."""
    answer: str
    synthetic: bool = False
    """The answer was made by analysis, not taken from the source."""


def quoted(values: Sequence[str]) -> str:
    """Values as the paper's prompts write them: ``'Dm', 'C'``."""
    return ", ".join(f"'{value}'" for value in values)


def _listed(values: Sequence[str]) -> str:
    """A list as the paper's prompts write it: ``['Binary', 'Sectional: Verse/Chorus']``."""
    return f"[{quoted(values)}]"


def text_to_score(labelled: LabelledTune) -> Question:
    """Meter, key, unit note length and kind of tune; the tune."""
    tune = labelled.tune
    facts = [f"Meter {tune.meter.text}", f"Key {labelled.key}", f"Note Length {write_length(tune.unit_note_length)}"]
    if labelled.rhythm:
        facts.append(f"Rhythm {labelled.rhythm.strip().lower()}")
    return Question(material="\n".join(facts), answer=labelled.abc)


def form_to_music(tune: LabelledTune) -> Question | None:
    """The terms for the form; the tune."""
    return Question(material=", ".join(tune.terms), answer=tune.abc) if tune.terms else None


def letters_and_motif_to_music(tune: LabelledTune) -> Question | None:
    """The form in letters, the header and the motif of each section; the tune."""
    if not tune.motifs:
        return None
    return Question(material=f"'{tune.letters}';{tune.header}\n{_listed(tune.motifs)}", answer=tune.abc)


def terms_and_motif_to_music(tune: LabelledTune) -> Question | None:
    """The form in terms, the header and the motif of each section; the tune."""
    if not tune.terms or not tune.motifs:
        return None
    return Question(material=f"{_listed(tune.terms)};{tune.header}\n{_listed(tune.motifs)}", answer=tune.abc)


def motif_extraction(tune: LabelledTune) -> Question | None:
    """The tune; the motif of each section."""
    return Question(material=tune.abc, answer=_listed(tune.motifs)) if tune.motifs else None


def form_extraction(tune: LabelledTune) -> Question | None:
    """The tune; the terms for its form."""
    return Question(material=tune.abc, answer=", ".join(tune.terms)) if tune.terms else None


def chords_to_music(tune: LabelledTune) -> Question | None:
    """The names of the chords in their order; the tune with those chords."""
    found = tune.harmonisation if tune.in_time else None
    if found is None:
        return None
    return Question(material=quoted(found.chords), answer=found.abc, synthetic=found.synthetic)


def harmonisation(tune: LabelledTune) -> Question | None:
    """The tune without chords; the tune with chords."""
    found = tune.harmonisation if tune.in_time else None
    return Question(material=found.plain, answer=found.abc, synthetic=found.synthetic) if found else None


def bach_style(tune: LabelledTune) -> Question | None:
    """Nothing; a chorale in four voices."""
    return Question(material="", answer=tune.abc) if tune.voices == VOICES_OF_CHORALE else None


def key_identification(tune: LabelledTune) -> Question | None:
    """The tune with its accidentals written out, without its key; the key."""
    if tune.voices > 1 or not tune.tune.key.tonic or changes(tune.tune, "K"):
        return None
    return Question(material=without_key(tune.tune), answer=tune.key)


def meter_identification(tune: LabelledTune) -> Question | None:
    """The tune without its meter; the meter, common time as 4/4. Nothing in the notes tells cut time from it."""
    meter = tune.tune.meter
    if not tune.in_time or meter.bar_length is None or changes(tune.tune, "M") or (meter.beats, meter.unit) == (2, 2):
        return None
    return Question(material=without_meter(tune.tune), answer=f"{meter.beats}/{meter.unit}")


def rhythm_identification(tune: LabelledTune) -> Question | None:
    """The tune; its kind as the source has it, in small letters."""
    rhythm = " ".join((tune.rhythm or "").lower().split())
    if not 0 < len(rhythm) <= LONGEST_RHYTHM:
        return None
    return Question(material=tune.abc, answer=_SAME_RHYTHM.get(rhythm, rhythm))
