from pathlib import Path

import pytest

from chatmusician.errors import UserError
from chatmusician.export.model_card import CardFacts, licence_of, model_card, read_card, write_model_card

FACTS = CardFacts(
    base="m-a-p/ChatMusician-Base",
    base_license="mit",
    data_license="cc",
    recipe="sft_78k",
    adapter="LoRA of rank 64",
    sources={"reels": {"documents": 1200, "tokens": 34567}, "jigs": {"documents": 3, "tokens": 99}},
    optimizer_steps=97500,
    trained_tokens=12_000_000,
    hardware="8 x NVIDIA A100",
    software={"torch": "2.13.0"},
    metrics={"val/bits_per_byte": 1.39712, "parse_rate": 0.97},
)


def test_a_card_tells_what_is_known() -> None:
    lines = model_card(FACTS, files=["README.md", "score.png"]).splitlines()
    front = lines[: lines.index("---", 1)]
    assert "license: mit" in front
    assert "base_model: m-a-p/ChatMusician-Base" in front
    for line in (
        "![A score composed by this model](score.png)",
        "| started from | `m-a-p/ChatMusician-Base` |",
        "| recipe | `python -m chatmusician.train +experiment=sft_78k` |",
        "| optimizer steps | 97,500 |",
        "| tokens with loss, in all | 12,000,000 |",
        "| hardware | 8 x NVIDIA A100 |",
        "| software | torch 2.13.0 |",
        "| jigs | 3 | 99 |",
        "| reels | 1,200 | 34,567 |",
        "| val/bits_per_byte | 1.397 |",
        "- `m-a-p/ChatMusician-Base`, which this model is made from: mit",
        "- training data: cc",
        "vllm serve PATH",
    ):
        assert line in lines, line
    assert "ollama" not in "\n".join(lines)


def test_what_is_not_known_is_left_out() -> None:
    card = model_card(CardFacts(), files=[])
    assert "| started from | random weights |" in card
    for word in ("license", "Licence", "base_model", "hardware", "## Results", "## Training data", "score.png", "None"):
        assert word not in card


def test_ollama_is_told_of_where_it_can_run_the_model() -> None:
    card = model_card(FACTS, files=["Modelfile", "model-q8_0.gguf"])
    assert "from `model-q8_0.gguf`" in card
    assert "ollama create chatmusician -f Modelfile" in card


def test_a_card_can_be_written_again_with_more(tmp_path: Path) -> None:
    write_model_card(tmp_path, FACTS)
    assert read_card(tmp_path) == FACTS
    assert licence_of(tmp_path) == "mit"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, None),
        ("# No front matter\nlicense: mit\n", None),
        ("---\ntags:\n- music\n---\nlicense: mit\n", None),
        ("---\nlicense: 'llama2'\n---\n", "llama2"),
    ],
)
def test_a_licence_is_read_from_the_front_matter_alone(tmp_path: Path, card: str | None, licence: str | None) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence
    assert read_card(tmp_path) is None


def test_facts_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"colour": "blue"}')
    with pytest.raises(UserError, match="does not hold the facts of a model card"):
        read_card(tmp_path)
