"""Tokens by vLLM, for many answers at once on a GPU: paged keys and values, and LoRA adapters that differ per row.

vLLM chooses the tokens too. Its greedy answers are those of the other backends; its draws are not, since it has its own
streams of random numbers, and it knows no constraint. It is installed by the user, for the GPU that is there.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import BASE, Drawn, Row, check_adapter


class VllmBackend:
    """See `chatmusician.generation.backends.backend.Backend`.

    Args:
        model: folder or Hub id.
        tokenizer: its tokenizer.
        eos_ids: the tokens that end an answer.
        dtype: "auto", "float32", "bfloat16" or "float16".
        slots: most rows that are ever live at once.
        adapters: names to folders of LoRA adapters.
        adapter: the one that is meant where none is named; None for none.
        largest_rank: of the adapters.

    Raises:
        UserError: vLLM cannot load the model.
    """

    def __init__(
        self,
        *,
        model: str,
        tokenizer: Any,
        eos_ids: Sequence[int],
        dtype: str,
        slots: int,
        adapters: Mapping[str, str],
        adapter: str | None,
        largest_rank: int,
    ) -> None:
        lora = {"max_loras": len(adapters), "max_lora_rank": largest_rank} if adapters else {}
        settings = EngineArgs(
            model=model,
            tokenizer=tokenizer.name_or_path,
            dtype=dtype,
            max_num_seqs=slots,
            enable_lora=bool(adapters),
            generation_config="vllm",
            **lora,
        )
        try:
            self._engine = LLMEngine.from_engine_args(settings)
        except (OSError, ValueError, RuntimeError) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(f"model={model} cannot be loaded by vLLM: {reason}") from error
        self.tokenizer, self.eos_ids, self.adapter = tokenizer, tuple(eos_ids), adapter
        self.window = int(self._engine.model_config.max_model_len)
        self.adapters = tuple(adapters)
        self._lora = {name: LoRARequest(name, number, path) for number, (name, path) in enumerate(adapters.items(), 1)}

    @contextmanager
    def open(self, *, slots: int, longest: int | None = None, adapter: str | None = None) -> Iterator["VllmBatch"]:  # noqa: ARG002 -- vLLM pages its memory
        """An empty batch; see `chatmusician.generation.backends.backend.Backend.open`."""
        check_adapter(adapter, self.adapters)
        named = adapter or self.adapter or BASE
        batch = VllmBatch(self._engine, eos_ids=self.eos_ids, lora=None if named == BASE else self._lora[named])
        try:
            yield batch
        finally:
            batch.close()


class VllmBatch:
    """See `chatmusician.generation.backends.backend.Batch`: requests of one engine."""

    def __init__(self, engine: Any, *, eos_ids: Sequence[int], lora: Any) -> None:
        self._engine, self._lora, self._eos_ids = engine, lora, eos_ids
        self._rows: dict[str, tuple[Row, float]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many rows are live."""
        return len(self._rows)

    def join(self, rows: Sequence[Row]) -> list[Drawn]:
        """Ask the engine for rows; their tokens come with the steps.

        Raises:
            UserError: a row has a constraint.
        """
        for row in rows:
            if row.decoding.constraint != "none":
                constraint = row.decoding.constraint
                raise UserError(f"generation.constraint={constraint} is not known to vLLM: use backend=transformers")
            self._ask(row)
        return []

    def _ask(self, row: Row) -> None:
        decoding = row.decoding
        settings = SamplingParams(
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            repetition_penalty=decoding.repetition_penalty,
            min_tokens=min(decoding.min_new_tokens, row.limit),
            max_tokens=row.limit,
            seed=(decoding.seed + row.number) % 2**63,
            stop_token_ids=list(self._eos_ids),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        name = str(self._count)
        self._count += 1
        prompt = {"prompt_token_ids": list(row.prompt_ids)}
        self._engine.add_request(name, prompt, settings, lora_request=self._lora)
        self._rows[name] = row, time.perf_counter()

    def step(self) -> list[Drawn]:
        """What the engine has next."""
        drawn: list[Drawn] = []
        for output in self._engine.step():
            row, since = self._rows[output.request_id]
            completion = output.outputs[0]
            tokens = list(completion.token_ids)
            ended = output.finished and completion.finish_reason == "stop"
            if ended and (not tokens or tokens[-1] not in self._eos_ids):
                tokens.append(self._eos_ids[0])
            seconds = time.perf_counter() - since
            for i, token in enumerate(tokens, start=1):
                last = output.finished and i == len(tokens)
                drawn.append(Drawn(row, token, ended and last, last, seconds))
            if output.finished:
                del self._rows[output.request_id]
        return drawn

    def drop(self, row: Row) -> None:
        """Have a live row aborted."""
        name = next(name for name, (live, _) in self._rows.items() if live is row)
        self._engine.abort_request([name])
        del self._rows[name]

    def close(self) -> None:
        """Have all live rows aborted."""
        self._engine.abort_request(list(self._rows))
        self._rows.clear()
