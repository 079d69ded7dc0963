"""What is trained of a model: all weights, some of them, or a low-rank adapter beside frozen ones.

LoRA (Hu et al. 2021, arXiv 2106.09685) through PEFT: W x + (alpha / r) B A x, with A and B trained and W frozen. Of it,
rsLoRA (Kalajdzievski 2023, arXiv 2312.03732) scales by alpha / sqrt(r), and DoRA (Liu et al. 2024, arXiv 2402.09353)
trains the norms of the rows of W apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatmusician.errors import UserError

if TYPE_CHECKING:
    from peft import PeftModel

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven projections of a Llama layer, which the paper adapts."""
EMBEDDING_AND_HEAD = {"embed_tokens", "lm_head"}


@dataclass(frozen=True, kw_only=True)
class AllWeights:
    """No adapter: every weight of the model is trained."""

    def attach(self, model: Any) -> Any:
        """The model itself."""
        return model


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """Some weights are trained as they are, the others are frozen: those whose names contain one of ``modules``.

    ``layers.31.`` is the last layer of LLaMA2-7B, ``embed_tokens`` the embedding, ``norm`` every norm. The original's
    ``freeze``.
    """

    modules: Sequence[str]

    def __post_init__(self) -> None:
        if not self.modules:
            raise UserError("lora.modules=[]: name what is trained, such as layers.31.; or give lora=none for all")

    def attach(self, model: Any) -> Any:
        """The model itself, with what is not named frozen.

        Raises:
            UserError: a name is in no weight's.
        """
        names = [name for name, _ in model.named_parameters()]
        for module in self.modules:
            if not any(module in name for name in names):
                tied = ", since the head is the embedding here" if module == "lm_head" else ""
                raise UserError(f"lora.modules: no weight has {module!r} in its name{tied}; they are like {names[-2]}")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(module in name for module in self.modules))
        return model


@dataclass(frozen=True, kw_only=True)
class Lora:
    """An adapter. ``modules_to_save`` are trained whole beside it, such as ``embed_tokens`` and ``lm_head``.

    Where these two are one matrix, it is trained as one.
    """

    r: int
    alpha: float
    dropout: float = 0.0
    target_modules: Sequence[str] = field(default=ALL_LINEAR)
    modules_to_save: Sequence[str] = ()
    use_rslora: bool = False
    use_dora: bool = False

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

        whole = self._whole_modules(model)
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
                    modules_to_save=whole or None,
                    ensure_weight_tying=bool(whole) and _is_tied(model),
                    use_rslora=self.use_rslora,
                    use_dora=self.use_dora,
                ),
            )
        except ValueError as error:
            raise UserError(f"the adapter does not fit the model: {str(error).splitlines()[0]}") from error
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name and parameter.numel() and not parameter.is_meta:
                assert not parameter.any(), f"{name} is not zero: the model was built under a partitioning context"
        return adapted

    def _whole_modules(self, model: Any) -> list[str]:
        """``modules_to_save``, of a tied embedding and head the embedding alone, which PEFT ties the head to."""
        modules = list(self.modules_to_save)
        if _is_tied(model) and EMBEDDING_AND_HEAD & set(modules):
            return ["embed_tokens", *(module for module in modules if module not in EMBEDDING_AND_HEAD)]
        return modules


def _is_tied(model: Any) -> bool:
    return bool(model.config.tie_word_embeddings)
