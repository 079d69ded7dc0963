"""What a folder was prepared with, against what is asked for."""

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from chatmusician.data.tokenizers import describe

_MOST_NAMED = 4
"""Settings that are named where a folder was prepared with others."""


def settings_as_kept(asked: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """The settings as a manifest has them: with what a trained tokenizer turned out to be, as JSON gives it."""
    kept: dict[str, Any] = json.loads(json.dumps({**asked, "tokenizer": {**describe(tokenizer), **asked["tokenizer"]}}))
    return kept


def differing_settings(found: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """What differs between the settings of a prepared folder and those asked for, a setting with both values each."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from differing_settings(found.get(key), wanted.get(key), f"{path}.{key}" if path else key)
    elif isinstance(found, list) and isinstance(wanted, list) and any(isinstance(one, dict) for one in found):
        for index, (one, other) in enumerate(zip_longest(found, wanted)):  # files, of which there may be hundreds
            yield from differing_settings(one, other, f"{path}[{index}]")
    elif found != wanted:
        yield f"{path} is {found!r} there and {wanted!r} here"


def in_words(differences: Sequence[str]) -> str:
    """Some differences, and how many more there are."""
    more = len(differences) - _MOST_NAMED
    return "; ".join(differences[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
