"""A model and its tokenizer, ready to answer.

    prompts -> token ids (prompting) -> steps of the sampling loop (loop) -> text (text_stream) -> `Answer`

`Generator` holds live objects, so that training callbacks can use it on the model in memory; `load_generator` makes one
from files. Against transformers' ``generate`` (2M parameters, 256 tokens, one thread of a busy CPU, medians of five
alternating runs) the loop gave 1.95 to 2.0 times the tokens a second for one prompt and 1.5 to 1.65 times for 16.
"""

import collections.abc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chatmusician.errors import UserError
from chatmusician.generation.constraint.choices import Choices
from chatmusician.generation.constraint.followers import Masks
from chatmusician.generation.constraint.vocabulary import make_vocabulary, token_texts
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.loop import Drawn, Row, decode_rows
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
        model: a causal language model of transformers or a PEFT model around one, with full attention.
        tokenizer: its tokenizer.
        batch_size: most answers that are generated at once. Memory grows with it, answers do not change.

    Raises:
        UserError: the model uses sliding-window attention, or embeds fewer tokens than the tokenizer has.
    """

    def __init__(self, *, model: Any, tokenizer: Any, batch_size: int = 16) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} is out of range: it must be 1 or more")
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        self.window: int = model.config.max_position_embeddings
        """Context window: most tokens of prompt and answer together."""
        if set(getattr(model.config, "layer_types", None) or ()) - {"full_attention"}:
            raise UserError(
                f"{model.config.model_type} mixes attention types per layer: only full attention can be generated with"
            )
        sliding = getattr(model.config, "sliding_window", None)
        if sliding and sliding < self.window:
            raise UserError(
                f"sliding_window={sliding} in config.json is not supported: only full attention can be generated with"
            )
        rows = model.get_input_embeddings().weight.shape[0]
        if len(tokenizer) > rows:
            raise UserError(
                f"the tokenizer has {len(tokenizer)} tokens but the model embeds {rows}: they do not belong together"
            )
        self.eos_ids = _eos_ids(model, tokenizer)
        self._masks: dict[str, Masks] = {}

    def generate(
        self, prompts: Sequence[str | Prompt], decoding: Decoding, *, numbers: Sequence[int] | None = None
    ) -> list[Answer]:
        """Answer ``prompts``, in their order; see `answers`."""
        found = dict(self.answers(prompts, decoding, numbers=numbers))
        return [found[i] for i in range(len(prompts))]

    def answers(
        self, prompts: Sequence[str | Prompt], decoding: Decoding, *, numbers: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Answer]]:
        """Answer ``prompts`` and yield (position in ``prompts``, answer) as answers are completed.

        Args:
            prompts: questions, or `Prompt`s for history or for text without the template. decoding: how tokens are
            chosen. numbers: the number of each prompt in its stream of random numbers; by default its position.
            Prompt 7 of a file
                keeps its answer when it is generated alone with number 7.

        Raises:
            UserError: a prompt leaves no room in the context window, or the model's logits are not finite.
        """
        jobs = [_as_prompt(prompt) for prompt in prompts]
        rows = [self._row(number, job, decoding) for number, job in zip(numbers or range(len(jobs)), jobs, strict=True)]
        position = {id(row): i for i, row in enumerate(rows)}
        drawn_ids: list[list[int]] = [[] for _ in rows]
        started: dict[int, float] = {}
        before = time.perf_counter()
        with evaluating(self.model):
            for step in self._decode(rows, decoding):
                now = time.perf_counter()
                for drawn in step:
                    i = position[id(drawn.row)]
                    started.setdefault(i, before)
                    drawn_ids[i].append(drawn.token)
                    if drawn.last:
                        text = answer_text(
                            self.tokenizer,
                            drawn.row.prompt_ids,
                            drawn_ids[i][:-1] if drawn.ended else drawn_ids[i],
                            ended=drawn.ended,
                            template=jobs[i].template,
                        )
                        yield i, self._answer(text, drawn_ids[i], drawn, decoding, now - started[i])
                before = time.perf_counter()

    def stream(self, prompt: str | Prompt, decoding: Decoding) -> Pieces:
        """The answer to one prompt in pieces of text, as they are drawn.

        The pieces, joined, are the text of ``generate([prompt], decoding)``; the whole `Answer` is the value that the
        generator returns (``answer = yield from generator.stream(...)``).

        Raises:
            UserError: as `answers`.
        """
        job = _as_prompt(prompt)
        row = self._row(0, job, decoding)
        text = TextStream(self.tokenizer, row.prompt_ids, template=job.template)
        pieces: list[str] = []
        ids: list[int] = []
        before = time.perf_counter()
        with evaluating(self.model):
            for (drawn,) in self._decode([row], decoding):
                ids.append(drawn.token)
                piece = "" if drawn.ended else text.push(drawn.token)
                if drawn.last:
                    piece += text.finish(ended=drawn.ended)
                if piece:
                    pieces.append(piece)
                    yield piece
        return self._answer("".join(pieces), ids, drawn, decoding, time.perf_counter() - before)

    def check(self, prompt: str | Prompt) -> None:
        """Refuse a prompt that cannot be answered.

        Raises:
            UserError: it is empty, or leaves no room in the context window.
        """
        self._room(_as_prompt(prompt), self.prompt_ids(prompt))

    def prompt_ids(self, prompt: str | Prompt) -> tuple[int, ...]:
        """The token ids that the answer to ``prompt`` continues."""
        return encode_prompt(self.tokenizer, _as_prompt(prompt))

    def _row(self, number: int, prompt: Prompt, decoding: Decoding) -> Row:
        ids = self.prompt_ids(prompt)
        limit = min(decoding.max_new_tokens, self._room(prompt, ids))
        masks = self._masks_of(decoding)
        follower = masks.follower(ids, template=prompt.template) if masks is not None else None
        return Row(number=number, prompt_ids=ids, limit=limit, follower=follower)

    def _decode(self, rows: Sequence[Row], decoding: Decoding) -> Iterator[list[Drawn]]:
        return decode_rows(
            self.model,
            rows,
            decoding,
            eos_ids=self.eos_ids,
            batch_size=self.batch_size,
            masks=self._masks_of(decoding),
        )

    def _masks_of(self, decoding: Decoding) -> Masks | None:
        """The masks of a constraint, kept from answer to answer; None for none."""
        if decoding.constraint == "none":
            return None
        if decoding.constraint not in self._masks:
            vocabulary = make_vocabulary(token_texts(self.tokenizer))
            choices = Choices(vocabulary, counted=decoding.constraint == "bars")
            self._masks[decoding.constraint] = Masks(choices, eos_ids=self.eos_ids)
        return self._masks[decoding.constraint]

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

    def _answer(self, text: str, ids: Sequence[int], drawn: Drawn, decoding: Decoding, seconds: float) -> Answer:
        cut = None
        if not drawn.ended:
            at_limit = len(ids) == decoding.max_new_tokens
            limit = (
                f"max_new_tokens={decoding.max_new_tokens}"
                if at_limit
                else f"the model's window of {self.window} tokens"
            )
            cut = f"cut after {len(ids)} tokens by {limit}"
        follower = drawn.row.follower
        gave_way = follower.gave_way if follower is not None else 0
        return Answer(text=text, tokens=len(ids), finished=drawn.ended, cut=cut, gave_way=gave_way, seconds=seconds)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Eval mode, and back to the mode that each module was in: a model in training can be sampled."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _as_prompt(prompt: str | Prompt) -> Prompt:
    return Prompt(text=prompt) if isinstance(prompt, str) else prompt


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids that end an answer, by the tokenizer and by the model's generation settings."""
    configured = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])} - {None}
    if not ids:
        raise UserError("neither the tokenizer nor generation_config.json names an end-of-sequence token")
    return tuple(sorted(ids))
