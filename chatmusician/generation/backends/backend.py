"""The interface between what asks for answers and what computes their tokens.

    `Generator`, `Service` --rows--> `Batch` of a `Backend` --`Drawn` tokens--> text

Rows join a batch and leave it at any time, so that no computation waits for the longest answer. Two of the backends
compute logits and draw by the same code (`chatmusician.generation.loop`); vLLM draws by itself.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from chatmusician.errors import UserError
from chatmusician.generation.decoding import Decoding

BASE = "base"
"""The name by which the model without any adapter is asked for."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One answer to generate."""

    number: int
    """Picks the row's stream of random numbers, with the seed."""
    prompt_ids: tuple[int, ...]
    limit: int
    """Most new tokens, the end of the answer included."""
    decoding: Decoding
    """How its tokens are chosen."""
    template: bool = True
    """Whether the prompt ends the template's question, so that the answer begins a text."""


@dataclass(frozen=True)
class Drawn:
    """One new token of one row."""

    row: Row
    token: int
    ended: bool
    """The token is the end of the answer."""
    last: bool
    """The row has left the batch: it ended, or this was token number ``row.limit``."""
    seconds: float
    """Since the row joined."""
    gave_way: int = 0
    """Tokens of the row, so far, for which its constraint left no choice and so allowed any."""


class Batch(Protocol):
    """Rows that are computed together."""

    def __len__(self) -> int:
        """How many rows are live."""

    def join(self, rows: Sequence[Row]) -> list[Drawn]:
        """Take rows in, where there are free slots; their first tokens, if the prompts are computed at once.

        Raises:
            UserError: the logits are not finite.
        """

    def step(self) -> list[Drawn]:
        """The next tokens of the live rows, in order. Rows whose last it is leave.

        Raises:
            UserError: the logits are not finite.
        """

    def drop(self, row: Row) -> None:
        """Take a live row out that nobody waits for any more."""


class Backend(Protocol):
    """A model that is ready to compute, and its tokenizer."""

    tokenizer: Any
    """A tokenizer of transformers."""
    window: int
    """Context window: most tokens of prompt and answer together."""
    eos_ids: tuple[int, ...]
    """The tokens that end an answer."""
    adapters: tuple[str, ...]
    """Names of the LoRA adapters that are loaded."""

    def open(
        self, *, slots: int, longest: int | None = None, adapter: str | None = None
    ) -> AbstractContextManager[Batch]:
        """An empty batch. One is open at a time.

        Args:
            slots: most rows that are live at once.
            longest: most tokens of a row, prompt and answer together; by default the window. Where memory is taken for
                all rows ahead, it is taken for so many.
            adapter: the name of a loaded adapter, or `BASE`; None for the model as it was loaded.

        Raises:
            UserError: there is no such adapter.
        """


def decode_rows(batch: Batch, rows: Sequence[Row], *, slots: int) -> Iterator[list[Drawn]]:
    """Generate the answers of ``rows``, which start in this order; each step yields the tokens drawn in it.

    Args:
        batch: an empty batch of ``slots`` slots.
        rows: what to generate.
        slots: most rows that are live at once.

    Raises:
        UserError: the logits are not finite.
    """
    waiting = deque(rows)
    while waiting or len(batch):
        if joining := [waiting.popleft() for _ in range(min(slots - len(batch), len(waiting)))]:
            yield batch.join(joining)
        if len(batch):
            yield batch.step()


def check_adapter(name: str | None, adapters: Sequence[str]) -> None:
    """Refuse the name of an adapter that is not loaded.

    Raises:
        UserError: see above.
    """
    if name is not None and name not in (BASE, *adapters):
        raise UserError(f"adapter={name!r} is not loaded: choose one of {', '.join((BASE, *adapters))}")


def find_eos_ids(tokenizer: Any, settings: Any) -> tuple[int, ...]:
    """The tokens that end an answer, by the tokenizer and by the model's generation settings (a GenerationConfig).

    Raises:
        UserError: neither names one.
    """
    configured = settings.eos_token_id
    ids = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])} - {None}
    if not ids:
        raise UserError("neither the tokenizer nor generation_config.json names an end-of-sequence token")
    return tuple(sorted(ids))
