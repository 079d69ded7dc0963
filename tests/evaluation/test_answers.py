import math

import pytest
from made_answers import NO_TUNE, answer, text_answer

from chatmusician.evaluation.lengths import BarsPerTune
from chatmusician.evaluation.repetition import RepeatSigns


def test_a_tune_is_taken_apart() -> None:
    read = text_answer('Here it is:\n\nX:1\nL:1/8\nM:4/4\nK:C\n"Am"A4 "G7"G2-G2 |]\n\nEnjoy!')
    assert read.abc == 'X:1\nL:1/8\nM:4/4\nK:C\n"Am"A4 "G7"G2-G2 |]'
    assert read.check is not None
    assert read.check.parses
    assert read.reason is None
    assert (read.chords, read.melody, read.letters) == (("Am", "G7"), "-1,0", "A")
    assert (len(read.events), len(read.sounds)) == (3, 2)


@pytest.mark.parametrize(
    ("text", "reason"), [*zip(NO_TUNE, ("is empty", "neither an X:", "opens a chord"), strict=True)]
)
def test_without_a_tune_there_is_nothing_and_a_reason(text: str, reason: str) -> None:
    read = text_answer(text)
    assert read.reason is not None
    assert reason in read.reason
    assert (read.tune, read.melody) == (None, None)
    assert (read.events, read.sounds, read.letters, read.chords) == ((), (), "", ())


def test_means_leave_out_what_does_not_apply() -> None:
    bars, repeats = BarsPerTune(), RepeatSigns()
    for read in (answer("C8 |: D8 :|"), answer("C8 | D8 | E8 | F8 |]"), text_answer("")):
        bars.update(read)
        repeats.update(read)
    assert (float(bars.compute()), int(bars.count)) == (3.0, 2)
    assert (float(repeats.compute()), int(repeats.count)) == (pytest.approx(1 / 3), 3)


def test_a_mean_of_nothing_is_not_a_number() -> None:
    bars = BarsPerTune()
    bars.update(text_answer(""))
    assert math.isnan(float(bars.compute()))


def test_means_of_two_ranks_are_those_of_all() -> None:
    one, other = BarsPerTune(), BarsPerTune()
    one.update(answer("C8 |: D8 :|"))
    other.update(answer("C8 |]"))
    other.update(answer("C8 | D8 | E8 |]"))
    one.merge_state(other)
    assert float(one.compute()) == 2.0
