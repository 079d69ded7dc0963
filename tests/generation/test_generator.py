from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import EOS, make_model
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from chatmusician.data.prompts import Turn
from chatmusician.errors import UserError
from chatmusician.export.merging import merge_adapter
from chatmusician.generation.backends.transformers_backend import TransformersBackend
from chatmusician.generation.chat import Conversation
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator
from chatmusician.generation.loading import load_generator
from chatmusician.generation.prompting import Prompt, encode_prompt

QUESTIONS = ["Compose a reel.", "A jig", "Add chords to this: |: d2fd Adfd | e2ge Bege :|", "Hm", "Explain the tritone"]
WARM = Decoding(temperature=1.0, top_k=0, top_p=0.95, min_new_tokens=2, max_new_tokens=30)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Ends its answers often enough for rows to leave the batch at different steps."""
    model = make_model(len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight[EOS] *= 2
    return model


@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_answers_do_not_depend_on_the_batch(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> None:
    prompts = [f"{question} {i}" for i in range(2) for question in QUESTIONS]
    alone = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer), batch_size=1).generate(
        prompts, WARM
    )
    together = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer), batch_size=batch_size).generate(
        prompts, WARM
    )
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    assert len({answer.tokens for answer in alone}) > 3, "rows should leave at different steps"
    assert {answer.finished for answer in alone} == {True, False}


def test_a_row_keeps_its_answer_when_generated_alone(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    generator = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer))
    together = generator.generate(QUESTIONS, WARM)
    alone = generator.generate([QUESTIONS[3]], WARM, numbers=[3])
    assert alone[0].text == together[3].text


def test_answers_are_cut_when_their_time_is_over(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Two rows at once: the first has a token when it is looked at the clock, the others have not begun."""
    generator = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer), batch_size=2)
    whole = generator.generate(QUESTIONS, WARM)
    ((index, answer),) = generator.answers(QUESTIONS, WARM, seconds=0)
    assert (index, answer.tokens, answer.finished) == (0, 1, False)
    assert answer.cut == "cut after 1 tokens by the time allowed, 0 s"
    assert whole[0].text.startswith(answer.text)
    assert [found.text for _, found in sorted(generator.answers(QUESTIONS, WARM, seconds=1000))] == [
        found.text for found in whole
    ]


def test_rows_outlive_the_first_buffer_and_late_long_prompts_fit(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make_model(len(tokenizer), window=900)
    long = "d2fd Adfd | " * 90
    prompts = ["Compose", long, "a reel"]
    decoding = Decoding(temperature=1.0, min_new_tokens=260, max_new_tokens=262)
    alone = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer), batch_size=1).generate(
        prompts, decoding
    )
    together = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer), batch_size=2).generate(
        prompts, decoding
    )
    assert [answer.text for answer in together] == [answer.text for answer in alone]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_is_that_of_transformers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, penalty: float
) -> None:
    decoding = Decoding(temperature=0, repetition_penalty=penalty, min_new_tokens=5, max_new_tokens=60)
    for question in QUESTIONS:
        ids = torch.tensor([encode_prompt(tokenizer, Prompt(text=question))])
        reference = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            repetition_penalty=penalty,
            min_new_tokens=5,
            max_new_tokens=60,
        )[0, ids.shape[1] :]
        (answer,) = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer)).generate(
            [question], decoding
        )
        text = tokenizer.decode(reference, skip_special_tokens=True).removeprefix(" ")
        assert answer.text == (text.removesuffix(" ") if answer.finished else text)
        assert answer.tokens == len(reference)


def test_the_pieces_of_a_stream_are_the_answer(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    generator = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer))
    for seed in range(12):
        decoding = Decoding(temperature=1.0, top_k=0, top_p=1.0, min_new_tokens=0, max_new_tokens=40, seed=seed)
        pieces = list(generator.stream("Compose a reel.", decoding))
        assert all(pieces)
        assert "".join(pieces) == generator.generate(["Compose a reel."], decoding)[0].text


def test_an_answer_says_what_cut_it(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    generator = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer))
    (short,) = generator.generate(["Compose"], Decoding(min_new_tokens=7, max_new_tokens=7))
    assert (short.tokens, short.finished, short.cut) == (7, False, "cut after 7 tokens by max_new_tokens=7")
    used = len(generator.prompt_ids("Compose"))
    (full,) = generator.generate(["Compose"], Decoding(min_new_tokens=1000, max_new_tokens=1000))
    assert full.tokens == 256 - used
    assert full.cut == f"cut after {256 - used} tokens by the model's window of 256 tokens"


def test_a_prompt_longer_than_the_window_is_refused(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    generator = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer))
    with pytest.raises(UserError, match=r"^prompt 'ceg .*\.\.\.' has \d+ tokens, but the model's window of 256 tokens"):
        generator.generate(["ceg " * 300], Decoding())


def test_a_model_in_training_mode_is_given_back_in_it(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    model.train()
    model.model.layers[0].eval()
    Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer)).generate(
        ["Compose"], Decoding(max_new_tokens=10)
    )
    assert model.training
    assert not model.model.layers[0].training
    assert model.model.layers[1].mlp.training
    model.eval()


def test_weights_that_are_not_numbers_are_reported(tokenizer: PreTrainedTokenizerBase) -> None:
    model = make_model(len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight[5, 5] = float("nan")
    with pytest.raises(UserError, match="logits are not finite"):
        Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer)).generate(["Compose"], Decoding())


def test_a_conversation_sees_its_past_until_the_window_is_full(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    chat = Conversation(generator=Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer)), reserve=60)
    decoding = Decoding(max_new_tokens=30, temperature=1.0)
    "".join(chat.ask("Compose </s> a reel", decoding))
    first = chat.turns[0]
    assert first.question == "Compose </s> a reel"
    assert chat.prompt("Go on").history == (first,)
    for _ in range(8):
        "".join(chat.ask("Another", decoding))
    assert len(chat.turns) == 9
    assert 0 < chat.dropped < 9
    prompt = chat.prompt("Go on")
    assert prompt.history == chat.turns[chat.dropped :]
    assert len(chat.generator.prompt_ids(prompt)) <= 256 - 60


def test_a_loaded_folder_answers_as_the_model_in_memory(model_folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    decoding = Decoding(max_new_tokens=20)
    loaded = load_generator(model=str(model_folder), device="cpu").generate(["Compose"], decoding)
    memory = Generator(backend=TransformersBackend(model=make_model(len(tokenizer)), tokenizer=tokenizer)).generate(
        ["Compose"], decoding
    )
    assert loaded[0].text == memory[0].text


def test_bfloat16_on_the_cpu_generates(model_folder: Path) -> None:
    generator = load_generator(model=str(model_folder), device="cpu", dtype="bfloat16")
    assert generator.generate(["Compose"], Decoding(max_new_tokens=12))[0].tokens == 12


@pytest.mark.parametrize("option", ["load_in_4bit", "load_in_8bit"])
def test_quantised_weights_generate_or_say_what_they_need(model_folder: Path, option: str) -> None:
    if find_spec("bitsandbytes") is None:
        with pytest.raises(UserError, match=f"{option}=true needs bitsandbytes, which is not installed"):
            load_generator(model=str(model_folder), device="cpu", **{option: True})
        return
    generator = load_generator(model=str(model_folder), device="cpu", **{option: True})
    assert generator.generate(["Compose"], Decoding(max_new_tokens=12))[0].tokens == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device=gpu is unknown: choose one of auto, cpu, cuda, mps"),
        ({"dtype": "int8"}, "dtype=int8 is unknown"),
        ({"load_in_8bit": True, "load_in_4bit": True}, "exclude each other"),
        ({"adapter": "nowhere"}, "adapter=nowhere does not exist"),
        ({"tokenizer": "."}, "tokenizer=. has no tokenizer"),
        ({"model": "nowhere"}, "model=nowhere does not exist: train one with"),
        ({"batch_size": 0}, "batch_size=0 is out of range"),
    ],
)
def test_what_cannot_be_loaded_is_refused(model_folder: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError) as refused:
        load_generator(**{"model": str(model_folder), "device": "cpu", **options})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_history_reaches_the_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    generator = Generator(backend=TransformersBackend(model=model, tokenizer=tokenizer))
    decoding = Decoding(temperature=0, max_new_tokens=20, repetition_penalty=1.0)
    past = Prompt(text="Go on", history=(Turn(question="Compose a jig", answer="X:1"),))
    without, with_past = generator.generate([Prompt(text="Go on"), past], decoding)
    assert without.text != with_past.text


def test_an_unmerged_adapter_answers_as_the_merged_model(
    model_folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """The unmerged model takes transformers' forward, the merged one the written-out step."""
    torch.manual_seed(1)
    lora = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    get_peft_model(make_model(len(tokenizer)), lora).save_pretrained(tmp_path / "adapter")
    merge_adapter(base=model_folder, adapter=tmp_path / "adapter", output=tmp_path / "merged")
    decoding = Decoding(temperature=0.7, max_new_tokens=25)
    unmerged = load_generator(model=str(model_folder), adapter=str(tmp_path / "adapter"), device="cpu", batch_size=3)
    merged = load_generator(model=str(tmp_path / "merged"), device="cpu", batch_size=3)
    base = load_generator(model=str(model_folder), device="cpu")
    texts = [answer.text for answer in unmerged.generate(QUESTIONS, decoding)]
    assert texts == [answer.text for answer in merged.generate(QUESTIONS, decoding)]
    assert texts != [answer.text for answer in base.generate(QUESTIONS, decoding)]
