"""Whether the base that training starts from is there and fits: its folder, its tokenizer, its positions.

Reads names and JSON only; a base on the Hub is looked up in the cache of the Hub's library, without the network.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatmusician.config.problems import Problem
from chatmusician.errors import UserError
from chatmusician.export.folders import CONFIG, check_model_folder, check_tokenizer_folder, is_hub_id, read_json
from chatmusician.training_plan import TrainingPlan

BASE_KEY, TOKENIZER_KEY = "model.backbone.path", "data.tokenizer.path"


def base_problems(plan: TrainingPlan, *, offline: bool) -> Iterator[Problem]:
    """What is wrong with base and tokenizer; what cannot be known without the network is left to the loading."""
    config: dict[str, Any] | None = None
    if plan.base is not None:
        try:
            config = _base_config(plan.base, offline=offline)
        except UserError as error:
            yield _problem(error, BASE_KEY)
    if plan.tokenizer is not None and plan.tokenizer != plan.base and not is_hub_id(plan.tokenizer):
        yield from _tokenizer_problems(plan.tokenizer, TOKENIZER_KEY)
    elif plan.tokenizer is not None and plan.tokenizer == plan.base and config is not None and not is_hub_id(plan.base):
        yield from _tokenizer_problems(plan.tokenizer, BASE_KEY)
    positions = plan.max_length if config is None else config.get("max_position_embeddings")
    if positions is not None and plan.seq_len > int(positions):
        remedy = f"give data.seq_len={positions}" if plan.base else f"give model.backbone.max_length={plan.seq_len}"
        yield Problem(
            path=f"data.seq_len={plan.seq_len}",
            message=f"the model reads {positions} tokens at most: {remedy}",
        )
    if config is not None and "quantization_config" in config:
        yield Problem(
            path=f"{BASE_KEY}={plan.base}",
            message="is stored quantised, and adapters are merged into whole weights: give the original, with "
            "model.backbone.load_in_4bit=true to train on it in 4 bits",
        )


def _base_config(base: str, *, offline: bool) -> dict[str, Any] | None:
    """config.json of the base; None where it is on the Hub and not here yet.

    Raises:
        UserError: the folder is no model, or the Hub is out of reach and the cache has it not.
    """
    if not is_hub_id(base):
        check_model_folder(Path(base), option=BASE_KEY)
        return read_json(Path(base) / CONFIG)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(base, CONFIG)
    if isinstance(cached, str):
        return read_json(Path(cached))
    if offline:
        raise UserError(
            f"{BASE_KEY}={base} is not in the cache, and HF_HUB_OFFLINE=1 forbids to fetch it: run "
            f"`hf download {base}` where there is a network, or give a model folder"
        )
    return None


def _tokenizer_problems(folder: str, option: str) -> Iterator[Problem]:
    try:
        check_tokenizer_folder(Path(folder), option=option)
    except UserError as error:
        yield _problem(error, option)


def _problem(error: UserError, option: str) -> Problem:
    """An error that begins with the option, as ``option=value ...``, or that names a file."""
    text = str(error)
    value, _, rest = text.partition(" ")
    if value.startswith(f"{option}="):
        return Problem(path=value, message=rest)
    return Problem(path=option, message=text)
