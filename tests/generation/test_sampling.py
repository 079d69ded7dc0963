import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from chatmusician.errors import UserError
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.sampling import candidates, draw, next_tokens, penalise_repetition, row_uniforms

SIX = torch.tensor([[0.40, 0.25, 0.20, 0.10, 0.04, 0.01]])
IDS = torch.tensor([[7, 3, 9, 1, 5, 2]])


def test_the_worked_example_of_the_module() -> None:
    logits = SIX.log()
    probabilities, ids = candidates(logits, Decoding(temperature=1.0, top_k=0, top_p=0.9))
    torch.testing.assert_close(probabilities, torch.tensor([[0.40, 0.25, 0.20, 0.10, 0.0, 0.0]]))
    assert ids.tolist() == [[0, 1, 2, 3, 4, 5]]
    assert draw(probabilities, IDS, torch.tensor([0.62])).tolist() == [3]


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 7), (0.42, 7), (0.43, 3), (0.69, 9), (0.9, 1), (0.9999999, 1)])
def test_a_draw_never_leaves_the_kept_tokens(uniform: float, token: int) -> None:
    kept = torch.tensor([[0.40, 0.25, 0.20, 0.10, 0.0, 0.0]])
    assert draw(kept, IDS, torch.tensor([uniform])).tolist() == [token]


@pytest.mark.parametrize("top_k", [0, 1, 5, 40])
@pytest.mark.parametrize("top_p", [0.1, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 1.7])
@pytest.mark.parametrize("penalty", [1.0, 1.1, 0.8])
def test_the_distribution_is_that_of_transformers(top_k: int, top_p: float, temperature: float, penalty: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(8, 320, generator=generator) * 3
    history = torch.randint(0, 320, (8, 12), generator=generator)
    seen = torch.zeros(8, 320, dtype=torch.bool).scatter_(1, history, True)

    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(penalty), TemperatureLogitsWarper(temperature)])
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    expected = processors(history, logits.clone()).softmax(-1)

    decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
    probabilities, ids = candidates(penalise_repetition(logits, seen, penalty), decoding)
    ours = torch.zeros_like(logits).scatter_(1, ids, probabilities / probabilities.sum(-1, keepdim=True))
    assert ((ours > 0) == (expected > 0)).all()
    torch.testing.assert_close(ours, expected)


def test_draws_follow_the_distribution() -> None:
    count = 20_000
    uniforms = row_uniforms(5, 0, count)
    drawn = draw(SIX.expand(count, 6), IDS.expand(count, 6), uniforms)
    shares = [(drawn == token).float().mean().item() for token in IDS[0].tolist()]
    assert shares == pytest.approx(SIX[0].tolist(), abs=0.012)  # 3.5 standard errors of the largest share


def test_streams_of_random_numbers_depend_on_seed_and_row_only() -> None:
    long, short = row_uniforms(1, 2, 100), row_uniforms(1, 2, 10)
    assert long[:10].tolist() == short.tolist()
    assert long.tolist() != row_uniforms(1, 3, 100).tolist()
    assert long.tolist() != row_uniforms(2, 2, 100).tolist()


def test_the_end_is_not_drawn_before_it_may_be() -> None:
    logits = torch.tensor([[0.0, 9.0, 1.0], [0.0, 9.0, 1.0]])
    chosen = next_tokens(
        logits,
        seen=torch.zeros(2, 3, dtype=torch.bool),
        may_end=torch.tensor([False, True]),
        eos_ids=torch.tensor([1]),
        uniforms=torch.zeros(2),
        decoding=Decoding(temperature=0),
    )
    assert chosen.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", -0.1),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("repetition_penalty", 0.0),
        ("min_new_tokens", 2000),
        ("max_new_tokens", 0),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"generation\.{setting}={value} is out of range"):
        Decoding(**{setting: value})
