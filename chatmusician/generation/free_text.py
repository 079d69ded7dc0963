"""Free text on a Hydra command line.

Hydra reads ``prompt=Compose a reel, in D`` by the grammar of its overrides, where a comma makes a sweep and brackets
a list. A question or a path is neither: these helpers quote it first, so that what was typed is what arrives.
"""

import re
from collections.abc import Sequence

TEXT_OPTIONS = (
    *("prompt", "prompts", "output", "model", "adapter", "tokenizer"),
    *("base", "checkpoint", "compose", "figures", "upload"),
)
"""Options whose value is one text, whatever is in it."""


def quote_overrides(arguments: Sequence[str], *, options: Sequence[str] = TEXT_OPTIONS) -> list[str]:
    """Command-line arguments with the values of ``options`` quoted.

    ``null``, an empty value and a value that is already in quotes are left as they are.

    >>> quote_overrides(["prompt=A reel, in D", "seed=3"])
    ["prompt='A reel, in D'", 'seed=3']
    """
    return [_quote(argument, options) for argument in arguments]


def _quote(argument: str, options: Sequence[str]) -> str:
    name, equals, value = argument.partition("=")
    if not equals or name not in options or value in ("", "null") or _is_quoted(value):
        return argument
    if value == "???":
        value += " "  # exactly three question marks mean "missing" to OmegaConf
    # Inside quotes, Hydra takes back-slashes literally but for those in front of a quote, and at the end.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"{name}='{_escape_interpolation(escaped)}'"


def _is_quoted(value: str) -> bool:
    """Whether all of ``value`` is one quoted string of Hydra's grammar."""
    return any(re.fullmatch(rf"{quote}(\\.|[^{quote}\\])*{quote}", value, re.DOTALL) for quote in ("'", '"'))


def _escape_interpolation(text: str) -> str:
    """OmegaConf resolves ``${...}`` in any string; a back-slash before it prevents that."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
