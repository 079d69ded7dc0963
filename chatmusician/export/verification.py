"""Does the merged folder compute what base and adapter compute? Asked of the files, after reloading them.

The two models are loaded one after the other, in float32 on the CPU, so the check needs the memory of one. What is left
after an exact merge is the rounding to the output dtype, once a weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.data.prompts import format_prompt

if TYPE_CHECKING:
    from torch import Tensor

PROBE = (
    format_prompt("Develop a tune in the key of D with two repeated parts.") + "X:1\nL:1/8\nM:4/4\nK:D\n|: d2fd Adfd |"
)
"""A prompt with words and ABC, for comparing models."""


TOLERANCE = 0.05
"""Largest difference, as a share of the largest logit, that rounding the weights to 16 bits can explain."""


@dataclass(frozen=True, kw_only=True)
class LogitAgreement:
    """How far two models agree on one prompt."""

    max_abs_difference: float
    """Largest difference between two logits, over all positions and the whole vocabulary."""
    max_abs_logit: float
    """Largest logit of the reference: the scale for the difference."""
    same_argmax: float
    """Share of positions with the same most likely token, 0 to 1."""
    positions: int
    """Tokens of the prompt."""

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference."""
        return self.max_abs_difference <= TOLERANCE * self.max_abs_logit

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"logits differ by at most {self.max_abs_difference:.3g} (the largest is {self.max_abs_logit:.3g}), "
            f"same most likely token at {self.same_argmax:.1%} of {self.positions} positions"
        )


def compare_logits(*, base: Path, adapter: Path | None, merged: Path, prompt: str = PROBE) -> LogitAgreement:
    """Compare ``base`` with ``adapter`` (unmerged; None for the base alone) to ``merged`` on ``prompt``.

    The prompt is tokenised by ``merged``'s tokenizer, and cut to the model's window if it is longer.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(merged, trust_remote_code=False)
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    return agreement(logits_of(base, adapter, ids), logits_of(merged, None, ids))


def logits_of(model: Path, adapter: Path | None, ids: Sequence[int]) -> "Tensor":
    """Logits ``[T, V]`` of T tokens by a model folder, in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    if adapter is not None:
        loaded = PeftModel.from_pretrained(loaded, str(adapter))
    tokens = torch.tensor([ids[: loaded.config.max_position_embeddings]])
    with torch.inference_mode():
        return loaded.eval()(input_ids=tokens).logits[0].float()


def agreement(reference: "Tensor", other: "Tensor") -> LogitAgreement:
    """Compare logits ``[T, V]``."""
    return LogitAgreement(
        max_abs_difference=float((reference - other).abs().max()),
        max_abs_logit=float(reference.abs().max()),
        same_argmax=float((reference.argmax(-1) == other.argmax(-1)).float().mean()),
        positions=reference.shape[0],
    )
