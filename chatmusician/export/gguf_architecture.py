"""What a Llama is in a GGUF file: its tensors under llama.cpp's names, and the keys that say how to compute with them.

*Rotary embeddings.* transformers turns the first half of a head's numbers against the second half, llama.cpp even
against odd ones. The rows of the query and key projections are to be reordered within each head (here of 6)::

    transformers  0 1 2 | 3 4 5   pairs (0, 3) (1, 4) (2, 5)
    llama.cpp     0 3   1 4   2 5
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError
from chatmusician.export.folders import CONFIG, check_model_folder, has_tokenizer, read_json
from chatmusician.export.merging import EMBEDDING, HEAD
from chatmusician.export.reading import DTYPE_BYTES, StoredTensor
from chatmusician.export.shards import BLOCK_NUMBERS

if TYPE_CHECKING:
    from gguf import GGUFWriter

_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_ROTATED = ("self_attn.q_proj", "self_attn.k_proj")

_ROPE_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
"""Ways to scale positions that llama.cpp has too, and what they need."""
_ROPE_DEFAULTS = (("partial_rotary_factor", 1.0), ("truncate", True))
"""Settings that say what llama.cpp does anyway."""


def read_config(model: Path) -> Any:
    """The folder's configuration as a `transformers.LlamaConfig`, which knows the older spellings too.

    Raises:
        UserError: there is no complete model folder, or it is not one of a Llama that can be written.
    """
    check_model_folder(model)
    if not has_tokenizer(model):
        raise UserError(f"model={model} has no tokenizer (tokenizer.json or tokenizer.model): copy the base's into it")
    path = model / CONFIG
    content = read_json(path)
    if content.get("model_type") != "llama":
        raise UserError(f"{path}: model_type={content.get('model_type')}: only Llama models can be written as GGUF")
    if "quantization_config" in content:
        raise UserError(f"{path}: the weights are quantised: export the original, and quantise by gguf=")

    from huggingface_hub.errors import StrictDataclassError
    from transformers import LlamaConfig

    try:
        config = LlamaConfig(**content)
    except StrictDataclassError as error:
        raise UserError(f"{path}: {str(error).splitlines()[-1].strip()}") from error
    if config.hidden_act != "silu":
        raise UserError(f"{path}: hidden_act={config.hidden_act}: llama.cpp computes Llama models with silu only")
    return config


@dataclass(frozen=True, kw_only=True)
class Target:
    """A tensor of the file."""

    name: str
    source: str
    """The tensor's name in the folder."""
    shape: tuple[int, ...]
    kind: str
    head: int
    """Rows of a head, within which rows are reordered; 1 for none."""

    @property
    def row_bytes(self) -> int:
        """Bytes from one row to the next; Q8_0 takes 34 for 32 numbers, see `chatmusician.export.gguf_files`."""
        numbers = prod(self.shape[1:])
        return numbers // 32 * 34 if self.kind == "q8_0" else numbers * (4 if self.kind == "f32" else 2)

    @property
    def bytes(self) -> int:
        """Size in the file, without what aligns the next."""
        return self.shape[0] * self.row_bytes

    def blocks(self) -> Iterator[tuple[int, int]]:
        """The rows of each block, whole heads of about `BLOCK_NUMBERS` numbers."""
        step = max(1, BLOCK_NUMBERS // prod(self.shape[1:]) // self.head) * self.head
        return ((start, min(start + step, self.shape[0])) for start in range(0, self.shape[0], step))


def plan_tensors(stored: Mapping[str, StoredTensor], config: Any, *, kind: str) -> list[Target]:
    """Hold the folder's tensors against those that its configuration asks for.

    Raises:
        UserError: one is missing, too many, of another shape, or quantised.
    """
    targets = []
    for source, (name, shape) in _expected(config).items():
        tensor = stored.get(source)
        if tensor is None:
            if source.endswith(".bias"):
                continue
            raise UserError(f"the model has no tensor {source}, which its {CONFIG} asks for: copy or export it again")
        if tensor.shape != shape:
            raise UserError(
                f"{tensor.file}: {source} has shape {list(tensor.shape)}, but by {CONFIG} it should be {list(shape)}"
            )
        if tensor.dtype not in DTYPE_BYTES:
            raise UserError(f"{tensor.file}: {source} is stored as {tensor.dtype}: export the original, unquantised")
        own = "f32" if len(shape) == 1 else "f16" if kind == "q8_0" and shape[-1] % 32 else kind
        head = config.head_dim if source.rpartition(".")[0].endswith(_ROTATED) else 1
        targets.append(Target(name=name, source=source, shape=shape, kind=own, head=head))
    known = {target.source for target in targets}
    derived = (HEAD,) if config.tie_word_embeddings else ()
    for source in stored:
        if source not in known and source not in derived and not source.endswith("rotary_emb.inv_freq"):
            raise UserError(f"{stored[source].file} holds {source}, which no Llama has: it cannot be written as GGUF")
    return targets


def _expected(config: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """llama.cpp's name and the shape of each tensor a Llama may have, by transformers' name. Biases are optional."""
    width, inner, head = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    shapes: dict[str, tuple[int, ...]] = {
        "input_layernorm": (width,),
        "self_attn.q_proj": (queries, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, queries),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    found: dict[str, tuple[str, tuple[int, ...]]] = {EMBEDDING: ("token_embd.weight", (config.vocab_size, width))}
    for layer in range(config.num_hidden_layers):
        for name, shape in shapes.items():
            source, target = f"model.layers.{layer}.{name}", f"blk.{layer}.{_LAYER_NAMES[name]}"
            found[f"{source}.weight"] = (f"{target}.weight", shape)
            if len(shape) == 2:
                found[f"{source}.bias"] = (f"{target}.bias", shape[:1])
    found["model.norm.weight"] = ("output_norm.weight", (width,))
    if not config.tie_word_embeddings:
        found[HEAD] = ("output.weight", (config.vocab_size, width))
    return found


def add_shape(writer: "GGUFWriter", config: Any) -> None:
    """Add the keys of a Llama's lengths, counts and constants."""
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def add_rope(writer: "GGUFWriter", config: Any) -> list[float]:
    """Add the keys of the rotary embedding; returns what llama.cpp is to divide each frequency by, if anything.

    Raises:
        UserError: positions are scaled in a way that llama.cpp has no keys for.
    """
    from gguf import RopeScalingType

    rope = {key: value for key, value in config.rope_parameters.items() if value is not None}
    rope.pop("type", None)  # the old name of rope_type
    base, kind = rope.pop("rope_theta"), rope.pop("rope_type")
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(base)
    if lacking := [key for key in _ROPE_SETTINGS.get(kind, ()) if key not in rope]:
        raise UserError(f"{CONFIG}: rope_type={kind} needs {' and '.join(lacking)}")
    factors: list[float] = []
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope.pop("factor"))
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope.pop("original_max_position_embeddings"))
        writer.add_rope_scaling_yarn_beta_fast(rope.pop("beta_fast", 32.0))
        writer.add_rope_scaling_yarn_beta_slow(rope.pop("beta_slow", 1.0))
    if kind == "llama3":
        factors = _llama3_factors(
            base=base,
            head=config.head_dim,
            factor=rope.pop("factor"),
            low=rope.pop("low_freq_factor"),
            high=rope.pop("high_freq_factor"),
            original=rope.pop("original_max_position_embeddings"),
        )
    left = {key: value for key, value in rope.items() if (key, value) not in _ROPE_DEFAULTS}
    if kind not in _ROPE_SETTINGS or left:
        shown = " ".join(f"{key}={value}" for key, value in {"rope_type": kind, **left}.items())
        raise UserError(f"{CONFIG}: llama.cpp cannot scale positions by {shown}: only default, linear, llama3 and yarn")
    return factors


def _llama3_factors(*, base: float, head: int, factor: float, low: float, high: float, original: int) -> list[float]:
    """What Llama 3.1 divides each of a head's frequencies by: 1 for short waves, ``factor`` for long ones.

    A wave is short below ``original / high`` positions and long above ``original / low``; those between are blended.
    """
    factors = []
    for i in range(0, head, 2):
        wave = 2 * math.pi * base ** (i / head)
        share = min(max((original / wave - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - share) / factor + share))
    return factors
