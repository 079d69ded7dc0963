import pytest
from made_answers import NO_TUNE, answer, text_answer

from chatmusician.evaluation.acceptance import AcceptedByAbc2midi, abc2midi_error

HEADER = "X:1\nL:1/8\nM:4/4\nK:C\n"


@pytest.mark.parametrize(
    ("abc", "reason"),
    [
        (HEADER + "CDEF GABc | c8 |]", None),
        (HEADER + "CDEF GABc | c4 |]", None),  # a bar that does not add up is a warning
        (HEADER + "C4-D4 | D8 |]", "Could not find note to be tied"),
        (HEADER + '"C C8 |]', "Guitar chord name not properly closed"),
        ("X:1\nK:Q\nC8 |]", "First K: field must specify key signature"),
        (HEADER, "no notes after a K: line"),
        (HEADER + "| | |]", "no notes after a K: line"),
        ("CDEF |", "no notes after a K: line"),
        (HEADER + "%%abc-include x.abc\nC8 |]", "not safe to convert"),
    ],
)
def test_what_abc2midi_says(abc: str, reason: str | None) -> None:
    error = abc2midi_error(abc)
    assert error is None if reason is None else reason in (error or "")


def test_share_of_answers() -> None:
    rate = AcceptedByAbc2midi()
    for read in (answer("C8 |]"), *map(text_answer, NO_TUNE)):
        rate.update(read)
    assert float(rate.compute()) == 0.25
