"""Where the weights come from: a new Llama of a given size, or a pretrained folder or Hub id."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


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

    def build(self, tokenizer: Any) -> "LlamaForCausalLM":
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

    ``dtype`` is that of the weights in memory: auto (as stored), float32, bfloat16 or float16. ``attention`` is the
    implementation that Transformers uses: sdpa, eager, flash_attention_2, ...
    """

    path: str
    dtype: str = "auto"
    attention: str = "sdpa"
    gradient_checkpointing: bool = False

    def build(self, tokenizer: Any) -> "LlamaForCausalLM":
        """The model in training mode (Transformers gives it in evaluation mode, where dropout does nothing).

        Raises:
            UserError: there is no such model, or its vocabulary is smaller than the tokenizer's.
        """
        from transformers import AutoModelForCausalLM

        try:
            model = AutoModelForCausalLM.from_pretrained(
                self.path, dtype=self.dtype, attn_implementation=self.attention, use_safetensors=True
            )
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"model.backbone.path={self.path!r} cannot be loaded ({reason}); give a model folder or a Hub id"
            ) from error
        if len(tokenizer) > model.config.vocab_size:
            raise UserError(
                f"the tokenizer has {len(tokenizer)} pieces and {self.path!r} only {model.config.vocab_size} "
                "embeddings; use the model's own tokenizer"
            )
        model.config.use_cache = False
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return model.train()
