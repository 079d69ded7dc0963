"""Tokens by a model of transformers in this process, with any number of LoRA adapters beside it, unmerged.

A model in training can be sampled: it is in eval mode while a batch is open, and as it was afterwards.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import BASE, check_adapter, find_eos_ids
from chatmusician.generation.cache import AlignedCache
from chatmusician.generation.constraint.followers import Constraints
from chatmusician.generation.llama_step import LlamaStep
from chatmusician.generation.loop import SampledBatch

SERIAL = 32_000_000
"""Parameters times tokens up to which what is computed at once on the CPU takes one thread.

Its products then take less time than waiting for another thread. For one row and 2M parameters a step takes 1.1 ms with
one thread; with two it takes from 1.0 ms, if nothing else runs on the machine, to 9 ms.
"""
PROMPT_TOKENS = 2048
"""Tokens of several prompts that are computed together."""


class TransformersBackend:
    """See `chatmusician.generation.backends.backend.Backend`.

    Args:
        model: a causal language model of transformers or a PEFT model around one, with full attention.
        tokenizer: its tokenizer.
        adapter: the adapter that is meant where none is named, or `BASE`; None for the model as it is.

    Raises:
        UserError: the model uses sliding-window attention, or embeds fewer tokens than the tokenizer has.
    """

    def __init__(self, *, model: Any, tokenizer: Any, adapter: str | None = None) -> None:
        self.model, self.tokenizer, self.adapter = model, tokenizer, adapter
        self.window: int = model.config.max_position_embeddings
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
        self.eos_ids = find_eos_ids(tokenizer, model.generation_config)
        self.constraints = Constraints(tokenizer, eos_ids=self.eos_ids)
        self.adapters: tuple[str, ...] = tuple(getattr(model, "peft_config", None) or ())

    @contextmanager
    def open(self, *, slots: int, longest: int | None = None, adapter: str | None = None) -> Iterator[SampledBatch]:
        """An empty batch; see `chatmusician.generation.backends.backend.Backend.open`."""
        check_adapter(adapter, self.adapters)
        threads = torch.get_num_threads()
        try:
            with evaluating(self.model), self._with_adapter(adapter or self.adapter):
                steps = TransformersSteps(self.model, slots=slots, longest=longest or self.window, threads=threads)
                yield SampledBatch(steps, eos_ids=self.eos_ids, constraints=self.constraints, slots=slots)
        finally:
            torch.set_num_threads(threads)

    @contextmanager
    def _with_adapter(self, adapter: str | None) -> Iterator[None]:
        if adapter is None or not self.adapters:
            yield
        elif adapter == BASE:
            with self.model.disable_adapter():
                yield
        else:
            before = self.model.active_adapter
            self.model.set_adapter(adapter)
            try:
                yield
            finally:
                self.model.set_adapter(before)


class TransformersSteps:
    """See `chatmusician.generation.loop.Steps`; the weights are those of now.

    Args:
        model: a causal language model in eval mode.
        slots: most live rows.
        longest: most tokens of a row.
        threads: for steps that are worth more than one; see `SERIAL`.
    """

    def __init__(self, model: Any, *, slots: int, longest: int, threads: int) -> None:
        self.model, self.device, self.threads = model, model.device, threads
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.small = LlamaStep(model) if LlamaStep.suits(model) else None
        self.cache = AlignedCache(rows=slots, columns=longest)

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Compute prompts without padding: by transformers each alone, by the written-out pass together."""
        self._share_out(sum(map(len, prompts)))
        logits = []
        for texts in _parts(prompts) if self.small is not None else [[prompt] for prompt in prompts]:
            prefills = [DynamicCache() for _ in texts]
            ids = [torch.tensor(text, device=self.device) for text in texts]  # [L] each
            if self.small is not None:
                logits.append(self.small.prompts(ids, prefills))
            else:
                found = self.model(
                    input_ids=ids[0][None], past_key_values=prefills[0], use_cache=True, logits_to_keep=1
                )
                logits.append(found.logits[:, -1])
            for prefill in prefills:
                self.cache.join(prefill)
        return torch.cat(logits)

    def step(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """One token in each live slot."""
        self._share_out(len(tokens))
        self.cache.prepare()
        newest = torch.tensor(tokens, device=self.device)  # [B]
        places = torch.tensor(positions, device=self.device)  # [B]
        if self.small is not None:
            logits = self.small(newest, places, self.cache)  # [B, V]
        else:
            logits = self.model(
                input_ids=newest[:, None],
                position_ids=places[:, None],
                attention_mask=self.cache.mask(),
                past_key_values=self.cache,
                use_cache=True,
            ).logits[:, -1]
        self.cache.advance()
        return logits

    def _share_out(self, tokens: int) -> None:
        threads = 1 if self.device.type == "cpu" and tokens * self.parameters <= SERIAL else self.threads
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)

    def leave(self, slot: int) -> None:
        """Free a slot."""
        self.cache.leave(slot)


def _parts(prompts: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """The prompts in parts of at most `PROMPT_TOKENS` tokens, or of one prompt."""
    part: list[Sequence[int]] = []
    for prompt in prompts:
        if part and sum(map(len, part)) + len(prompt) > PROMPT_TOKENS:
            yield part
            part = []
        part.append(prompt)
    if part:
        yield part


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Eval mode, and back to the mode that each module was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
