import random

import numpy as np
import pytest

from chatmusician.data.packing import IGNORED, TokenDocument, assign_rows, pack, positions, targets

A, B, C, D, E = 11, 12, 13, 14, 15
PAD = 0


def document(ids: list[int], loss_mask: list[int], trained_bytes: int = 1) -> TokenDocument:
    return TokenDocument(ids=np.array(ids), loss_mask=np.array(loss_mask, bool), trained_bytes=trained_bytes)


def test_the_row_drawn_in_the_module() -> None:
    documents = [document([D, E], [0, 1], 10), document([A, B, C], [0, 1, 1], 20)]
    (row,) = pack(documents, seq_len=8, pad_id=PAD)
    assert row.ids.tolist() == [A, B, C, D, E, PAD, PAD, PAD]
    assert row.lengths == (3, 2)
    assert row.loss_mask.tolist() == [False, True, True, False, True, False, False, False]
    assert positions(np.array([*row.lengths, 3]), seq_len=8).tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    x = IGNORED
    assert targets(row.ids, row.loss_mask).tolist() == [B, C, x, E, x, x, x, x]
    assert (row.trained_tokens, row.trained_bytes) == (3, 30)


def test_the_first_token_of_a_document_is_no_target() -> None:
    (row,) = pack([document([A, B], [1, 1]), document([C, D], [1, 1])], seq_len=4, pad_id=PAD)
    assert row.loss_mask.tolist() == [False, True, False, True]
    assert targets(row.ids, row.loss_mask).tolist() == [B, IGNORED, D, IGNORED]
    assert row.trained_tokens == 2


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
