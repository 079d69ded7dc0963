"""The sampling loop under a constraint: models with random weights, and one that wants what is forbidden."""

from dataclasses import replace

import pytest
import torch
from tiny import EOS, make_model
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.generation.constraint.choices import Choices
from chatmusician.generation.constraint.followers import Masks
from chatmusician.generation.constraint.vocabulary import make_vocabulary, token_texts
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator
from chatmusician.generation.loop import Row, decode_rows
from chatmusician.generation.prompting import Prompt
from chatmusician.music.checks import check_tune

STARTS = [
    *("X:1\nL:1/8\nM:4/4\nK:D\n|: d2fd Adfd |", "X:1\nL:1/8\nM:6/8\nK:G\n", "X:1\nM:3/4\nK:Am\nA2 |"),
    *("X:1\nL:1/16\nM:2/4\nK:D\nd4 (3f2g2a2", "X:1\nL:1/4\nM:C|\nK:C\n"),
]
PROMPTS = [Prompt(text=start, template=False) for start in STARTS]
WARM = Decoding(temperature=1.0, top_k=0, top_p=0.95, repetition_penalty=1.0, max_new_tokens=120)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Would end its answers often enough, if it may."""
    model = make_model(len(tokenizer), window=512)
    with torch.no_grad():
        model.lm_head.weight[EOS] *= 2
    return model


@pytest.fixture(scope="module")
def generator(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> Generator:
    return Generator(model=model, tokenizer=tokenizer)


@pytest.mark.parametrize("constraint", ["syntax", "bars"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_tunes_of_random_weights_are_right(generator: Generator, constraint: str, temperature: float) -> None:
    """Such a model has no idea of ABC; without constraint none of its tunes parses."""
    seeds = (1, 2, 3) if temperature else (1,)
    for seed in seeds:
        decoding = replace(WARM, seed=seed, temperature=temperature)
        free = generator.generate(PROMPTS, decoding)
        assert not any(check_tune(start + answer.text).parses for start, answer in zip(STARTS, free, strict=True))
        ended = 0
        for start, answer in zip(
            STARTS, generator.generate(PROMPTS, replace(decoding, constraint=constraint)), strict=True
        ):
            assert answer.gave_way == 0
            if answer.finished:
                ended += 1
                check = check_tune((start + answer.text).partition("\n\n")[0])
                assert check.parses, check.reason
                assert constraint == "syntax" or check.bars == check.bars_right, check.wrong_bars
        assert ended or not temperature


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("wanted", [";", "|", "\n", "9", "é", "(", "X:"])
def test_no_model_is_left_without_a_choice(tokenizer: PreTrainedTokenizerBase, wanted: str, temperature: float) -> None:
    """All weight is on one token, whatever was said before."""
    model = make_model(len(tokenizer), window=512)
    ids = tokenizer(wanted, add_special_tokens=False).input_ids
    with torch.no_grad():
        model.lm_head.weight.mul_(0.01)
    generator = Generator(model=model, tokenizer=tokenizer)

    def push(_module: object, _arguments: object, output: torch.Tensor) -> torch.Tensor:
        output[..., ids[0]] += 1e4
        return output

    handle = model.lm_head.register_forward_hook(push)
    try:
        answers = generator.generate(PROMPTS, replace(WARM, temperature=temperature, constraint="bars", top_k=40))
    finally:
        handle.remove()
    for start, answer in zip(STARTS, answers, strict=True):
        assert answer.gave_way == 0
        if answer.finished:
            check = check_tune((start + answer.text).partition("\n\n")[0])
            assert check.parses, check.reason
            assert check.bars == check.bars_right


def test_answers_do_not_depend_on_the_batch_or_on_what_was_asked_before(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, generator: Generator
) -> None:
    decoding = replace(WARM, constraint="bars")
    together = generator.generate(PROMPTS, decoding)
    alone = Generator(model=model, tokenizer=tokenizer, batch_size=1).generate(PROMPTS, decoding)
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    assert [answer.text for answer in generator.generate(PROMPTS, decoding)] == [answer.text for answer in together]
    other = generator.generate(PROMPTS, replace(decoding, seed=5))
    assert [answer.text for answer in other] != [answer.text for answer in together]


def test_the_pieces_of_a_stream_are_the_answer(generator: Generator) -> None:
    for seed in range(4):
        decoding = replace(WARM, constraint="bars", seed=seed)
        pieces = list(generator.stream(PROMPTS[seed], decoding))
        assert "".join(pieces) == generator.generate([PROMPTS[seed]], decoding)[0].text


def test_rows_with_and_without_a_constraint_share_a_batch(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, generator: Generator
) -> None:
    choices = Choices(make_vocabulary(token_texts(tokenizer)), counted=True)
    masks = Masks(choices, eos_ids=generator.eos_ids)
    ids = [generator.prompt_ids(prompt) for prompt in PROMPTS]
    rows = [
        Row(
            number=number,
            prompt_ids=prompt_ids,
            limit=60,
            follower=masks.follower(prompt_ids, template=False) if number % 2 else None,
        )
        for number, prompt_ids in enumerate(ids)
    ]
    drawn: dict[int, list[int]] = {number: [] for number in range(len(rows))}
    for step in decode_rows(model, rows, WARM, eos_ids=generator.eos_ids, batch_size=8, masks=masks):
        for one in step:
            drawn[one.row.number].append(one.token)
    plain = {number: [] for number in range(len(rows))}  # type: dict[int, list[int]]
    free = [Row(number=row.number, prompt_ids=row.prompt_ids, limit=60) for row in rows]
    for step in decode_rows(model, free, WARM, eos_ids=generator.eos_ids, batch_size=8):
        for one in step:
            plain[one.row.number].append(one.token)
    assert [drawn[number] == plain[number] for number in range(len(rows))] == [True, False, True, False, True]


def test_prose_is_not_touched(generator: Generator) -> None:
    """Answers in which no tune begins are the same with a constraint."""
    questions = ["Compose a reel.", "A jig", "Hm"]
    free = generator.generate(questions, WARM)
    held = generator.generate(questions, replace(WARM, constraint="bars"))
    assert not any("X:" in answer.text or "K:" in answer.text for answer in free)
    assert [answer.text for answer in held] == [answer.text for answer in free]


def test_an_unknown_constraint_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^generation\.constraint=bar is unknown: choose one of none, syntax, bars$"):
        Decoding(constraint="bar")
