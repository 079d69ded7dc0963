"""The small files of a model folder: JSON, the tokenizer with ChatMusician's template, the decoding defaults."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatmusician.data.prompts import CHAT_TEMPLATE
from chatmusician.export.folders import CHAT_TEMPLATE_FILE, TOKENIZER_CONFIG, TOKENIZER_FILES, read_json

GENERATION_CONFIG = "generation_config.json"

PAPER_DECODING: Mapping[str, float] = {
    "temperature": 0.2,
    "top_k": 40,
    "top_p": 0.9,
    "repetition_penalty": 1.1,
    "min_new_tokens": 10,
    "max_new_tokens": 1536,
}
"""The decoding defaults of ChatMusician, by transformers' names."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read: indented, UTF-8, a newline at the end."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_generation_config(folder: Path, config: Mapping[str, Any], decoding: Mapping[str, float] | None) -> None:
    """Write what transformers' ``generate`` takes as defaults.

    Args:
        folder: where to.
        config: the model's config.json, for the ids of its special tokens.
        decoding: settings by transformers' names; None for the paper's. A temperature of 0 is greedy decoding.
    """
    settings = dict(PAPER_DECODING if decoding is None else decoding)
    sampled = settings.get("temperature") != 0
    if not sampled:
        settings = {key: value for key, value in settings.items() if key not in ("temperature", "top_k", "top_p")}
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(key) is not None}
    write_json(folder / GENERATION_CONFIG, {"do_sample": sampled, **settings, **ids})


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy a tokenizer's files and give it the chat template of `chatmusician.data.prompts`."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    write_chat_template(folder)


def write_chat_template(folder: Path) -> None:
    """Write the template as chat_template.jinja, and take any other out of tokenizer_config.json."""
    (folder / CHAT_TEMPLATE_FILE).write_text(CHAT_TEMPLATE, encoding="utf-8")
    tokenizer_config = folder / TOKENIZER_CONFIG
    if tokenizer_config.is_file():
        settings = read_json(tokenizer_config)
        if settings.pop("chat_template", None) is not None:
            write_json(tokenizer_config, settings)
