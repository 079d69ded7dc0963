import math

import pytest
from made_answers import NO_TUNE, answer, text_answer

from chatmusician.evaluation.lengths import BarsPerTune, BytesPerToken, NotesPerTune, TokensPerTune


def three_bytes_a_token(text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
    assert not add_special_tokens
    return {"input_ids": list(range(0, len(text.encode()), 3))}


BODY = "C4-C2 [EG]2 | z4 {d}c4 |]"  # with its header 45 characters


def test_a_tune() -> None:
    read = answer(BODY)
    assert read.abc is not None
    assert len(read.abc) == 45
    assert BarsPerTune().value(read) == 2
    assert NotesPerTune().value(read) == 4
    assert TokensPerTune(tokenizer=three_bytes_a_token).value(read) == 15


def test_bytes_a_token_go_by_tokens() -> None:
    one, other = (BytesPerToken(tokenizer=three_bytes_a_token) for _ in range(2))
    one.update(answer(BODY))  # 45 bytes, 15 tokens
    other.update(answer("C8 |]"))  # 25 bytes, 9 tokens
    one.merge_state(other)
    assert float(one.compute()) == pytest.approx(70 / 24)


@pytest.mark.parametrize("text", NO_TUNE)
def test_without_a_tune(text: str) -> None:
    read = text_answer(text)
    compression = BytesPerToken(tokenizer=three_bytes_a_token)
    compression.update(read)
    assert math.isnan(float(compression.compute()))
    metrics = (BarsPerTune(), NotesPerTune(), TokensPerTune(tokenizer=three_bytes_a_token))
    assert [metric.value(read) for metric in metrics] == [None, None, None]
