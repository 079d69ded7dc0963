"""Tokens by llama.cpp: a GGUF file, quantised perhaps, on a laptop without transformers' memory.

llama.cpp computes the logits and holds the keys and values, a sequence a row; tokens are chosen from them as everywhere
else (`chatmusician.generation.loop`), so settings, seeds and constraints mean the same as with transformers. The
tokenizer is that of the model folder that the file was written from.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch
from torch import Tensor

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import check_adapter
from chatmusician.generation.constraint.followers import Constraints
from chatmusician.generation.loop import SampledBatch

PROMPT_TOKENS = 512
"""Tokens of a prompt that are computed in one call."""
FLOAT32 = "0"
"""How a GGUF file says that its weights are not rounded."""
ALL_LAYERS = -1
"""Layers on the GPU, where llama.cpp was compiled for one."""


@llama_cpp.llama_log_callback
def _silent(_level: int, _text: bytes, _data: ctypes.c_void_p) -> None:
    """llama.cpp prints a hundred lines about each model."""


class LlamaCppBackend:
    """See `chatmusician.generation.backends.backend.Backend`.

    Args:
        path: a GGUF file.
        tokenizer: the tokenizer of the model that it was written from.
        eos_ids: the tokens that end an answer.
        device: "cpu" computes on the CPU alone; otherwise layers go to the GPU that llama.cpp was compiled for.

    Raises:
        UserError: llama.cpp cannot load the file, or it was written for another tokenizer.
    """

    adapters: tuple[str, ...] = ()

    def __init__(self, *, path: Path, tokenizer: Any, eos_ids: Sequence[int], device: str = "auto") -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0 if device == "cpu" else ALL_LAYERS
        self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self._model:
            raise UserError(f"model={path} cannot be loaded by llama.cpp: it is no whole GGUF file of a model")
        self.entries = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        if len(tokenizer) > self.entries:
            raise UserError(
                f"the tokenizer has {len(tokenizer)} tokens but {path} {self.entries}: they do not belong together"
            )
        self._exact = _file_type(self._model) == FLOAT32
        self.tokenizer, self.eos_ids = tokenizer, tuple(eos_ids)
        self.constraints = Constraints(tokenizer, eos_ids=self.eos_ids)
        self.window = int(llama_cpp.llama_model_n_ctx_train(self._model))

    @contextmanager
    def open(self, *, slots: int, longest: int | None = None, adapter: str | None = None) -> Iterator[SampledBatch]:
        """An empty batch; see `chatmusician.generation.backends.backend.Backend.open`."""
        check_adapter(adapter, self.adapters)
        steps = LlamaCppSteps(
            self._model, entries=self.entries, slots=slots, longest=longest or self.window, exact=self._exact
        )
        try:
            yield SampledBatch(steps, eos_ids=self.eos_ids, constraints=self.constraints, slots=slots)
        finally:
            steps.close()


def _file_type(model: Any) -> str:
    value = ctypes.create_string_buffer(16)
    llama_cpp.llama_model_meta_val_str(model, b"general.file_type", value, len(value))
    return value.value.decode()


class LlamaCppSteps:
    """See `chatmusician.generation.loop.Steps`: a context of llama.cpp, with a sequence for each slot.

    Args:
        model: llama.cpp's model.
        entries: of the vocabulary.
        slots: most live rows.
        longest: most tokens of a row; room is made for ``slots * longest``.
        exact: keys and values are kept in float32, not float16, and attention is computed in float32 too. Logits of
            about 2 then agree with transformers' to 4e-5; otherwise to 0.03.

    Raises:
        UserError: there is no memory for that.
    """

    device = torch.device("cpu")

    def __init__(self, model: Any, *, entries: int, slots: int, longest: int, exact: bool) -> None:
        self.entries = entries
        self._order: list[int] = []  # the sequence of each live slot
        self._free = list(range(slots))
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = slots * longest, slots
        parameters.n_batch = max(PROMPT_TOKENS, slots)
        parameters.n_threads = parameters.n_threads_batch = torch.get_num_threads()
        if exact:
            parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
            parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = llama_cpp.llama_init_from_model(model, parameters)
        if not self._context:
            raise UserError(f"llama.cpp has no room for {slots} rows of {longest} tokens: set a smaller batch_size")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(parameters.n_batch, 0, 1)

    def close(self) -> None:
        """Give the memory back."""
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)

    def join(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Compute prompts, `PROMPT_TOKENS` at a time."""
        return torch.cat([self._join(prompt_ids) for prompt_ids in prompts])

    def _join(self, prompt_ids: Sequence[int]) -> Tensor:
        sequence = self._free.pop()
        self._order.append(sequence)
        for start in range(0, len(prompt_ids), PROMPT_TOKENS):
            part = prompt_ids[start : start + PROMPT_TOKENS]
            places = range(start, start + len(part))
            self._compute(
                part, places, [sequence] * len(part), wanted=[place == len(prompt_ids) - 1 for place in places]
            )
        return self._logits([len(part) - 1])

    def step(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """One token in each live slot."""
        self._compute(tokens, positions, self._order, wanted=[True] * len(tokens))
        return self._logits(range(len(tokens)))

    def leave(self, slot: int) -> None:
        """Free a slot: what its sequence holds is forgotten."""
        sequence = self._order[slot]
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._free.append(sequence)
        self._order[slot] = self._order[-1]
        self._order.pop()

    def _compute(
        self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], *, wanted: Sequence[bool]
    ) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence) in enumerate(zip(tokens, positions, sequences, strict=True)):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted[i]
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        status = llama_cpp.llama_decode(self._context, batch)
        if status != 0:
            raise UserError(
                f"llama.cpp gave up on a batch of {len(tokens)} tokens (status {status}): set a smaller batch_size"
            )

    def _logits(self, places: Sequence[int]) -> Tensor:
        """The logits ``[B, V]`` of places in the last computation, copied: llama.cpp writes the next ones over them."""
        rows = [
            np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, place), shape=(self.entries,))
            for place in places
        ]
        return torch.from_numpy(np.stack(rows))
