"""Building a model for the strategy that trains it: where its weights go, and in which precision the trained ones are.

Under ZeRO-3 each rank keeps a piece of every weight. A model that is loaded first and cut up then would be whole on all
ranks for a while (8 x 13.5 GB of host memory for LLaMA2-7B in bfloat16); transformers cuts while it loads if it finds
DeepSpeed's configuration, which is held out to it here for as long as the loading takes and no longer: adapters are
attached outside, since one that is made in pieces begins with random numbers in B.

Trained weights are float32, the frozen ones what ``model.backbone.dtype`` says: an AdamW step at 1e-4 is lost in the
rounding of bfloat16 (8 bits of precision) for most weights. DeepSpeed does this itself, with float32 copies in its
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
def loading_for(strategy: Any) -> Iterator[None]:
    """Within it, models that transformers builds are in pieces if the strategy is ZeRO-3, else whole."""
    if not is_deepspeed(strategy) or not strategy.zero_stage_3:
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
