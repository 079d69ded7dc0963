import math

import numpy as np
import pytest
import torch
from asked_models import FIFTH, KEY, make_model, many_questions, straight
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.evaluation import choice_scores
from chatmusician.evaluation.choice_questions import option_strings
from chatmusician.evaluation.choice_scores import encode_strings, fit_strings, score_options, score_questions


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
@pytest.mark.parametrize("shots", [0, 3])
def test_scores_are_those_of_one_option_at_a_time(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, batch_size: int, shots: int
) -> None:
    questions = many_questions()
    prompts = [option_strings(question, questions[:shots]) for question in questions]
    scores = score_options(model, tokenizer, prompts, batch_size=batch_size)
    expected = [[straight(model, tokenizer, string) for string in strings] for strings in prompts]
    assert scores.shape == (9, 4)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


def test_strings_may_part_early_late_or_at_once(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    prompts = [
        ["up a tone", "down a semitone", "X:1", "GABc"],  # nothing in common
        ["the key is D", "the key is D major", "the key is D minor, or F", "the key is"],  # one begins another
        ["a b c d e f", "a b c d e g h", "a b c", "a z"],
        ["same here"] * 4,
    ]
    scores = score_options(model, tokenizer, prompts, batch_size=3)
    expected = [[straight(model, tokenizer, string) for string in strings] for strings in prompts]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


def test_the_order_of_the_questions_changes_no_bit(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    prompts = [option_strings(question) for question in many_questions()]
    forward = score_options(model, tokenizer, prompts, batch_size=4)
    backward = score_options(model, tokenizer, prompts[::-1], batch_size=4)
    assert (forward == backward[::-1]).all()


def test_logits_in_portions_change_nothing(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [option_strings(question) for question in many_questions()]
    whole = score_options(model, tokenizer, prompts)
    monkeypatch.setattr(choice_scores, "LOGITS_AT_ONCE", 7 * len(tokenizer))
    np.testing.assert_allclose(score_options(model, tokenizer, prompts), whole, rtol=0, atol=1e-6)


def test_a_tokenizer_that_adds_a_beginning_is_left_to_do_so(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    class Beginning:
        bos_token_id = 0

        def __call__(self, text: str | list[str], *, add_special_tokens: bool = True) -> object:
            found = tokenizer(text, add_special_tokens=False)
            if add_special_tokens and isinstance(text, str):
                found["input_ids"] = [0, *found["input_ids"]]
            return found

    plain = encode_strings(tokenizer, ["X:1"])
    assert encode_strings(Beginning(), ["X:1"]) == [(0, *plain[0])]
    strings = ["a b", "a c", "a d", "a e"]
    scores = score_options(model, Beginning(), [strings])
    expected = [straight(model, tokenizer, "<s>" + string) for string in strings]
    np.testing.assert_allclose(scores[0], expected, rtol=0, atol=1e-5)


def test_a_rotary_embedding_that_depends_on_the_length_is_read_string_by_string(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    factors = [1.0 + i for i in range(8)]
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 8,
        "long_factor": factors,
        "original_max_position_embeddings": 100,
        "factor": 64.0,
    }
    changing = make_model(len(tokenizer), rope=rope)
    prompts = [[f"{'a b c d ' * 12}{ending}" for ending in ("e", "f" * 40, "g h", "i")], ["a b", "a c", "a d", "a e"]]
    lengths = [len(ids) for ids in encode_strings(tokenizer, prompts[0])]
    assert min(lengths) < 100 < max(lengths), "the strings lie on both sides of the change"
    expected = [[straight(changing, tokenizer, string) for string in strings] for strings in prompts]
    np.testing.assert_allclose(score_options(changing, tokenizer, prompts), expected, rtol=0, atol=1e-5)


def test_a_model_in_training_goes_on_training(tokenizer: PreTrainedTokenizerBase) -> None:
    training = make_model(len(tokenizer)).train()
    training.model.norm.eval()
    score_options(training, tokenizer, [option_strings(FIFTH)])
    assert training.training and training.model.layers[0].training and not training.model.norm.training


def test_an_adapter_is_part_of_the_model(tokenizer: PreTrainedTokenizerBase) -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(make_model(len(tokenizer)), LoraConfig(target_modules=["q_proj", "up_proj"], r=4))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    strings = option_strings(FIFTH)
    expected = [straight(adapted, tokenizer, string) for string in strings]
    np.testing.assert_allclose(score_options(adapted, tokenizer, [strings])[0], expected, rtol=0, atol=1e-5)
    assert abs(expected[0] - straight(make_model(len(tokenizer)), tokenizer, strings[0])) > 1e-3


def test_the_lowest_score_is_the_choice(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    outcomes = score_questions(model, tokenizer, [KEY, FIFTH], examples=[FIFTH])
    assert [outcome.question_id for outcome in outcomes] == ["key", "fifth"]
    for outcome, question in zip(outcomes, [KEY, FIFTH], strict=True):
        expected = [straight(model, tokenizer, string) for string in option_strings(question, [FIFTH])]
        assert outcome.scores == pytest.approx(expected, abs=1e-5)
        assert outcome.chosen == int(np.argmin(expected))
        assert outcome.right == (outcome.chosen == question.answer)
        assert outcome.answered and outcome.examples == 1 and not outcome.unreadable


def test_examples_are_dropped_before_the_question(tokenizer: PreTrainedTokenizerBase) -> None:
    examples = [FIFTH, KEY, FIFTH]
    lengths = [max(len(ids) for ids in encode_strings(tokenizer, option_strings(KEY, examples[:n]))) for n in range(4)]
    for window, kept in ((lengths[3], 3), (lengths[3] - 1, 2), (lengths[1], 1), (lengths[1] - 1, 0), (lengths[0], 0)):
        fitted = fit_strings(tokenizer, KEY, examples, window=window)
        assert fitted is not None and fitted.examples == kept
        assert list(fitted.strings) == option_strings(KEY, examples[:kept])
    assert fit_strings(tokenizer, KEY, examples, window=lengths[0] - 1) is None


def test_a_question_beyond_the_window_is_not_answered(tokenizer: PreTrainedTokenizerBase) -> None:
    longest = max(len(ids) for ids in encode_strings(tokenizer, option_strings(FIFTH)))
    small = make_model(len(tokenizer), window=longest)
    outcomes = score_questions(small, tokenizer, [KEY, FIFTH], examples=[KEY])
    assert [(outcome.answered, outcome.scores is None, outcome.examples) for outcome in outcomes] == [
        (False, True, 0),
        (True, False, 0),
    ]
    assert not outcomes[0].right and not outcomes[0].unreadable
    scores = score_options(small, tokenizer, [option_strings(KEY), option_strings(FIFTH)])
    assert np.isnan(scores[0]).all() and scores[1] == pytest.approx(outcomes[1].scores)


def test_no_questions_no_scores(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    assert score_options(model, tokenizer, []).shape == (0, 4)
    assert score_questions(model, tokenizer, []) == []


def test_what_cannot_be_scored_is_refused(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="four strings"):
        score_options(model, tokenizer, [["one", "two", "three"]])
    with pytest.raises(ValueError, match="fewer than two tokens"):
        score_options(model, tokenizer, [["a", "a b", "a c", "a d"]])
    with pytest.raises(UserError, match="batch_size=0 is out of range"):
        score_options(model, tokenizer, [option_strings(FIFTH)], batch_size=0)
    broken = make_model(len(tokenizer))
    with torch.no_grad():
        broken.model.norm.weight[0] = math.nan
    with pytest.raises(UserError, match="not finite"):
        score_options(broken, tokenizer, [option_strings(FIFTH)])
