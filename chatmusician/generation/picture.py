"""A score that a model folder composed, for its card: proof that the folder works."""

import logging
from pathlib import Path

from chatmusician.errors import UserError
from chatmusician.export.model_card import PICTURE
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.loading import load_generator
from chatmusician.generation.tune_output import tune_of
from chatmusician.music.checks import check_tune
from chatmusician.music.rendering import render

log = logging.getLogger(__name__)

ATTEMPTS = 4
"""Tunes that are composed, of which the one with the fewest wrong bars is shown."""


def compose_picture(model: Path, *, prompt: str, decoding: Decoding) -> str | None:
    """Load a model folder, let it answer ``prompt``, and put the score and its ABC into the folder.

    Returns:
        None if there is a picture now; else why there is none, in one line.
    """
    try:
        generator = load_generator(model=str(model), batch_size=ATTEMPTS)
        answers = generator.generate([prompt] * ATTEMPTS, decoding)
    except UserError as error:
        return str(error)
    tunes = [abc for answer in answers if (abc := tune_of(answer).abc) is not None]
    parsed = [(check.bars - check.bars_right, abc) for abc in tunes if (check := check_tune(abc)).parses]
    if not parsed:
        return f"none of {ATTEMPTS} answers to {prompt!r} has a tune that parses"
    stem = Path(PICTURE).stem
    rendering = render(min(parsed, key=lambda pair: pair[0])[1], model, stem=stem, formats=["png"])
    return None if "png" in rendering.paths else "; ".join(rendering.problems)
