"""A Modelfile for Ollama beside a GGUF file: the chat format, where to stop, the decoding defaults."""

from pathlib import Path

from chatmusician.data.prompts import ASSISTANT, END_OF_TURN, HUMAN
from chatmusician.data.tokenizers import load_tokenizer
from chatmusician.export.folders import CONFIG, read_json
from chatmusician.export.gguf_vocabulary import prompt_start
from chatmusician.export.metadata import GENERATION_CONFIG
from chatmusician.export.model_card import MODELFILE

OLLAMA_TEMPLATE = (
    "{{ range .Messages }}"
    '{{ if eq .Role "user" }}'
    + HUMAN
    + "{{ .Content }}"
    + END_OF_TURN
    + '{{ else if eq .Role "assistant" }}'
    # an answer begins with the space that its first token brought, unless the caller has cut it off
    + ASSISTANT.strip()
    + '{{ if ne (printf "%.1s" .Content) " " }} {{ end }}{{ .Content }}'
    + END_OF_TURN
    + "{{ end }}{{ end }}"
    + ASSISTANT.strip()
)
"""The chat format of `chatmusician.data.prompts` in Go's template language."""
_OLLAMA_NAMES = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "repetition_penalty": "repeat_penalty",
    "max_new_tokens": "num_predict",
}
"""Ollama's names of transformers' decoding settings."""


def write_modelfile(gguf: Path, *, model: Path) -> Path:
    """Write a ``Modelfile`` for Ollama beside a GGUF file: the chat format, where to stop, the decoding defaults.

    ``ollama create NAME -f Modelfile`` makes the model of it.

    Args:
        gguf: the file that `write_gguf` made.
        model: the folder it was made of; its generation_config.json, if there is one, gives the decoding defaults.

    Returns:
        The Modelfile's path.

    Raises:
        UserError: the folder's configuration or tokenizer cannot be read.
    """
    config = read_json(model / CONFIG)
    settings = read_json(model / GENERATION_CONFIG) if (model / GENERATION_CONFIG).is_file() else {}
    if settings.get("do_sample") is False:
        settings["temperature"] = 0
    start = '{{ " " }}' if prompt_start(load_tokenizer(model)) else ""
    lines = [
        f"FROM ./{gguf.name}",
        "# A system prompt is left out: the model was trained on questions and answers alone.",
        f'TEMPLATE """{start}{OLLAMA_TEMPLATE}"""',
        f'PARAMETER stop "{END_OF_TURN.strip()}"',
        f"PARAMETER num_ctx {config.get('max_position_embeddings', 2048)}",
    ]
    lines += [f"PARAMETER {name} {settings[key]}" for key, name in _OLLAMA_NAMES.items() if key in settings]
    if "repetition_penalty" in settings:
        lines += ["# The penalty is for tokens anywhere in prompt and answer.", "PARAMETER repeat_last_n -1"]
    if "min_new_tokens" in settings:
        lines.append(f"# min_new_tokens {settings['min_new_tokens']}: Ollama has no such setting.")
    path = gguf.with_name(MODELFILE)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
