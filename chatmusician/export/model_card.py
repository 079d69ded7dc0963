"""README.md of a model folder: where the model comes from, what it saw, how good it is, how to run it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatmusician.data.prompts import format_prompt
from chatmusician.errors import UserError
from chatmusician.export.folders import is_hub_id, read_json

CARD = "README.md"
PICTURE = "score.png"
"""A score that the model composed, beside the card."""
FACTS = "card.json"
"""What the card was written from, beside it: so that evaluations and pictures can be added later."""
MODELFILE = "Modelfile"
"""How Ollama runs the model, beside the card."""


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a model card tells; what is not known is left out of it. Kept in checkpoints as JSON values."""

    name: str = "ChatMusician"
    base: str | None = None
    """The model that training started from, a Hub id or a name; None for random weights."""
    base_license: str | None = None
    data_license: str | None = None
    recipe: str | None = None
    """Name of the experiment, as in +experiment=NAME."""
    adapter: str | None = None
    """One line on the adapter: rank, alpha, modules."""
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """``documents`` and ``tokens`` of the training split by corpus."""
    tokens_per_epoch: int | None = None
    """Tokens of the training set that carry loss."""
    trained_tokens: int | None = None
    """Tokens with loss that were trained on, repetitions counted."""
    optimizer_steps: int | None = None
    hardware: str | None = None
    """For example ``8 x NVIDIA A100``."""
    software: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries, by name."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the training run and of evaluations, by name."""


def write_model_card(folder: Path, facts: CardFacts) -> Path:
    """Write ``README.md`` into ``folder``, with the score and the GGUF files that lie there; returns its path."""
    path = folder / CARD
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=2) + "\n", encoding="utf-8")
    path.write_text(model_card(facts, files=[file.name for file in sorted(folder.iterdir())]), encoding="utf-8")
    return path


def read_card(folder: Path) -> CardFacts | None:
    """What the card in a model folder was written from; None for a card of somebody else's, and without a card.

    Raises:
        UserError: the file of the facts holds something else.
    """
    path = folder / FACTS
    if not path.is_file():
        return None
    try:
        return CardFacts(**read_json(path))
    except TypeError as error:
        raise UserError(f"{path} does not hold the facts of a model card: {error}") from error


def model_card(facts: CardFacts, *, files: list[str]) -> str:
    """The card as Markdown with the front matter that model hubs read. ``files`` are those beside it."""
    sections = [
        _front_matter(facts),
        f"# {facts.name}",
        f"![A score composed by this model]({PICTURE})" if PICTURE in files else "",
        "A language model that reads and writes music in ABC notation.",
        _table("Training", ("", ""), _training(facts)),
        _table("Training data", ("source", "documents", "tokens"), _sources(facts)),
        _table("Results", ("metric", "value"), [(name, f"{value:.4g}") for name, value in facts.metrics.items()]),
        _usage(files),
        _licence(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def licence_of(folder: Path) -> str | None:
    """The ``license:`` in the front matter of a model folder's card; None where none is given."""
    card = folder / CARD
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines() if card.is_file() else []
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            return None
        if line.startswith("license:"):
            return line.removeprefix("license:").strip().strip("'\"") or None
    return None


def _front_matter(facts: CardFacts) -> str:
    lines = ["---", "pipeline_tag: text-generation", "library_name: transformers"]
    if facts.base_license:
        lines.append(f"license: {facts.base_license}")
    if facts.base and is_hub_id(facts.base):
        lines.append(f"base_model: {facts.base}")
    return "\n".join([*lines, "tags:", "- music", "- abc-notation", "---"])


def _training(facts: CardFacts) -> list[tuple[str, ...]]:
    software = ", ".join(f"{name} {version}" for name, version in facts.software.items())
    rows: list[tuple[str, Any]] = [
        ("started from", f"`{facts.base}`" if facts.base else "random weights"),
        ("recipe", f"`python -m chatmusician.train +experiment={facts.recipe}`" if facts.recipe else None),
        ("adapter, merged into the weights", facts.adapter),
        ("optimizer steps", facts.optimizer_steps),
        ("tokens with loss, in all", facts.trained_tokens),
        ("tokens with loss, in one epoch", facts.tokens_per_epoch),
        ("hardware", facts.hardware),
        ("software", software or None),
    ]
    return [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in rows if value is not None]


def _sources(facts: CardFacts) -> list[tuple[str, ...]]:
    return [
        (source, f"{counts['documents']:,}", f"{counts['tokens']:,}")
        for source, counts in sorted(facts.sources.items())
    ]


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    rule = "|".join(["---", *["---:" if column else "---" for column in columns[1:]]])
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{rule}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _licence(facts: CardFacts) -> str:
    if not facts.base_license and not facts.data_license:
        return ""
    lines = ["## Licence", ""]
    if facts.base:
        lines.append(f"- `{facts.base}`, which this model is made from: {facts.base_license or 'not recorded'}")
    lines.append(f"- training data: {facts.data_license or 'not recorded'}")
    return "\n".join(lines)


def _usage(files: list[str]) -> str:
    template = format_prompt("{question}")
    ggufs = [name for name in files if name.endswith(".gguf")]
    ollama = (
        f"""

With [Ollama](https://ollama.com), llama.cpp or LM Studio, from `{ggufs[0]}`:

```bash
ollama create chatmusician -f {MODELFILE}
ollama run chatmusician "Compose a reel in D major."
```"""
        if ggufs and MODELFILE in files
        else ""
    )
    return f"""## Use

```bash
python -m chatmusician.generate model=PATH prompt="Compose a reel in D major." render=true
```

With transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("PATH")
tokenizer = AutoTokenizer.from_pretrained("PATH")
question = [{{"role": "user", "content": "Compose a reel in D major."}}]
prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, tokenize=False).removesuffix(" ")
inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
answer = model.generate(**inputs)[0, inputs.input_ids.shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True).strip())
```

With [vLLM](https://docs.vllm.ai), which takes the chat template from the folder:

```bash
vllm serve PATH
```{ollama}

The prompt is `{template}` without BOS. Decoding defaults are in `generation_config.json`."""
