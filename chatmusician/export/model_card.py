"""README.md of a model folder: where the model comes from, what it saw, how good it is, how to run it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chatmusician.data.prompts import format_prompt


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a model card tells; what is not known is left out of it."""

    name: str = "ChatMusician"
    base: str | None = None
    """The model that training started from; None for random weights."""
    recipe: str | None = None
    """Name of the experiment, as in +experiment=NAME."""
    adapter: str | None = None
    """One line on the adapter: rank, alpha, modules."""
    sources: Mapping[str, int] = field(default_factory=dict)
    """Documents by corpus."""
    tokens_per_epoch: int | None = None
    """Tokens of the training set that carry loss."""
    optimizer_steps: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def write_model_card(folder: Path, facts: CardFacts) -> Path:
    """Write ``README.md`` into ``folder``; returns its path."""
    path = folder / "README.md"
    path.write_text(model_card(facts), encoding="utf-8")
    return path


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with the front matter that model hubs read."""
    sections = [
        _front_matter(),
        f"# {facts.name}",
        _origin(facts),
        _table("Training data", "source", "documents", _counts(facts)),
    ]
    sections.append(_table("Results", "metric", "value", {k: f"{v:.4g}" for k, v in facts.metrics.items()}))
    sections.append(_usage())
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter() -> str:
    return "---\npipeline_tag: text-generation\nlibrary_name: transformers\ntags:\n- music\n- abc-notation\n---"


def _origin(facts: CardFacts) -> str:
    start = f"Trained from `{facts.base}`." if facts.base else "Trained from random weights."
    lines = [f"A language model that reads and writes music in ABC notation. {start}"]
    if facts.recipe:
        lines.append(f"Recipe: `python -m chatmusician.train +experiment={facts.recipe}`.")
    if facts.adapter:
        lines.append(f"Adapter, merged into the weights: {facts.adapter}.")
    if facts.optimizer_steps is not None:
        lines.append(f"Optimizer steps: {facts.optimizer_steps:,}.")
    if facts.tokens_per_epoch is not None:
        lines.append(f"Tokens with loss in one epoch: {facts.tokens_per_epoch:,}.")
    return "\n".join(lines)


def _counts(facts: CardFacts) -> dict[str, str]:
    return {source: f"{count:,}" for source, count in sorted(facts.sources.items())}


def _table(title: str, key: str, value: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    lines = [f"## {title}", "", f"| {key} | {value} |", "|---|---:|"]
    return "\n".join(lines + [f"| {k} | {v} |" for k, v in rows.items()])


def _usage() -> str:
    template = format_prompt("{question}")
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

The prompt is `{template}` without BOS. Decoding defaults are in `generation_config.json`."""
