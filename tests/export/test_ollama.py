"""The chat templates of GGUF files and of Ollama's Modelfile."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf_models import (
    CHATS,
    messages_of,
    render,
)

from chatmusician.data.prompts import format_prompt
from chatmusician.export.gguf_vocabulary import LLAMA_CPP_TEMPLATE
from chatmusician.export.ollama import OLLAMA_TEMPLATE, write_modelfile

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")


def test_the_chat_template_stops_before_the_space_of_the_answer() -> None:
    for chat in CHATS[:3]:
        text = format_prompt(chat.text, chat.history)
        rendered = render(LLAMA_CPP_TEMPLATE, messages_of(chat), add_generation_prompt=True)
        assert rendered + " " == text
    returned = [{"role": "user", "content": "q"}, {"role": "assistant", "content": " a"}]
    assert render(LLAMA_CPP_TEMPLATE, returned) == "Human: q </s> Assistant: a </s> "


LOOP = re.compile(r"\{\{ range \.Messages \}\}(.*)\{\{ end \}\}(.*)", re.S)
BRANCHES = re.compile(
    r'\{\{ if eq \.Role "user" \}\}(.*)\{\{ else if eq \.Role "assistant" \}\}(.*)\{\{ end \}\}', re.S
)
UNLESS_SPACE = re.compile(r'\{\{ if ne \(printf "%\.1s" \.Content\) " " \}\}(.*?)\{\{ end \}\}', re.S)


def expand(template: str, messages: list[dict[str, str]]) -> str:
    """What Go's text/template makes of the few of its forms that our template has, one after another."""
    loop = LOOP.fullmatch(template)
    assert loop is not None
    branches = BRANCHES.fullmatch(loop[1])
    assert branches is not None
    parts = {"user": branches[1], "assistant": branches[2]}
    text = ""
    for message in messages:
        begins_with_space = message["content"][:1] == " "  # printf "%.1s" is the first character
        part = UNLESS_SPACE.sub("" if begins_with_space else r"\1", parts.get(message["role"], ""))
        assert part.count("{{") == part.count("{{ .Content }}") == (message["role"] in parts)
        text += part.replace("{{ .Content }}", message["content"])
    return text + loop[2]


def test_the_modelfile_gives_the_chat_format_and_the_decoding_defaults(trained: Path, tmp_path: Path) -> None:
    path = write_modelfile(tmp_path / "reels.gguf", model=trained)
    assert path == tmp_path / "Modelfile"
    lines = path.read_text().splitlines()
    assert lines[0] == "FROM ./reels.gguf"
    assert f'TEMPLATE """{OLLAMA_TEMPLATE}"""' in lines
    assert [line for line in lines if line.startswith("PARAMETER")] == [
        'PARAMETER stop "</s>"',
        "PARAMETER num_ctx 256",
        "PARAMETER temperature 0.2",
        "PARAMETER top_k 40",
        "PARAMETER top_p 0.9",
        "PARAMETER repeat_penalty 1.1",
        "PARAMETER num_predict 1536",
        "PARAMETER repeat_last_n -1",
    ]
    assert lines[-1] == "# min_new_tokens 10: Ollama has no such setting."


def test_the_modelfile_template_expands_to_the_chat_format() -> None:
    messages = [
        {"role": "system", "content": "left out"},
        {"role": "user", "content": "Compose {{ kept }}"},
        {"role": "assistant", "content": " X:1\nK:D\n"},
        {"role": "user", "content": "Again"},
        {"role": "assistant", "content": "X:2"},
        {"role": "user", "content": "More"},
    ]
    assert expand(OLLAMA_TEMPLATE, messages) == (
        "Human: Compose {{ kept }} </s> Assistant: X:1\nK:D\n </s> Human: Again </s> Assistant: X:2 </s> "
        "Human: More </s> Assistant:"
    )
    for chat in CHATS[:3]:
        assert expand(OLLAMA_TEMPLATE, messages_of(chat)) + " " == format_prompt(chat.text, chat.history)


def test_a_modelfile_of_a_sentencepiece_model_begins_with_the_space(sentencepiece: Path, tmp_path: Path) -> None:
    lines = write_modelfile(tmp_path / "a.gguf", model=sentencepiece).read_text().splitlines()
    assert f'TEMPLATE """{{{{ " " }}}}{OLLAMA_TEMPLATE}"""' in lines
    assert not [line for line in lines if "temperature" in line]


def test_a_modelfile_of_greedy_decoding_says_so(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder()
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False}))
    lines = write_modelfile(tmp_path / "a.gguf", model=folder).read_text().splitlines()
    assert lines[-1] == "PARAMETER temperature 0"
