import random

import numpy as np
import pytest

from chatmusician.data.packing import IGNORED, TokenDocuments, assign_rows, pack, positions, targets

A, B, C, D, E = 11, 12, 13, 14, 15
PAD = 0


def window(*documents: tuple[list[int], list[int], int]) -> TokenDocuments:
    """Documents of ids, loss mask and trained bytes."""
    lengths = np.array([len(ids) for ids, _, _ in documents], np.int64)
    return TokenDocuments(
        ids=np.array([id_ for ids, _, _ in documents for id_ in ids], np.uint32),
        loss_mask=np.array([bears for _, mask, _ in documents for bears in mask], bool),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        texts=np.arange(len(documents)),
        trained_bytes=np.array([trained for _, _, trained in documents], np.int64),
    )


def test_the_row_drawn_in_the_module() -> None:
    packed = pack(window(([D, E], [0, 1], 10), ([A, B, C], [0, 1, 1], 20)), seq_len=8, pad_id=PAD)
    assert packed.ids.tolist() == [[A, B, C, D, E, PAD, PAD, PAD]]
    assert packed.lengths.tolist() == [3, 2]
    assert packed.texts.tolist() == [1, 0]
    assert packed.loss_mask.tolist() == [[False, True, True, False, True, False, False, False]]
    assert positions(np.array([*packed.lengths, 3]), seq_len=8).tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    x = IGNORED
    assert targets(packed.ids.astype(np.int64), packed.loss_mask).tolist() == [[B, C, x, E, x, x, x, x]]
    assert (packed.trained_tokens.tolist(), packed.trained_bytes.tolist()) == ([3], [30])


def test_the_first_token_of_a_document_is_no_target() -> None:
    packed = pack(window(([A, B], [1, 1], 1), ([C, D], [1, 1], 1)), seq_len=4, pad_id=PAD)
    assert packed.loss_mask.tolist() == [[False, True, False, True]]
    assert targets(packed.ids.astype(np.int64), packed.loss_mask).tolist() == [[B, IGNORED, D, IGNORED]]
    assert packed.trained_tokens.tolist() == [2]


def test_several_rows() -> None:
    """Lengths 1, 3, 2 in rows of 4: C D E with A, then B A."""
    packed = pack(window(([A], [1], 1), ([C, D, E], [1, 1, 1], 2), ([B, A], [0, 1], 4)), seq_len=4, pad_id=PAD)
    assert packed.ids.tolist() == [[C, D, E, A], [B, A, PAD, PAD]]
    assert packed.loss_mask.tolist() == [[False, True, True, False], [False, True, False, False]]
    assert (packed.lengths.tolist(), packed.texts.tolist(), packed.ends.tolist()) == ([3, 1, 2], [1, 0, 2], [2, 3])
    assert (packed.trained_tokens.tolist(), packed.trained_bytes.tolist()) == ([2, 1], [3, 4])
    assert packed.document_bytes.tolist() == [2, 1, 4]


def test_pieces_may_share_tokens() -> None:
    shared = TokenDocuments(
        ids=np.array([A, B, C, D, E], np.uint32),
        loss_mask=np.ones(5, bool),
        starts=np.array([0, 2]),
        lengths=np.array([3, 3]),
        texts=np.array([0, 0]),
        trained_bytes=np.array([3, 2]),
    )
    assert pack(shared, seq_len=3, pad_id=PAD).ids.tolist() == [[A, B, C], [C, D, E]]
    assert [document.ids.tolist() for document in shared] == [[A, B, C], [C, D, E]]
    assert [document.trained_tokens for document in shared[:1]] == [2]
    with pytest.raises(IndexError):
        shared[2]


def test_nothing_is_packed_into_no_row() -> None:
    packed = pack(window(), seq_len=4, pad_id=PAD)
    assert (packed.ids.shape, len(packed), packed.lengths.tolist()) == ((0, 4), 0, [])


def test_targets_of_several_rows() -> None:
    ids, mask = np.array([[A, B], [C, D]]), np.array([[False, True], [False, False]])
    assert targets(ids, mask).tolist() == [[B, IGNORED], [IGNORED, IGNORED]]


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ([5, 3, 4, 2, 6], [[4, 3], [0, 1], [2]]),
        ([8, 8], [[0], [1]]),
        ([1, 7, 2, 6], [[1, 0], [3, 2]]),
        ([6, 5, 3, 2], [[0, 3], [1, 2]]),  # 2 closes the row of 6, 3 that of 5
        ([], []),
    ],
)
def test_best_fit_decreasing(lengths: list[int], rows: list[list[int]]) -> None:
    assert assign_rows(lengths, seq_len=8) == rows


@pytest.mark.parametrize("length", [0, 9])
def test_a_document_that_cannot_be_placed_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"document of {length} tokens does not fit rows of 8"):
        assign_rows([length], seq_len=8)


def test_every_document_is_placed_once_and_rows_are_nearly_full() -> None:
    draw = random.Random(0)
    lengths = [draw.randint(1, 256) for _ in range(2000)]
    rows = assign_rows(lengths, seq_len=256)
    assert sorted(index for row in rows for index in row) == list(range(2000))
    assert max(sum(lengths[index] for index in row) for row in rows) <= 256
    assert sum(lengths) / (256 * len(rows)) > 0.99
