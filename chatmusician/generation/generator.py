"""A model and its tokenizer, ready to answer.

    prompts -> token ids (prompting) -> tokens drawn by a backend (backends, loop) -> text (text_stream) -> `Answer`

`Generator` holds live objects, so that training callbacks can use it on the model in memory;
`chatmusician.generation.loading.load_generator` makes one from files. Figures against transformers' ``generate`` are in
experiments/README.md.
"""

import collections.abc
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import Backend, Drawn, Row, decode_rows
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.prompting import Prompt, encode_prompt
from chatmusician.generation.text_stream import TextStream, answer_text


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said."""

    text: str
    """Without the template's marks and special tokens."""
    tokens: int
    """Number of tokens drawn, the end of the answer included."""
    finished: bool
    """The model ended its answer; if not, `cut` says what did."""
    cut: str | None
    """Why an unfinished answer stops where it does, with the limit in tokens; None for a finished one."""
    gave_way: int
    """Tokens for which the constraint left no choice and so allowed any; the tune may be wrong there."""
    seconds: float
    """From the answer's first token being computed, prompt included, to its last."""


Pieces = collections.abc.Generator[str, None, Answer]
"""An answer in pieces of text; returns the whole."""

SHOWN = 40
"""Characters of a prompt that an error message quotes."""


class Generator:
    """Answers prompts with a causal language model.

    Args:
        backend: what computes the tokens.
        batch_size: most answers that are generated at once. Memory grows with it, answers do not change.

    Raises:
        UserError: the batch size is out of range.
    """

    def __init__(self, *, backend: Backend, batch_size: int = 16) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} is out of range: it must be 1 or more")
        self.backend, self.batch_size = backend, batch_size
        self.tokenizer, self.window, self.adapters = backend.tokenizer, backend.window, backend.adapters

    @property
    def model(self) -> Any:
        """The model as an object of transformers, for what reads its logits.

        Raises:
            UserError: another backend computes the tokens.
        """
        model = getattr(self.backend, "model", None)
        if model is None:
            raise UserError("the logits of whole texts are needed here: use backend=transformers")
        return model

    def generate(
        self,
        prompts: Sequence[str | Prompt],
        decoding: Decoding,
        *,
        numbers: Sequence[int] | None = None,
        adapter: str | None = None,
    ) -> list[Answer]:
        """Answer ``prompts``, in their order; see `answers`."""
        found = dict(self.answers(prompts, decoding, numbers=numbers, adapter=adapter))
        return [found[i] for i in range(len(prompts))]

    def answers(
        self,
        prompts: Sequence[str | Prompt],
        decoding: Decoding,
        *,
        numbers: Sequence[int] | None = None,
        adapter: str | None = None,
        seconds: float | None = None,
    ) -> Iterator[tuple[int, Answer]]:
        """Answer ``prompts`` and yield (position in ``prompts``, answer) as answers are completed.

        Args:
            prompts: questions, or `Prompt`s for history or for text without the template.
            decoding: how tokens are chosen.
            numbers: the number of each prompt in its stream of random numbers; by default its position. Prompt 7 of a
                file keeps its answer when it is generated alone with number 7.
            adapter: see `chatmusician.generation.backends.backend.Backend.open`.
            seconds: time for all of them; answers that are being written then are cut, others are left out.

        Raises:
            UserError: a prompt leaves no room in the context window, the adapter is not loaded, or the model's logits
                are not finite.
        """
        deadline = math.inf if seconds is None else time.perf_counter() + seconds
        jobs = [_as_prompt(prompt) for prompt in prompts]
        rows = [
            self.row(job, decoding, number=number)
            for number, job in zip(numbers or range(len(jobs)), jobs, strict=True)
        ]
        position = {id(row): i for i, row in enumerate(rows)}
        drawn_ids: list[list[int]] = [[] for _ in rows]
        unfinished: dict[int, Drawn] = {}
        for drawn in self._tokens(rows, adapter=adapter):
            i = position[id(drawn.row)]
            drawn_ids[i].append(drawn.token)
            unfinished[i] = drawn
            if drawn.last:
                del unfinished[i]
                yield i, self._whole(jobs[i], drawn, drawn_ids[i])
            if time.perf_counter() > deadline:
                break
        for i, drawn in unfinished.items():
            cut = f"cut after {len(drawn_ids[i])} tokens by the time allowed, {seconds:g} s"
            yield i, replace(self._whole(jobs[i], drawn, drawn_ids[i]), cut=cut)

    def stream(self, prompt: str | Prompt, decoding: Decoding, *, adapter: str | None = None) -> Pieces:
        """The answer to one prompt in pieces of text, as they are drawn.

        The pieces, joined, are the text of ``generate([prompt], decoding)``; the whole `Answer` is the value that the
        generator returns (``answer = yield from generator.stream(...)``).

        Raises:
            UserError: as `answers`.
        """
        job = _as_prompt(prompt)
        row = self.row(job, decoding)
        return (yield from self.pieces(job, row, self._tokens([row], adapter=adapter)))

    def row(self, prompt: Prompt, decoding: Decoding, *, number: int = 0) -> Row:
        """What a backend is asked for.

        Raises:
            UserError: the prompt is empty, or leaves no room in the context window.
        """
        ids = self.prompt_ids(prompt)
        limit = min(decoding.max_new_tokens, self._room(prompt, ids))
        return Row(number=number, prompt_ids=ids, limit=limit, decoding=decoding, template=prompt.template)

    def pieces(self, prompt: Prompt, row: Row, tokens: Iterable[Drawn]) -> Pieces:
        """The text of a row's ``tokens`` as they come; see `stream`."""
        text = TextStream(self.tokenizer, row.prompt_ids, template=prompt.template)
        pieces: list[str] = []
        count = 0
        for drawn in tokens:
            count += 1
            piece = "" if drawn.ended else text.push(drawn.token)
            if drawn.last:
                piece += text.finish(ended=drawn.ended)
            if piece:
                pieces.append(piece)
                yield piece
        return self._answer("".join(pieces), drawn, tokens=count)

    def check(self, prompt: str | Prompt) -> None:
        """Refuse a prompt that cannot be answered.

        Raises:
            UserError: it is empty, or leaves no room in the context window.
        """
        self._room(_as_prompt(prompt), self.prompt_ids(prompt))

    def prompt_ids(self, prompt: str | Prompt) -> tuple[int, ...]:
        """The token ids that the answer to ``prompt`` continues."""
        return encode_prompt(self.tokenizer, _as_prompt(prompt))

    def _whole(self, prompt: Prompt, last: Drawn, ids: Sequence[int]) -> Answer:
        """The answer of the tokens ``ids``, of which ``last`` is the newest."""
        text = answer_text(
            self.tokenizer,
            last.row.prompt_ids,
            ids[:-1] if last.ended else ids,
            ended=last.ended,
            template=prompt.template,
        )
        return self._answer(text, last, tokens=len(ids))

    def _tokens(self, rows: Sequence[Row], *, adapter: str | None) -> Iterator[Drawn]:
        slots = min(self.batch_size, len(rows))
        longest = max((len(row.prompt_ids) + row.limit for row in rows), default=None)
        with self.backend.open(slots=slots, longest=longest, adapter=adapter) as batch:
            for step in decode_rows(batch, rows, slots=slots):
                yield from step

    def _room(self, prompt: Prompt, ids: Sequence[int]) -> int:
        """Tokens of the window that ``prompt`` leaves for its answer."""
        if not ids:
            raise UserError(f"prompt {prompt.text!r} is empty: there is nothing to continue")
        room = self.window - len(ids)
        if room < 1:
            start = prompt.text if len(prompt.text) <= SHOWN else prompt.text[:SHOWN] + "..."
            raise UserError(
                f"prompt {start!r} has {len(ids)} tokens, but the model's window of {self.window} tokens must hold the "
                "answer too: shorten the prompt"
            )
        return room

    def _answer(self, text: str, last: Drawn, *, tokens: int) -> Answer:
        cut = None
        if not last.ended:
            most = last.row.decoding.max_new_tokens
            limit = f"max_new_tokens={most}" if tokens == most else f"the model's window of {self.window} tokens"
            cut = f"cut after {tokens} tokens by {limit}"
        return Answer(
            text=text, tokens=tokens, finished=last.ended, cut=cut, gave_way=last.gave_way, seconds=last.seconds
        )


def _as_prompt(prompt: str | Prompt) -> Prompt:
    return Prompt(text=prompt) if isinstance(prompt, str) else prompt
