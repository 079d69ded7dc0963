"""The model of a run on torch's meta device: every weight with its shape and dtype, and no memory.

The same code as in training attaches what is trained, so that the counts are exact for any option of it. Shapes are
those of ``config.json``; of the two bases of the paper they are known, so that neither has to be downloaded to know
whether its training fits.
"""

from dataclasses import dataclass
from typing import Any

from chatmusician.errors import UserError, first_line
from chatmusician.modeling.flops import MatrixWeights, matrix_weights

LLAMA2_7B: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "dtype": "float16",
}
KNOWN = dict.fromkeys(("meta-llama/Llama-2-7b-hf", "m-a-p/ChatMusician-Base", "m-a-p/ChatMusician"), LLAMA2_7B)
"""Hub ids whose shapes need no download."""
BITS = {"load_in_4bit": 4.127, "load_in_8bit": 8.0}
"""Bits of a weight in a quantised base; 4.127: NF4 with its constants quantised (Dettmers et al. 2023, section 3)."""


@dataclass(frozen=True)
class Vocabulary:
    """What a new model needs to know of its tokenizer."""

    pieces: int
    bos_token_id: int = 0
    eos_token_id: int = 1
    pad_token_id: int = 2

    def __len__(self) -> int:
        return self.pieces


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of a model as it is trained."""

    base: int
    """Parameters of the model itself, without what was added to train it."""
    frozen: int
    frozen_bytes: int
    trained: int
    trained_bytes: int
    states: int
    """Numbers that the optimizer keeps: two for each trained weight under AdamW, one for a matrix under Muon."""
    state_bytes: int
    """In the dtype of their weights."""
    matrices: MatrixWeights


@dataclass(frozen=True, kw_only=True)
class MetaModel:
    """A model without data, and where its shapes are from."""

    model: Any
    weights: Weights
    source: str


def build_on_meta(
    *, backbone: Any, lora: Any, optimizer: Any, vocabulary: int, trained_in_float32: bool = True
) -> MetaModel:
    """The model of a run.

    Args:
        backbone: one of `chatmusician.modeling.backbone`.
        lora: one of `chatmusician.modeling.lora`.
        optimizer: one of `chatmusician.modeling.optimizers`.
        vocabulary: pieces of the tokenizer, for a new model.
        trained_in_float32: as all strategies but DeepSpeed's have the trained weights.

    Raises:
        UserError: the shapes are not to be had, or the adapter does not fit them.
    """
    import torch

    from chatmusician.modeling.partitioning import keep_trained_in_float32

    with torch.device("meta"):
        if backbone.path is None:
            model, source = backbone.build(Vocabulary(vocabulary)), "a new model"
        else:
            model, source = _pretrained(backbone)
        base = sum(parameter.numel() for parameter in model.parameters())
        model = lora.attach(model)
        if trained_in_float32:
            keep_trained_in_float32(model)
    bits = next((bits for name, bits in BITS.items() if getattr(backbone, name, False)), None)
    return MetaModel(model=model, weights=_weigh(model, optimizer, base=base, bits=bits), source=source)


def _pretrained(backbone: Any) -> tuple[Any, str]:
    import torch
    from transformers import AutoModelForCausalLM

    config, source = find_config(backbone.path)
    dtype = backbone.dtype if backbone.dtype != "auto" else config.dtype or torch.float32
    attention = "eager" if backbone.attention == "eager" else "sdpa"  # others need their package, and save no less
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    model.config.use_cache = False
    if backbone.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train(), source


def find_config(path: str) -> tuple[Any, str]:
    """The transformers config of a folder or Hub id, without asking the Hub, and where it is from.

    Raises:
        UserError: it is not on this disk, and not `KNOWN`.
    """
    from transformers import AutoConfig, LlamaConfig

    try:
        return AutoConfig.from_pretrained(path, local_files_only=True), f"config.json of {path}"
    except (OSError, ValueError) as error:
        if path in KNOWN:
            return LlamaConfig(**KNOWN[path]), f"the known shapes of {path}, which is not on this disk"
        raise UserError(
            f"model.backbone.path={path}: no config.json on this disk ({first_line(error)}); make that model first, or "
            f"fetch its shapes with: hf download {path} config.json"
        ) from error


def _weigh(model: Any, optimizer: Any, *, base: int, bits: float | None) -> Weights:
    """Count; ``bits`` are those of a quantised matrix of a layer."""
    frozen = frozen_bytes = trained = trained_bytes = 0
    for name, parameter in model.named_parameters():
        size = parameter.numel()
        if parameter.requires_grad:
            trained += size
            trained_bytes += size * parameter.element_size()
        else:
            quantised = bits is not None and parameter.dim() == 2 and ".layers." in f".{name}"
            frozen += size
            frozen_bytes += int(size * (bits if quantised and bits else 8 * parameter.element_size()) / 8)
    states = state_bytes = 0
    for group in optimizer.build(model.named_parameters()).param_groups:
        copies = 1 if group.get("orthogonal") else 2
        states += sum(copies * parameter.numel() for parameter in group["params"])
        state_bytes += sum(copies * parameter.numel() * parameter.element_size() for parameter in group["params"])
    return Weights(
        base=base,
        frozen=frozen,
        frozen_bytes=frozen_bytes,
        trained=trained,
        trained_bytes=trained_bytes,
        states=states,
        state_bytes=state_bytes,
        matrices=matrix_weights(model),
    )
