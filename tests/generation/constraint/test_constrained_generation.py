"""The sampling loop under a constraint: models with random weights, and one that wants what is forbidden."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import EOS, make_model
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import decode_rows
from chatmusician.generation.backends.transformers_backend import TransformersBackend
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator
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
    return Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer))


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
    token = tokenizer(wanted, add_special_tokens=False).input_ids[0]

    class Insistent(LlamaForCausalLM):
        def forward(self, *arguments: Any, **settings: Any) -> Any:
            output = super().forward(*arguments, **settings)
            output.logits.mul_(0.01)[..., token] += 1e4
            return output

    model = make_model(len(tokenizer), window=512)
    model.__class__ = Insistent
    generator = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer))
    free = generator.generate(PROMPTS, replace(WARM, temperature=temperature, min_new_tokens=0))
    assert all(answer.text.count(tokenizer.decode(token)) == answer.tokens for answer in free)
    answers = generator.generate(PROMPTS, replace(WARM, temperature=temperature, constraint="bars", top_k=40))
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
    alone = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer), batch_size=1).generate(
        PROMPTS, decoding
    )
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    assert [answer.text for answer in generator.generate(PROMPTS, decoding)] == [answer.text for answer in together]
    other = generator.generate(PROMPTS, replace(decoding, seed=5))
    assert [answer.text for answer in other] != [answer.text for answer in together]


def test_the_pieces_of_a_stream_are_the_answer(generator: Generator) -> None:
    for seed in range(4):
        decoding = replace(WARM, constraint="bars", seed=seed)
        pieces = list(generator.stream(PROMPTS[seed], decoding))
        assert "".join(pieces) == generator.generate([PROMPTS[seed]], decoding)[0].text


def test_rows_with_and_without_a_constraint_share_a_batch(generator: Generator) -> None:
    def tokens(constraints: list[str]) -> list[list[int]]:
        rows = [
            generator.row(prompt, replace(WARM, max_new_tokens=60, constraint=constraint), number=number)
            for number, (prompt, constraint) in enumerate(zip(PROMPTS, constraints, strict=True))
        ]
        drawn: list[list[int]] = [[] for _ in rows]
        with generator.backend.open(slots=8) as batch:
            for step in decode_rows(batch, rows, slots=8):
                for one in step:
                    drawn[one.row.number].append(one.token)
        return drawn

    mixed = tokens(["none", "bars", "none", "syntax", "none"])
    free, bars, syntax = (tokens([constraint] * 5) for constraint in ("none", "bars", "syntax"))
    assert mixed == [free[0], bars[1], free[2], syntax[3], free[4]]
    assert free[1] != bars[1]
    assert free[3] != syntax[3]


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
