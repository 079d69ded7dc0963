"""Corpus to prepared folder: read documents, tokenise and pack them window by window, write shards and a manifest.

The unit of work is a window: a fixed run of documents. Windows are independent, so any number of processes gives the
same bytes, memory stays bounded by the windows in flight, and an interrupted run goes on where it stopped.
"""

import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from chatmusician.data.documents import Document
from chatmusician.data.packing import TokenDocument, pack
from chatmusician.data.shards import (
    MANIFEST,
    Manifest,
    ShardRecord,
    SplitManifest,
    finished_shard,
    load_manifest,
    write_bytes,
    write_shard,
)
from chatmusician.data.tokenizers import DocumentTokenizer, describe, load_tokenizer, save_tokenizer, vocabulary_dtype
from chatmusician.errors import UserError

log = logging.getLogger(__name__)

OVERLONG = ("split", "truncate", "drop", "error")


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A part of the corpus that could not become a document."""

    file: str
    line: int
    reason: str


class Corpus(Protocol):
    """What preparation needs of a corpus."""

    def describe(self) -> dict[str, Any]:
        """The settings and content that decide its documents: JSON values; equal descriptions, equal documents."""

    def documents(self, split: str) -> Iterator[Document]:
        """The documents of ``train``, ``validation`` or ``test``, always in the same order."""

    def rejections(self) -> Sequence[Rejection]:
        """What was left out, and why."""


class TokenizerSource(Protocol):
    """Where the tokenizer comes from; see `chatmusician.data.tokenizers`."""

    def describe(self) -> dict[str, Any]:
        """What decides its ids: JSON values; with equal descriptions and corpora, equal tokenizers."""

    def load(self, documents: Iterable[Document], directory: Path) -> Any:
        """The tokenizer, trained on the documents where it does not exist yet."""


@dataclass(frozen=True, kw_only=True)
class PackingSettings:
    """How documents become rows.

    Raises:
        UserError: a value is out of range.
    """

    seq_len: int
    """Tokens in a row."""
    overlong: str = "split"
    """What happens to a document longer than a row: split, truncate, drop or error; each is counted."""
    bos: bool = False
    """Put a BOS token before each document."""
    eos: bool = False
    """Put an EOS token after each document."""
    window: int = 4096
    """Documents packed together, and into one shard."""

    def __post_init__(self) -> None:
        if self.seq_len < 2:
            raise UserError(f"data.seq_len={self.seq_len}: a row needs at least 2 tokens")
        if self.overlong not in OVERLONG:
            raise UserError(f"data.overlong={self.overlong!r}: use one of {', '.join(OVERLONG)}")
        if self.window < 1:
            raise UserError(f"data.window={self.window}: use at least 1 document")


SPLITS = ("train", "validation", "test")
UNFINISHED = "unfinished.json"
TOKENIZER = "tokenizer"
"""The folder in a prepared one that keeps the tokenizer."""


def prepare(
    *,
    corpus: Corpus,
    tokenizer: TokenizerSource,
    settings: PackingSettings,
    directory: Path,
    workers: int = 1,
    overwrite: bool = False,
) -> Manifest:
    """Make ``directory`` hold the packed corpus, doing only what is not there yet; a second run waits for the first.

    With ``overwrite`` a folder that was prepared from something else, or with other settings, is made anew.

    Raises:
        UserError: the folder was prepared otherwise, cannot be written, or the corpus has no document.
    """
    from filelock import FileLock

    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".lock"):
            return _prepare_locked(corpus, tokenizer, settings, directory, workers, overwrite)
    except OSError as error:
        place = error.filename or directory
        raise UserError(
            f"{place}: cannot be written ({error.strerror or error}); choose another data.directory"
        ) from error
    except BrokenProcessPool as error:
        raise UserError(
            f"{directory}: one of data.prepare_workers={workers} processes was killed, perhaps for its memory; "
            "use fewer, or a smaller data.window"
        ) from error


def _prepare_locked(
    corpus: Corpus,
    source: TokenizerSource,
    settings: PackingSettings,
    directory: Path,
    workers: int,
    overwrite: bool,
) -> Manifest:
    manifest = load_manifest(directory)
    asked = {**asdict(settings), "tokenizer": source.describe(), "corpus": corpus.describe()}
    if manifest is not None:
        differences = list(differing_settings(manifest.settings, _as_kept(asked, prepared_tokenizer(directory))))
        if not differences:
            return manifest
        if not overwrite:
            raise UserError(
                f"{directory} was prepared otherwise: {'; '.join(differences)}; choose another data.directory, or "
                "replace it with data.overwrite=true"
            )
        log.warning("preparing %s anew: %s", directory, "; ".join(differences))
        (directory / MANIFEST).unlink()  # first, so that what is left behind is never taken for whole
    _discard_other_work(directory, asked)
    tokenizer = source.load(corpus.documents("train"), directory)
    log.info("preparing %s", directory)
    if not (directory / TOKENIZER).exists():
        save_tokenizer(tokenizer, directory / TOKENIZER)
    make = _ShardMaker(tokenizer=tokenizer, settings=settings)
    splits = {split: _prepare_split(corpus, split, make, settings, directory, workers) for split in SPLITS}
    if not splits["train"].total("rows"):
        raise UserError(f"{directory}: the corpus gave no training document")
    _write_quarantine(corpus.rejections(), directory)
    manifest = Manifest(settings=_as_kept(asked, tokenizer), splits=splits)
    manifest.save(directory)
    (directory / UNFINISHED).unlink(missing_ok=True)
    for split, summary in manifest.summary().items():
        log.info(
            "%s: %s documents, %s tokens in %s rows of %s, fill %.2f%%",
            *(split, summary["documents"], summary["tokens"], summary["rows"], settings.seq_len),
            100 * summary["fill"],
        )
    return manifest


def _as_kept(asked: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """The settings as a manifest has them: with what a trained tokenizer turned out to be, as JSON gives it."""
    kept: dict[str, Any] = json.loads(json.dumps({**asked, "tokenizer": {**describe(tokenizer), **asked["tokenizer"]}}))
    return kept


def differing_settings(found: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """What differs between the settings of a prepared folder and those asked for, a setting with both values each."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from differing_settings(found.get(key), wanted.get(key), f"{path}.{key}" if path else key)
    elif found != wanted:
        yield f"{path} is {found!r} there and {wanted!r} here"


def _discard_other_work(directory: Path, asked: dict[str, Any]) -> None:
    """Keep tokenizer and shards of an interrupted run only if it was asked for the same."""
    marker = directory / UNFINISHED
    content = json.dumps(asked, indent=1, sort_keys=True).encode()
    if not marker.exists() or marker.read_bytes() != content:
        for name in (TOKENIZER, *SPLITS):
            shutil.rmtree(directory / name, ignore_errors=True)
        write_bytes(marker, content)


def _prepare_split(
    corpus: Corpus, split: str, make: "_ShardMaker", settings: PackingSettings, directory: Path, workers: int
) -> SplitManifest:
    folder = directory / split
    folder.mkdir(exist_ok=True)
    windows = _windows(corpus.documents(split), settings.window)
    jobs = ((window, folder / f"{index:05d}.arrow") for index, window in enumerate(windows))
    return SplitManifest(shards=tuple(_run(make, jobs, workers)))


def _windows(documents: Iterator[Document], size: int) -> Iterator[list[Document]]:
    while window := list(islice(documents, size)):
        yield window


def _run(make: "_ShardMaker", jobs: Iterator[tuple[list[Document], Path]], workers: int) -> Iterator[ShardRecord]:
    """Run jobs in order of submission, in this process or over several, with at most two windows a worker in flight."""
    if workers <= 1:
        for window, path in jobs:
            yield make(window, path)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        running: deque[Future[ShardRecord]] = deque()
        for window, path in jobs:
            if len(running) >= 2 * workers:
                yield running.popleft().result()
            running.append(pool.submit(make, window, path))
        while running:
            yield running.popleft().result()


def _end_with_parent() -> None:
    """In a worker: end when the process that started it is gone, killed perhaps; an idle worker would wait for ever."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@dataclass(frozen=True, kw_only=True)
class _ShardMaker:
    """Tokenise and pack one window and write it; pickled to the workers."""

    tokenizer: Any
    settings: PackingSettings

    def __call__(self, window: list[Document], path: Path) -> ShardRecord:
        if (record := finished_shard(path)) is not None:
            return record
        settings = self.settings
        tokenize = DocumentTokenizer(
            tokenizer=self.tokenizer,
            seq_len=settings.seq_len,
            overlong=settings.overlong,
            bos=settings.bos,
            eos=settings.eos,
        )
        pieces, fates = tokenize(window)
        pad = self.tokenizer.pad_token_id
        rows = pack(
            [piece for document in pieces for piece in document],
            seq_len=settings.seq_len,
            pad_id=self.tokenizer.eos_token_id if pad is None else pad,
        )
        return write_shard(
            rows,
            path,
            dtype=vocabulary_dtype(self.tokenizer),
            seq_len=settings.seq_len,
            documents=len(window),
            sources=_count_sources(window, pieces),
            fates=fates,
        )


def _count_sources(window: Sequence[Document], pieces: Sequence[Sequence[TokenDocument]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for document, parts in zip(window, pieces, strict=True):
        count = counts.setdefault(document.source, {"documents": 0, "tokens": 0})
        count["documents"] += bool(parts)
        count["tokens"] += sum(len(part.ids) for part in parts)
    return dict(sorted(counts.items()))


def _write_quarantine(rejections: Sequence[Rejection], directory: Path) -> None:
    lines = "".join(json.dumps(asdict(rejection), ensure_ascii=False) + "\n" for rejection in rejections)
    write_bytes(directory / "quarantine.jsonl", lines.encode())
    if rejections:
        log.warning("%d parts of the corpus were left out; see %s", len(rejections), directory / "quarantine.jsonl")


def prepared_tokenizer(directory: Path) -> Any:
    """The tokenizer that was kept with the shards."""
    return load_tokenizer(directory / TOKENIZER)
