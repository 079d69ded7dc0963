"""Documents in the terminal: what is trained on and what is not, and nothing that acts on the terminal."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_folders import BYTES, prepare_documents
from rich.console import Console
from tokenizers import Tokenizer

from chatmusician.data.documents import Document, plain_document
from chatmusician.data.inspection.document_text import print_rows, text_runs, visible, visible_line
from chatmusician.data.inspection.folder import open_folder
from chatmusician.data.tokenizers import load_tokenizer

LEGEND = "trained on, ⟦masked, without loss⟧; a document's first token has nothing before it and is never trained on\n"


@pytest.fixture(scope="module")
def bytes_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return BYTES.load([], tmp_path_factory.mktemp("bytes")).backend_tokenizer


@pytest.fixture(scope="module")
def llama_tokenizer(sentencepiece: Path) -> Tokenizer:
    """A sentencepiece vocabulary of 32,000 tokens, LLaMA's kind: unknown characters are byte tokens."""
    return load_tokenizer(sentencepiece).backend_tokenizer


def runs(tokenizer: Tokenizer, ids: list[int], mask: str) -> list[tuple[str, bool, bool]]:
    found = text_runs(tokenizer, np.array(ids), np.array([flag == "1" for flag in mask]))
    return [(run.text, run.trained, run.special) for run in found]


@pytest.mark.parametrize(
    ("text", "mask", "expected"),
    [
        ("abcd", "0011", [("ab", False, False), ("cd", True, False)]),
        # € is three bytes, 🎵 is four: a character belongs where its last byte does
        ("a€b", "00000", [("a€b", False, False)]),
        ("a€b", "00001", [("a€", False, False), ("b", True, False)]),
        ("a€b", "00011", [("a", False, False), ("€b", True, False)]),
        ("€uro", "011111", [("€uro", True, False)]),
        ("🎵", "0101", [("🎵", True, False)]),
        ("\ufffda", "0001", [("\ufffd", False, False), ("a", True, False)]),
        ("a</s>b", "011", [("a", False, False), ("</s>", True, True), ("b", True, False)]),
        ("a</s></s>b", "0011", [("a", False, False), ("</s>", False, True), ("</s>", True, True), ("b", True, False)]),
    ],
)
def test_tokens_become_text(
    bytes_tokenizer: Tokenizer, text: str, mask: str, expected: list[tuple[str, bool, bool]]
) -> None:
    ids = bytes_tokenizer.encode(text).ids
    assert len(ids) == len(mask)
    assert runs(bytes_tokenizer, ids, mask) == expected


def test_half_a_character_is_shown_as_such(bytes_tokenizer: Tokenizer) -> None:
    ids = bytes_tokenizer.encode("a€").ids
    assert runs(bytes_tokenizer, ids[:-1], "011") == [("a", False, False), ("\ufffd", True, False)]


def test_byte_tokens_of_llama_become_text(llama_tokenizer: Tokenizer) -> None:
    tokens = ["▁a", "▁", "<0xF0>", "<0x9F>", "<0x8E>", "<0xB5>", "</s>", "▁b"]
    ids = [llama_tokenizer.token_to_id(token) for token in tokens]
    assert runs(llama_tokenizer, ids, "00001111") == [
        ("a ", False, False),
        ("🎵", True, False),
        ("</s>", True, True),
        (" b", True, False),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_stretches_add_up_to_the_text(llama_tokenizer: Tokenizer, seed: int) -> None:
    draw = np.random.default_rng(seed)
    ids = draw.choice(np.r_[3:259, 1000:1010], size=60)  # bytes, most of them no UTF-8, and words
    mask = draw.random(60) < 0.5
    found = text_runs(llama_tokenizer, ids, mask)
    assert "".join(run.text for run in found) == visible(llama_tokenizer.decode(ids.tolist()))


def test_ids_without_a_token_are_shown_by_number(bytes_tokenizer: Tokenizer) -> None:
    ids = [*bytes_tokenizer.encode("a").ids, 259, 60000, *bytes_tokenizer.encode("b").ids]
    assert runs(bytes_tokenizer, ids, "0111") == [
        ("a", False, False),
        ("⟨id 259⟩⟨id 60000⟩", True, False),
        ("b", True, False),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b\nc", "a b\nc"),
        ("\x1b[2J\x07", "␛[2J␇"),
        ("\r\t\x00\x7f", "␍␉␀␡"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("a\u202eb\u2028c\u200d", "a⟨U+202E⟩b⟨U+2028⟩c⟨U+200D⟩"),
        ("⟦⟧⟨⟩", "⟨U+27E6⟩⟨U+27E7⟩⟨U+27E8⟩⟨U+27E9⟩"),
        ("é 音 🎵 [b]", "é 音 🎵 [b]"),
        ("\U000e0041", "⟨U+E0041⟩"),
    ],
)
def test_what_would_act_on_a_terminal_is_only_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_name_stays_on_its_line() -> None:
    assert visible_line("a\nb\x1b") == "a␊b␛"


def printed(directory: Path, **options: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, markup=False, emoji=False, highlight=False, soft_wrap=True, width=40, **options)
    folder = open_folder(directory)
    print_rows(console, folder.rows("train", first=0, count=9), folder.tokenizer)
    return out.getvalue()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    documents = [
        Document(text="Q </s> A </s>", trained=((6, 13),), source="chats"),
        Document(text="no", trained=((0, 2),), source="words"),
        Document(text="a long line " * 5, trained=((0, 60),), source="words"),
    ]
    return prepare_documents(tmp_path_factory.mktemp("prepared"), {"train": documents}, seq_len=60)


def test_without_colours_masked_text_stands_in_brackets(answers: Path) -> None:
    """Lines are not broken, whatever the width."""
    assert printed(answers) == LEGEND + (
        "\nrow 0: 1 document, 60 of 60 tokens\n"
        "┌ document 1 of 1: tokens 0 to 59 (60, of which 59 trained), source words\n"
        f"│ ⟦a⟧{' long line a' * 4} long line \n"
        "└ no padding\n"
        "\nrow 1: 2 documents, 9 of 60 tokens\n"
        "┌ document 1 of 2: tokens 0 to 6 (7, of which 4 trained), source chats\n"
        "│ ⟦Q </s>⟧ A </s>\n"
        "├ document 2 of 2: tokens 7 to 8 (2, of which 1 trained), source words\n"
        "│ ⟦n⟧o\n"
        "└ padding: 51 tokens\n"
    )


def test_with_colours_the_two_have_different_ones(answers: Path) -> None:
    text = printed(answers, force_terminal=True, color_system="standard")
    assert "\x1b[33mQ \x1b[0m\x1b[1;4;33m</s>\x1b[0m\x1b[32m A \x1b[0m\x1b[1;4;32m</s>\x1b[0m" in text
    assert "\x1b[33mn\x1b[0m\x1b[32mo\x1b[0m" in text
    assert "⟦" not in text


def test_no_color_is_obeyed(answers: Path) -> None:
    text = printed(answers, force_terminal=True, color_system="standard", no_color=True)
    assert "⟦n⟧" in text
    assert "\x1b[3" not in text


def test_nothing_is_read_for_a_reader_that_left(answers: Path) -> None:
    console = Console(file=io.StringIO(), quiet=True)
    rows = open_folder(answers).rows("train", first=0, count=9)
    print_rows(console, rows, open_folder(answers).tokenizer)
    assert next(rows).row == 1


@pytest.mark.parametrize("colours", [False, True])
def test_documents_cannot_act(tmp_path: Path, colours: bool) -> None:
    """Escape sequences, markup of the printing library, and lines that look like borders are only shown."""
    text = "[bold]x[/bold] :smile: \x1b]0;title\x07\x1b[31m\n└ no padding\n\u202eend"
    folder = prepare_documents(tmp_path, {"train": [plain_document(text, source="[red]\x1b[2J\nx")]}, seq_len=100)
    shown = printed(folder, force_terminal=colours, color_system="standard" if colours else None)
    for harmless in ("bold]x[/bold] :smile: ␛]0;title␇␛[31m", "└ no padding", "⟨U+202E⟩end", "[red]␛[2J␊x"):
        assert harmless in shown
    assert "\n└ no padding" not in shown
    assert "\u202e" not in shown
    allowed = {"\x1b[0m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[1;4;32m"} if colours else set()
    for sequence in allowed:
        shown = shown.replace(sequence, "")
    assert "\x1b" not in shown
