"""Which files of rows there are, what they are known by, and how each kind is cut into runs.

Files are named by paths, patterns, folders and URLs that ``fsspec`` opens, or by a dataset of the Hugging Face Hub, of
which ``datasets`` says what its files are (and uses the token in the environment). Parquet and JSON lines are read by
`chatmusician.data.parquet_rows` and `chatmusician.data.json_lines`; every other format that ``datasets`` knows is
streamed through it, from the front, in one process.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

from chatmusician.data.json_lines import COMPRESSIONS, line_runs
from chatmusician.data.parquet_rows import parquet_runs, table_rows
from chatmusician.data.raw_rows import GivenRows, RowRun, is_remote, open_file, out_of_reach, unreadable
from chatmusician.errors import UserError, first_line

_LINES = (".jsonl", ".ndjson", ".json")
SUFFIXES = (".parquet", *_LINES, *(lines + packed for lines in _LINES for packed in COMPRESSIONS))
"""Endings of the files that a folder is searched for."""

_FORMATS = {".json": "json", ".csv": "csv", ".txt": "text", ".arrow": "arrow"}
"""What ``datasets`` calls the formats that are read through it, a ``.json`` file that is one array among them."""

_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16


@dataclass(frozen=True, kw_only=True)
class RowFiles:
    """The files of a corpus.

    Args:
        path: a Hub id, or a local folder laid out like a dataset of the Hub; None where ``files`` are given.
        files: paths, patterns, folders, URLs.
        subset, split, revision: of the dataset at ``path``.
        unit_bytes: size of a run.
        max_row_bytes: rows longer than this are rejected.
    """

    path: str | None
    files: tuple[str, ...]
    subset: str | None
    split: str
    revision: str | None
    unit_bytes: int
    max_row_bytes: int

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The files, in order.

        Raises:
            UserError: there is none, or the dataset or its split cannot be found.
        """
        if (self.path is None) == (not self.files):
            raise UserError(f"corpus.path={self.path!r} and corpus.files={list(self.files)}: give one of the two")
        if self.path is not None:
            files = self._data_files
            return (self.path,) if self._is_streamed_whole else files
        return tuple(name for pattern in self.files for name in _expand(pattern))

    @cached_property
    def _builder(self) -> Any:
        from datasets import load_dataset_builder

        assert self.path is not None
        try:
            return load_dataset_builder(self.path, self.subset, revision=self.revision)
        except Exception as error:
            raise UserError(
                f"corpus.path={self.path!r} cannot be read ({first_line(error)}); give a Hub id, or path=null and files"
            ) from error

    @cached_property
    def _data_files(self) -> tuple[str, ...]:
        """The files of the split of the dataset at ``path``."""
        files = {str(split): names for split, names in (self._builder.config.data_files or {}).items()}
        if self.split not in files:
            there = ", ".join(files) or "none"
            raise UserError(f"corpus.path={self.path!r} has no split {self.split!r}; it has {there}")
        return tuple(map(str, files[self.split]))

    @property
    def _is_streamed_whole(self) -> bool:
        """Whether the dataset at ``path`` has another format than those whose files are read one by one."""
        return self._builder.__module__.rsplit(".", 1)[-1] not in ("parquet", "json")

    def describe(self) -> list[dict[str, Any]]:
        """Name, size and content of each file, as far as they can be told without reading all of it."""
        names = self.names
        return [_fingerprint(name) for name in (names if self.path is None else self._data_files)]

    def runs(self, columns: Sequence[str]) -> Iterator[RowRun]:
        """All files in runs. ``columns`` are the ones that are read, where the format lets others be left out."""
        sizes = {"unit_bytes": self.unit_bytes, "max_row_bytes": self.max_row_bytes}
        for name in self.names:
            if name == self.path:
                where = {"path": self.path, "name": self.subset, "revision": self.revision, "split": self.split}
                yield from self._streamed(name, where)
            elif name.endswith(".parquet"):
                yield from parquet_runs(name, columns=columns, **sizes)
            elif name.endswith(SUFFIXES) and not _is_array(name):
                yield from line_runs(name, **sizes)
            else:
                yield from self._streamed(name, {"path": _format(name), "data_files": [name], "split": "train"})

    def _streamed(self, name: str, where: dict[str, Any]) -> Iterator[RowRun]:
        """Rows that ``datasets`` reads, carried by their runs."""
        from datasets import load_dataset

        line = 1
        try:
            stream = load_dataset(**where, streaming=True).with_format("arrow")
            for table in stream.iter(batch_size=1000):
                step = max(1, len(table) * self.unit_bytes // max(1, table.nbytes))
                for start in range(0, len(table), step):
                    part = table.slice(start, step)
                    rows = tuple(table_rows(part, first_line=line, max_row_bytes=self.max_row_bytes))
                    yield GivenRows(file=name, begins_file=line == 1, given=rows)
                    line += len(rows)
            if line == 1:
                raise ValueError("an empty file")
        except Exception as error:  # noqa: BLE001 -- what it says of the file is told apart in `unreadable`
            yield unreadable(name, error, line=line if line > 1 else 0, begins_file=line == 1)


def _expand(pattern: str) -> list[str]:
    """The files that a path, pattern, folder or URL stands for."""
    if is_remote(pattern):
        if not any(character in pattern for character in "*?["):
            return [pattern]
        system, path = _remote(pattern)
        try:
            names = [system.unstrip_protocol(name) for name in sorted(system.glob(path))]
        except Exception as error:
            raise out_of_reach(pattern, error) from error
    elif Path(pattern).is_dir():
        found = sorted(Path(pattern).rglob("*"))
        names = [str(file) for file in found if file.name.endswith(SUFFIXES) and file.is_file()]
    elif Path(pattern).is_file():
        names = [pattern]
    else:
        names = [name for name in sorted(glob(pattern, recursive=True)) if Path(name).is_file()]  # noqa: PTH207 -- absolute patterns too
    if not names:
        raise UserError(
            f"corpus.files={pattern!r}: there is no such file; folders are searched for {', '.join(SUFFIXES)}"
        )
    return names


def _fingerprint(name: str) -> dict[str, Any]:
    """What a file is known by: its name and size, and a hash of samples of it, or what the remote system says of it."""
    digest = hashlib.sha256()
    if is_remote(name):
        system, path = _remote(name)
        try:
            return {"name": name, "size": system.size(path), "content": str(system.ukey(path))[:16]}
        except Exception as error:
            raise out_of_reach(name, error) from error
    try:
        size = Path(name).stat().st_size
        with Path(name).open("rb") as file:
            for sample in range(_SAMPLES):
                file.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise out_of_reach(name, error) from error
    return {"name": Path(name).name, "size": size, "content": digest.hexdigest()[:16]}


def _remote(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise UserError(
            f"corpus.files={url!r} cannot be opened ({first_line(error)}); use a file that can be"
        ) from error
    return system, path


def _is_array(name: str) -> bool:
    """Whether a ``.json`` file is one array of rows, not a row a line."""
    if not name.endswith(".json"):
        return False
    try:
        with open_file(name) as file:
            return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    except Exception as error:
        raise out_of_reach(name, error) from error


def _format(name: str) -> str:
    """What ``datasets`` calls the format of a file that is read through it."""
    suffix = Path(name).suffix
    if suffix not in _FORMATS:
        known = ", ".join(dict.fromkeys((*SUFFIXES, *_FORMATS)))
        raise UserError(f"corpus.files={name!r}: rows are not read from {suffix or 'such files'}; use one of {known}")
    return _FORMATS[suffix]
