"""What benchmarks train where nothing is fetched: Llamas of random weights, their tokenizer, made-up instructions."""

import json
import math
import random
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SHARD_BYTES = 2_000_000_000
VOCABULARY = 32_000
SHAPES = {
    "7b": {"hidden": 4096, "layers": 32, "heads": 32, "intermediate": 11008},
    "tiny": {"hidden": 64, "layers": 2, "heads": 4, "intermediate": 172},
}


def write_base(folder: Path, shapes: dict[str, int]) -> None:
    """A Llama of random weights, unless it is there: written under another name and renamed when it is whole."""
    if folder.exists():
        return
    import torch
    from safetensors.torch import save_file

    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(1234)
    places: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(shards(shapes), start=1):
        name = f"model-{number:05d}.safetensors"
        tensors = {key: random_weight(shape, generator) for key, shape in shard.items()}
        save_file(tensors, partial / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
        total += sum(tensor.nbytes for tensor in tensors.values())
        print(f"{partial / name}: {total / 1e9:.1f} GB so far", flush=True)
    write_json(partial / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})
    write_json(partial / "config.json", config_of(shapes))
    write_tokenizer(partial)
    partial.rename(folder)


def random_weight(shape: tuple[int, ...], generator: Any) -> Any:
    """As Llama initialises it: ones for norms, a normal distribution for matrices."""
    import torch

    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    return (
        torch.empty(shape, dtype=torch.bfloat16, device=generator.device).normal_(std=0.02, generator=generator).cpu()
    )


def shards(shapes: dict[str, int]) -> Iterator[dict[str, tuple[int, ...]]]:
    """The tensors of a Llama by name, in groups of at most `SHARD_BYTES`."""
    shard: dict[str, tuple[int, ...]] = {}
    for name, shape in tensors_of(shapes).items():
        if shard and 2 * sum(math.prod(other) for other in [*shard.values(), shape]) > SHARD_BYTES:
            yield shard
            shard = {}
        shard[name] = shape
    yield shard


def tensors_of(shapes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Name and shape [out, in] of every weight of a Llama without grouped heads or tied embeddings."""
    hidden, wide = shapes["hidden"], shapes["intermediate"]
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, hidden)}
    for layer in range(shapes["layers"]):
        place = f"model.layers.{layer}"
        for name in "qkvo":
            tensors[f"{place}.self_attn.{name}_proj.weight"] = (hidden, hidden)
        for name in ("gate", "up"):
            tensors[f"{place}.mlp.{name}_proj.weight"] = (wide, hidden)
        tensors[f"{place}.mlp.down_proj.weight"] = (hidden, wide)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{place}.{name}.weight"] = (hidden,)
    return tensors | {"model.norm.weight": (hidden,), "lm_head.weight": (VOCABULARY, hidden)}


def config_of(shapes: dict[str, int]) -> dict[str, Any]:
    """config.json, with what LLaMA2 has."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shapes["hidden"],
        "intermediate_size": shapes["intermediate"],
        "num_hidden_layers": shapes["layers"],
        "num_attention_heads": shapes["heads"],
        "num_key_value_heads": shapes["heads"],
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": "bfloat16",
    }


def write_tokenizer(folder: Path, **special: str) -> None:
    """The vocabulary of LLaMA's kind that mistral-common carries (a development dependency), in a folder that is there.

    ``special`` are further special tokens, such as ``pad_token``.
    """
    spec = find_spec("mistral_common")
    if spec is None or spec.origin is None:
        raise SystemExit("error: the tokenizer comes with mistral-common: pip install mistral-common")
    shutil.copyfile(Path(spec.origin).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **special}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", **names})


def write_instructions(path: Path, *, count: int = 400) -> None:
    """Rows like MusicPile-sft's: two of knowledge to one of scores, as the mixture of the recipe draws them."""
    draw = random.Random(1234)
    notes = "CDEFGABcdefgab"
    with path.open("w") as file:
        for number in range(count):
            music = " | ".join("".join(draw.choices(notes, k=8)) for _ in range(8))
            score = number % 3 == 2
            answer = f"X:{number}\nL:1/8\nM:4/4\nK:G\n{music} |]" if score else f"The notes are {music}."
            question = "Compose a tune in G major." if score else f"Which notes are in tune {number}?"
            source = "irishman" if score else "music knowledge"
            row = {"instruction": question, "input": "", "output": answer, "src": source, "id": number}
            file.write(json.dumps(row) + "\n")


def write_json(path: Path, content: Any) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content, indent=1))
