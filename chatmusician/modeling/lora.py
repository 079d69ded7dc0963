"""What is trained of a model: all weights, or a low-rank adapter beside frozen ones.

LoRA (Hu et al. 2021, arXiv 2106.09685) through PEFT: W x + (alpha / r) B A x, with A and B trained and W frozen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError

if TYPE_CHECKING:
    from peft import PeftModel

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven projections of a Llama layer, which the paper adapts."""


@dataclass(frozen=True, kw_only=True)
class AllWeights:
    """No adapter: every weight of the model is trained."""

    def attach(self, model: Any) -> Any:
        """The model itself."""
        return model


@dataclass(frozen=True, kw_only=True)
class Lora:
    """An adapter. ``modules_to_save`` are trained whole beside it, such as ``embed_tokens`` and ``lm_head``."""

    r: int
    alpha: float
    dropout: float = 0.0
    target_modules: Sequence[str] = field(default=ALL_LINEAR)
    modules_to_save: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.r < 1:
            raise UserError(f"lora.r={self.r}: the rank is at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"lora.dropout={self.dropout}: use a probability below 1")

    def attach(self, model: Any) -> "PeftModel":
        """Freeze the model and add the adapter; B starts at zero, so the first outputs are the base model's.

        Raises:
            UserError: a target is not in the model.
        """
        from peft import LoraConfig, get_peft_model

        try:
            adapted = get_peft_model(
                model,
                LoraConfig(
                    task_type="CAUSAL_LM",
                    r=self.r,
                    lora_alpha=self.alpha,  # type: ignore[arg-type] # PEFT accepts a float, and says int
                    lora_dropout=self.dropout,
                    bias="none",
                    target_modules=list(self.target_modules),
                    modules_to_save=list(self.modules_to_save) or None,
                ),
            )
        except ValueError as error:
            raise UserError(f"the adapter does not fit the model: {str(error).splitlines()[0]}") from error
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name and parameter.numel() and not parameter.is_meta:
                assert not parameter.any(), f"{name} is not zero: the model was built under a partitioning context"
        return adapted
