"""Files of prompts, and the files their answers go to.

Prompts: ``.txt``, one a line, empty lines skipped; or ``.jsonl``, one object a line with "prompt", or with
"instruction" and perhaps "input" (the rows of MusicPile-sft).

Answers: JSON lines, written as answers are completed and flushed each, so a run that is stopped loses only what was
in the batch. Run again on the same output, only missing and failed rows are generated; at the end the rows are put in
the prompts' order. As a row's random numbers depend on its number only, the file is the same as that of a run that
was never stopped, but for the seconds.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from chatmusician.data.prompts import clean_fields
from chatmusician.errors import UserError


@dataclass(frozen=True, kw_only=True)
class AnswerRow:
    """One line of an answer file."""

    index: int
    """Which prompt of the file, from 0."""
    prompt: str
    answer: str | None
    """None if the row failed."""
    abc: str | None
    """The tune in the answer, if there is one."""
    problems: tuple[str, ...] = ()
    """One line each, on the answer and its tune."""
    error: str | None = None
    """Why the row failed: there is no answer at all."""
    tokens: int = 0
    finished: bool = False
    """The model ended the answer itself."""
    seconds: float = 0.0


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file.

    Raises:
        UserError: unknown suffix, not UTF-8, no prompts, or a line that is no prompt (file and line are named).
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise UserError(f"prompts={path}: unknown kind of file {path.suffix!r}: use .txt (a prompt a line) or .jsonl")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"prompts={path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"prompts={path} is not a file: give a .txt or .jsonl file") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise UserError(f"prompts={path} is empty: write one prompt a line")
    if path.suffix == ".txt":
        return [line.strip() for _, line in numbered]
    return [_json_prompt(line, f"{path}:{number}") for number, line in numbered]


def _json_prompt(line: str, place: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not valid JSON: {error.msg}, column {error.colno}") from error
    if isinstance(row, dict):
        if isinstance(row.get("prompt"), str):
            return row["prompt"]
        instruction, given = row.get("instruction"), row.get("input") or ""
        if isinstance(instruction, str) and isinstance(given, str):
            return clean_fields(instruction, given, "")[0]
    raise UserError(f'{place}: expected {{"prompt": text}} or {{"instruction": text, "input": text}}')


class AnswerFile:
    """The answers to a list of prompts, on disk. Use as a context manager.

    Args:
        path: the JSON lines file; made, or gone on with if it is there.
        prompts: what is answered.

    Raises:
        UserError: the file is there and holds something else than answers to these prompts.
    """

    def __init__(self, path: Path, prompts: Sequence[str]) -> None:
        self.path, self.prompts = path, prompts
        self.rows: dict[int, AnswerRow] = {}
        """By index; of two rows with one index the later counts."""
        self._keep_bytes = self._read() if path.exists() else 0

    def __enter__(self) -> "AnswerFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.path.open("ab")
        self._stream.truncate(self._keep_bytes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if kind is None:
            self._put_in_order()

    def missing(self) -> list[int]:
        """Indices of the prompts without an answer, in order."""
        return [i for i in range(len(self.prompts)) if i not in self.rows or self.rows[i].error is not None]

    def failed(self) -> list[AnswerRow]:
        """Rows without an answer because something went wrong, in order."""
        return [row for _, row in sorted(self.rows.items()) if row.error is not None]

    def append(self, row: AnswerRow) -> None:
        """Write one row, now."""
        self._stream.write(_line(row))
        self._stream.flush()
        self.rows[row.index] = row

    def _read(self) -> int:
        """Take in the rows that are there; returns how many bytes of them are whole lines."""
        whole = 0
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break  # the run was stopped in the middle of this line
            row = self._parse(line, number)
            self.rows[row.index] = row
            whole += len(line)
        return whole

    def _parse(self, line: bytes, number: int) -> AnswerRow:
        place = f"output={self.path}, line {number}"
        try:
            fields: dict[str, Any] = json.loads(line)
            row = AnswerRow(**{**fields, "problems": tuple(fields.get("problems", ()))})
        except (ValueError, TypeError, AttributeError):
            raise UserError(f"{place} is not a row of answers: choose another output") from None
        if row.index not in range(len(self.prompts)) or row.prompt != self.prompts[row.index]:
            raise UserError(f"{place} answers another prompt than number {row.index} of these: choose another output")
        return row

    def _put_in_order(self) -> None:
        ordered = b"".join(_line(row) for _, row in sorted(self.rows.items()))
        if ordered != self.path.read_bytes():
            partial = self.path.with_name(f".{self.path.name}.partial")
            partial.write_bytes(ordered)
            partial.replace(self.path)


def _line(row: AnswerRow) -> bytes:
    return json.dumps(asdict(row), ensure_ascii=False).encode() + b"\n"
