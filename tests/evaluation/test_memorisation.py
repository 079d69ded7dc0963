import pytest
from made_answers import NO_TUNE, answer, text_answer

from chatmusician.data.folk import FolkCollections, melody_of
from chatmusician.evaluation.memorisation import MelodyIndex, Overlap, OverlapRate
from chatmusician.music.transposition import transpose_tune
from chatmusician.music.tunes import parse_tune

TRAINED = "1,1,2,-3,1,1,2,-3,5,4,-2,-2"  # 12 steps
OTHER = "-1,-1,-1,-1,-1,-1,-1,-1,7,7,7,7"


@pytest.mark.parametrize(
    ("melody", "overlap"),
    [
        (TRAINED, 1),
        ("9,9," + TRAINED + ",9", 12 / 15),
        ("1,1,2,-3,1,1,2,-3,6,4,-2,-2", 8 / 12),  # the first eight steps
        ("1,1,2,-3,1,1,2", 0),  # fewer steps than a run
        ("1,1,2,-3,1,1,2,-3,-1,-1,-1,-1,-1,-1,-1,-1", 8 / 16),  # half of each of two tunes: only one of them counts
        ("5,5,5,5,5,5,5,5,5", 0),
        ("", 0),
        ("900,-900,1,1,2,-3,1,1,2,-3", 8 / 10),
    ],
)
def test_overlap(melody: str, overlap: float) -> None:
    assert MelodyIndex([TRAINED, OTHER]).overlap(melody) == pytest.approx(overlap)


def test_answers_without_a_tune_copy_nothing() -> None:
    index = MelodyIndex([TRAINED])
    rate, mean = OverlapRate(index=index), Overlap(index=index)
    copied = answer("CDEG DEFA | DBcd zBcd |]")  # 1 1 2 -3 1 1 2 -4 ...
    assert copied.melody is not None
    own = MelodyIndex([copied.melody])
    assert (OverlapRate(index=own).value(copied), Overlap(index=own).value(copied)) == (1, 1)
    for text in NO_TUNE:
        assert (rate.value(text_answer(text)), mean.value(text_answer(text))) == (0, None)


def test_training_tunes_are_found_in_another_key_and_after_a_change_of_notes() -> None:
    tunes = FolkCollections().tunes("train")[:300]
    index = MelodyIndex(tune.melody for tune in tunes)
    for tune in tunes[::10]:
        moved = melody_of(parse_tune(transpose_tune(tune.abc, semitones=3)))
        assert index.overlap(moved) == pytest.approx(1) or len(tune.melody.split(",")) < 8
        steps = tune.melody.split(",")
        steps[len(steps) // 2] = "11"
        changed = index.overlap(",".join(steps))
        assert changed == pytest.approx((len(steps) - 1) / len(steps)) or len(steps) < 18
