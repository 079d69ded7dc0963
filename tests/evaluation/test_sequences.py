import pytest

from chatmusician.evaluation.sequences import common_subsequence, contains, edit_distance


@pytest.mark.parametrize(
    ("a", "b", "distance", "common"),
    [
        (("Dm", "C", "Dm"), ("Dm", "C", "Dm"), 0, 3),
        (("Dm", "C", "Dm"), ("D", "C", "Dm"), 1, 2),
        (("Dm", "C", "Dm"), ("C",), 2, 1),
        (("Dm", "C"), (), 2, 0),
        ((), (), 0, 0),
        (tuple("kitten"), tuple("sitting"), 3, 4),  # i, t, t, n
        ((1, 2, 3, 4), (4, 3, 2, 1), 4, 1),
        ((1, 2, 3, 4), (0, 1, 9, 3, 4), 2, 3),
    ],
)
def test_distance_and_common_subsequence(a: tuple, b: tuple, distance: int, common: int) -> None:
    assert (edit_distance(a, b), edit_distance(b, a)) == (distance, distance)
    assert (common_subsequence(a, b), common_subsequence(b, a)) == (common, common)


@pytest.mark.parametrize(
    ("part", "found"), [((2, 3), True), ((1, 2, 3), True), ((1, 3), False), ((3, 4), False), ((), False)]
)
def test_contains(part: tuple, found: bool) -> None:
    assert contains((1, 2, 3), part) is found
