"""A tune with its labels: what the instruction tasks ask of it or tell of it.

Flow: ``folk`` and ``chorales`` -> `LabelledTune` -> ``questions`` -> ``instructions``. Labels come from the tune itself
(`chatmusician.music.form`, ``motif``, ``harmony``) or from its source, and each is found when first asked for and once
only: chords are by far the dearest (10 ms a tune), and two tasks want them.
"""

from dataclasses import dataclass
from functools import cached_property

from chatmusician.music.bars import bars
from chatmusician.music.chord_symbols import chord_names, with_chords, without_chords
from chatmusician.music.form import form_letters, terms_of_letters
from chatmusician.music.harmony import harmonise
from chatmusician.music.layout import lay_out, short_key, write_length
from chatmusician.music.motif import section_motifs
from chatmusician.music.tunes import parse_tune

OWN_CHORDS = 0.25
"""Chord symbols a bar from which a tune is taken to be harmonised by its source; stray ones are ignored."""


@dataclass(frozen=True, kw_only=True)
class Harmonisation:
    """A tune with chords and without."""

    plain: str
    """The tune in the corpus layout, without chord symbols."""
    chords: tuple[str, ...]
    """The names of the chords in the order written."""
    abc: str
    """The same tune with them."""
    synthetic: bool
    """True if they were chosen by `chatmusician.music.harmony`, false if the source has them."""


class LabelledTune:
    """A tune with what the tasks ask of it.

    ``abc`` is its text in the layout of the corpus. ``rhythm`` is the kind of tune, such as ``reel``; a laid-out tune
    does not say it, so it comes from the source.
    """

    def __init__(self, abc: str, *, rhythm: str | None = None) -> None:
        self.abc = abc
        self.rhythm = rhythm
        self.tune = parse_tune(abc)

    @property
    def key(self) -> str:
        """The key in short: ``G``, ``Ador``."""
        return short_key(self.tune.fields[-1].value)

    @property
    def header(self) -> str:
        """The header that a motif is read in: number, unit note length, meter, key."""
        length = write_length(self.tune.unit_note_length)
        return f"X:1\nL:{length}\nM:{self.tune.meter.text}\nK:{self.key}"

    @cached_property
    def letters(self) -> str:
        """The form as letters: ``AABA``."""
        return form_letters(self.tune)

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms for the form; empty where none fits."""
        return terms_of_letters(self.letters)

    @cached_property
    def motifs(self) -> tuple[str, ...]:
        """The motif of each section; empty where a section has none."""
        motifs = section_motifs(self.tune)
        return motifs if all(motifs) else ()

    @property
    def voices(self) -> int:
        """How many voices the header names; 1 where it names none."""
        return max(1, sum(field.name == "V" for field in self.tune.fields))

    @cached_property
    def in_time(self) -> bool:
        """True if every bar adds up, by the definition in `chatmusician.music.bars`."""
        return all(bar.adds_up for bar in bars(self.tune))

    @cached_property
    def harmonisation(self) -> Harmonisation | None:
        """Chords for a one-voice tune, its own or chosen ones; None where it takes none (a key without a tonic)."""
        if self.voices > 1:
            return None
        own = chord_names(self.tune)
        plain = lay_out(parse_tune(self._head() + without_chords(self.tune))) if own else self.abc
        if len(own) >= OWN_CHORDS * len(bars(self.tune)):
            return Harmonisation(plain=plain, chords=own, abc=self.abc, synthetic=False)
        tune = parse_tune(plain)
        names = harmonise(tune)
        if not names:
            return None
        chords = tuple(names[place] for place in sorted(names))
        return Harmonisation(plain=plain, chords=chords, abc=self._head() + with_chords(tune, names), synthetic=True)

    def _head(self) -> str:
        """The header, with its last newline."""
        return self.abc[: len(self.abc) - len(self.tune.body)]
