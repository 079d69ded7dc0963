"""Building a model for the strategy that trains it: where its weights go, and in which precision the trained ones are.

Under ZeRO-3 each rank keeps a piece of every weight. A model that is loaded first and cut up then would be whole on all
ranks for a while (8 x 13.5 GB of host memory for LLaMA2-7B in bfloat16); transformers cuts while it loads (rank 0 reads
the files and hands out their pieces) if it finds DeepSpeed's configuration, which is held out to it here for as long as
the loading takes and no longer: adapters are attached outside, since one that is made in pieces begins with random
numbers in B. A new model is made whole all the same: in pieces its random numbers would be others than those of every
other strategy.

Trained weights are float32, the frozen ones what ``model.backbone.dtype`` says: above 0.03 the numbers of bfloat16 are
2.4e-4 apart, and an AdamW step of 1e-4 is lost in the rounding. DeepSpeed does this itself, with float32 copies in its
optimizer, and casts the model to the precision of the trainer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from chatmusician.modeling.optimizers import trained_parameters


def is_deepspeed(strategy: Any) -> bool:
    """Whether DeepSpeed trains the model."""
    return hasattr(type(strategy), "zero_stage_3")


@contextmanager
def loading_for(strategy: Any, *, stored: bool) -> Iterator[None]:
    """Within it, a model that is ``stored`` is loaded in pieces if the strategy is ZeRO-3; any other is whole."""
    if not stored or not is_deepspeed(strategy) or not strategy.zero_stage_3:
        yield
        return
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    strategy._init_config_if_needed()  # what Lightning does before its own sharded context: precision and batch sizes
    held = HfDeepSpeedConfig(strategy.config)  # transformers has a weak reference only
    try:
        yield
    finally:
        unset_hf_deepspeed_config()
        del held


def keep_trained_in_float32(model: torch.nn.Module) -> None:
    """Make the trained weights of a whole model float32, in place; frozen ones stay as they are."""
    for _, parameter in trained_parameters(model):
        if parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()


def product_dtype(precision: str) -> torch.dtype:
    """What matrices are multiplied in under one of Lightning's precisions, such as ``bf16-mixed``."""
    kinds = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64, "transformer": torch.bfloat16}
    return kinds.get(precision.partition("-")[0], torch.float32)
