"""Where the weights come from: a new Llama of a given size, or a pretrained folder or Hub id."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError, first_line
from chatmusician.modeling.attention import ATTENTIONS

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class NewLlama:
    """A Llama with random weights, for pretraining from nothing.

    ``max_length`` is the longest sequence, in tokens, that the exported model says it can read.
    """

    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    max_length: int
    key_value_heads: int | None = None
    tied_embeddings: bool = True
    attention: str = "sdpa"

    path: None = None

    def __post_init__(self) -> None:
        _check_choice("attention", self.attention, ATTENTIONS)

    def build(self, tokenizer: Any, *, device: Any = "cpu") -> "LlamaForCausalLM":  # noqa: ARG002 -- a Backbone's
        """The model, with a vocabulary as large as the tokenizer's, in training mode."""
        from transformers import AutoModelForCausalLM, LlamaConfig

        if self.hidden_size % self.heads:
            raise UserError(f"model.backbone.hidden_size={self.hidden_size} is not a multiple of heads={self.heads}")
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_value_heads or self.heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=self.max_length,
            tie_word_embeddings=self.tied_embeddings,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        return AutoModelForCausalLM.from_config(config, attn_implementation=self.attention).train()


@dataclass(frozen=True, kw_only=True)
class PretrainedLlama:
    """The weights of a model folder or Hub id.

    ``dtype`` is that of the weights in memory: auto (as stored), float32, bfloat16 or float16; trained ones become
    float32 all the same, see `chatmusician.modeling.partitioning`. ``attention`` is one of
    `chatmusician.modeling.attention.ATTENTIONS`. ``liger`` takes the norms, the rotation of positions and the gated
    product of each layer from Liger's Triton kernels. ``load_in_4bit`` and ``load_in_8bit`` quantise the linear layers,
    to train an adapter beside them.
    """

    path: str
    dtype: str = "auto"
    attention: str = "sdpa"
    gradient_checkpointing: bool = False
    liger: bool = False
    load_in_4bit: bool = False
    load_in_8bit: bool = False

    def __post_init__(self) -> None:
        _check_choice("attention", self.attention, ATTENTIONS)
        _check_choice("dtype", self.dtype, DTYPES)

    def build(self, tokenizer: Any, *, device: Any = "cpu") -> "LlamaForCausalLM":
        """The model in training mode (Transformers gives it in evaluation mode, where dropout does nothing).

        Args:
            tokenizer: of the data.
            device: where quantised weights are made; others are loaded into the host's memory.

        Raises:
            UserError: there is no such model, or its vocabulary is smaller than the tokenizer's.
        """
        if self.liger:
            _use_liger()
        model = self._load(device)
        if len(tokenizer) > model.config.vocab_size:
            raise UserError(
                f"the tokenizer has {len(tokenizer)} pieces and {self.path!r} only {model.config.vocab_size} "
                "embeddings; use the model's own tokenizer"
            )
        model.config.use_cache = False
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return model.train()

    def _load(self, device: Any) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        from chatmusician.modeling.quantisation import loading_options

        quantised = loading_options(
            load_in_4bit=self.load_in_4bit,
            load_in_8bit=self.load_in_8bit,
            compute_dtype=torch.float32 if self.dtype == "auto" else getattr(torch, self.dtype),
            device=device,
        )
        try:
            return AutoModelForCausalLM.from_pretrained(
                self.path, dtype=self.dtype, attn_implementation=self.attention, use_safetensors=True, **quantised
            )
        except (OSError, ValueError, ImportError) as error:
            raise UserError(
                f"model.backbone.path={self.path!r} cannot be loaded ({first_line(error)}); give a model folder or a "
                "Hub id"
            ) from error


def _use_liger() -> None:
    """Put Liger's kernels in the place of transformers' for the Llamas that are built from now on.

    Its losses stay out: `chatmusician.modeling.loss` computes logits of trained positions alone.
    """
    from liger_kernel.transformers import apply_liger_kernel_to_llama

    apply_liger_kernel_to_llama(
        rope=True, rms_norm=True, swiglu=True, cross_entropy=False, fused_linear_cross_entropy=False
    )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"model.backbone.{name}={value!r} is unknown: use one of {', '.join(choices)}")
