import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.data.tokenizers import train_bpe
from chatmusician.errors import UserError
from chatmusician.evaluation import choice_scores
from chatmusician.evaluation.choice_letters import answer_letters, answer_questions, read_letter
from chatmusician.evaluation.choice_questions import (
    ChoiceOutcome,
    ChoiceQuestion,
    group_result,
    group_results,
    option_strings,
    shuffled,
    written_prompt,
)
from chatmusician.evaluation.choice_scores import encode_strings, fit_strings, score_options, score_questions
from chatmusician.generation.generator import Generator

LINES = [
    "Read the following questions from the four options (A, B, C and D) given in each question. Choose the best",
    "Which note is a perfect fifth above C?\nA. F\nB. G\nC. A\nD. B\nAnswer: B",
    "X:1\nM:4/4\nL:1/8\nK:Dmaj\n|: d2fd Adfd | e2ge Bege :|\nHuman: </s> Assistant: B. The answer is the interval",
]

FIFTH = ChoiceQuestion(
    question_id="fifth",
    group="knowledge",
    stem="Which note is a perfect fifth above C?",
    abc=None,
    options=("F", "G", "A", "B"),
    answer=1,
)
KEY = ChoiceQuestion(
    question_id="key",
    group="reasoning",
    stem="In which key is this tune?",
    abc="X:1\nK:D\nd2fd Adfd |\n",
    options=("C major", "G major", "D major", "A major"),
    answer=2,
)


def make_tokenizer() -> PreTrainedTokenizerBase:
    return train_bpe(LINES, vocab_size=320)


def make_model(vocabulary: int, *, window: int = 4096, rope: dict[str, object] | None = None) -> LlamaForCausalLM:
    """Two layers of width 64; weights large enough that scores differ."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        initializer_range=0.15,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        rope_parameters=rope,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return make_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    return make_model(len(tokenizer))


def straight(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, string: str) -> float:
    """The definition, a string at a time: no batch, no cache, no cross entropy of torch's."""
    ids = tokenizer(string, add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    shares = (logits - logits.max(dim=1, keepdim=True).values).exp()
    shares = (shares / shares.sum(dim=1, keepdim=True)).tolist()
    total = 0.0
    for position in range(1, len(ids)):
        total -= math.log(shares[position - 1][ids[position]])
    return total / (len(ids) - 1)


def many_questions() -> list[ChoiceQuestion]:
    """Of many lengths, with options of many tokens."""
    return [
        ChoiceQuestion(
            question_id=str(i),
            group="knowledge",
            stem="What comes next" + " and next" * (i % 5) + "?",
            abc=f"X:{i}\nK:G\n{'GABc ' * i}|" if i % 2 else None,
            options=("a tone", f"{i} semitones up", "it stays", "up, down and up again"),
            answer=i % 4,
        )
        for i in range(9)
    ]


# -- prompts


def test_zero_shot_strings_to_the_character() -> None:
    text = (
        "Read the following questions from the four options (A, B, C and D) given in each question. "
        "Choose the best option.\n"
        "In which key is this tune?\n"
        "X:1\nK:D\nd2fd Adfd |\n"
        "A. C major\nB. G major\nC. D major\nD. A major\n"
        "Answer: "
    )
    assert option_strings(KEY) == [text + "A", text + "B", text + "C", text + "D"]


def test_examples_stand_between_hint_and_question_with_their_answers() -> None:
    assert option_strings(KEY, [FIFTH])[3] == (
        "Read the following questions from the four options (A, B, C and D) given in each question. "
        "Choose the best option.\n"
        "Which note is a perfect fifth above C?\n"
        "A. F\nB. G\nC. A\nD. B\n"
        "Answer: B\n"
        "In which key is this tune?\n"
        "X:1\nK:D\nd2fd Adfd |\n"
        "A. C major\nB. G major\nC. D major\nD. A major\n"
        "Answer: D"
    )


def test_shuffles_keep_the_right_answer_and_differ() -> None:
    orders = set()
    for number in range(5):
        changed, order = shuffled(KEY, seed=1234, number=number)
        assert changed.options[changed.answer] == "D major"
        assert changed.options == tuple(KEY.options[old] for old in order)
        assert sorted(order) == [0, 1, 2, 3]
        assert (changed, order) == shuffled(KEY, seed=1234, number=number)
        orders.add(order)
    assert len(orders) > 2
    assert orders != {shuffled(KEY, seed=1, number=number)[1] for number in range(5)}


@pytest.mark.parametrize("change", [{"options": ("a", "b", "c")}, {"answer": 4}, {"answer": -1}])
def test_what_is_no_question_is_refused(change: dict[str, object]) -> None:
    fields = {"question_id": "q", "group": "g", "stem": "s", "abc": None, "options": ("a", "b", "c", "d"), "answer": 0}
    with pytest.raises(ValueError, match="four options"):
        ChoiceQuestion(**(fields | change))


# -- scores


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


# -- the window


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


# -- written answers


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" C\n", "C"),
        ("B. The fifth", "B"),
        ("(D) because", "D"),
        ("**A**", "A"),
        ("A) a tone", "A"),
        ("D:\nit is", "D"),
        ("C \nsince", "C"),
        ("The answer is B.", "B"),
        ("The correct answer is: (C)", "C"),
        ("Answer: D", "D"),
        ("ANSWER: option A, as", "A"),
        ("The best option is **B**", "B"),
        ("Is the answer is A? No: the answer is C because", "C"),
        ("The answer is D, a dominant.", "D"),
        ("A. F\nB. G\nC. A\nD. B\nAnswer: C", "C"),
        ("", None),
        ("b", None),
        ("E", None),
        ("A minor third", None),
        ("It is D major", None),
        ("The answer is C major", None),
        ("The answer is C-sharp", None),
        ("The answer is A#", None),
        ("The answer is Dm7", None),
        ("D.C. al fine", None),
        ("A, B and C", None),
        ("A. F\nB. G\nC. A\nD. B", None),
        ("Beethoven", None),
        ("X:1\nK:D\n", None),
    ],
)
def test_read_letter(text: str, letter: str | None) -> None:
    found = read_letter(text)
    assert (None if found is None else "ABCD"[found]) == letter


@pytest.fixture
def saying(tokenizer: PreTrainedTokenizerBase) -> Callable[[dict[str, str]], Generator]:
    """A generator trained, here, to answer given questions."""

    def train(answers: dict[str, str]) -> Generator:
        learner = make_model(len(tokenizer), window=512).train()
        texts = [f"Human: {question} </s> Assistant: {answer} </s> " for question, answer in answers.items()]
        rows = [torch.tensor([tokenizer(text, add_special_tokens=False).input_ids]) for text in texts]
        optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-2)
        for _ in range(25):
            optimizer.zero_grad()
            loss = sum(learner(input_ids=row, labels=row).loss for row in rows)
            loss.backward()
            optimizer.step()
        return Generator(model=learner.eval(), tokenizer=tokenizer)

    return train


def test_written_answers_are_read_and_counted(saying: Callable[[dict[str, str]], Generator]) -> None:
    beyond = ChoiceQuestion(
        question_id="long", group="knowledge", stem="GABc " * 400, abc=None, options=("a", "b", "c", "d"), answer=0
    )
    generator = saying({written_prompt(FIFTH): "B. G", written_prompt(KEY): "It is D major"})
    outcomes = answer_questions(generator, [beyond, KEY, FIFTH])
    assert [(outcome.answered, outcome.chosen, outcome.unreadable) for outcome in outcomes] == [
        (False, None, False),
        (True, None, True),
        (True, 1, False),
    ]
    assert [outcome.text for outcome in outcomes] == [None, "It is D major", "B. G"]
    assert [answer.letter for answer in answer_letters(generator, [written_prompt(FIFTH)], max_new_tokens=1)] == [1]
    knowledge, reasoning = group_results(reversed(outcomes))
    assert (knowledge.group, knowledge.questions, knowledge.not_answered, knowledge.unreadable) == (
        "knowledge",
        2,
        1,
        0,
    )
    assert knowledge.accuracy is not None and knowledge.accuracy.estimate == 1.0
    assert (reasoning.unreadable, reasoning.not_answered) == (1, 0)
    assert reasoning.accuracy is not None and reasoning.accuracy.estimate == 0.0


# -- results


def outcome(question_id: str, chosen: int | None, *, answered: bool = True) -> ChoiceOutcome:
    return ChoiceOutcome(question_id=question_id, group="g", answer=0, answered=answered, chosen=chosen)


def test_accuracy_is_the_mean_of_the_questions_own_shares() -> None:
    # q: 1 of 2; r: 1 of 1 answered; s: not answered at all. Mean of 1/2 and 1.
    result = group_result(
        "g",
        [
            outcome("q", 0),
            outcome("q", 2),
            outcome("r", 0),
            outcome("r", None, answered=False),
            outcome("s", None, answered=False),
            outcome("s", None, answered=False),
        ],
    )
    assert (result.questions, result.asked, result.not_answered, result.unreadable) == (3, 6, 3, 0)
    assert result.accuracy is not None
    assert (result.accuracy.low, result.accuracy.estimate, result.accuracy.high) == (0.5, 0.75, 1.0)


def test_a_group_without_answers_has_no_accuracy() -> None:
    result = group_result("g", [outcome("q", None, answered=False)])
    assert result.accuracy is None and result.to_dict()["accuracy"] is None
