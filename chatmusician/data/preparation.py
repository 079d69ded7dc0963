"""Corpus to prepared folder: read units of the corpus, tokenise and pack each, write shards and a manifest.

Flow of a unit, wherever it is worked on: `Unit.read` -> training documents -> tokens -> rows -> ``train/NNNNN.arrow``;
its held-out documents wait in ``unfinished/`` until all units are done and are then packed together. A unit's record in
``unfinished/`` is written last and says that it is done, so an interrupted run goes on with those that are not. Units
are independent: any number of processes gives the same bytes, and memory is bounded by the units in flight.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from chatmusician.data.documents import Document
from chatmusician.data.engines import Engine, WorkerKilled, find_engine
from chatmusician.data.prepared_settings import differing_settings, in_words, settings_as_kept
from chatmusician.data.quarantine import Quarantine
from chatmusician.data.shards import (
    FORMAT,
    MANIFEST,
    Manifest,
    ShardRecord,
    SplitManifest,
    load_manifest,
    write_bytes,
)
from chatmusician.data.tokenizers import load_tokenizer, save_tokenizer, vocabulary_dtype
from chatmusician.data.tokenizing import OVERLONG, DocumentTokenizer
from chatmusician.data.unit_packing import PackUnit
from chatmusician.data.unit_records import UNFINISHED, UnitRecord, read_held_out
from chatmusician.data.units import SPLITS, Corpus, UnitCorpus, units_of
from chatmusician.errors import UserError

log = logging.getLogger(__name__)

TOKENIZER = "tokenizer"
"""The folder in a prepared one that keeps the tokenizer."""

_SECONDS_BETWEEN_REPORTS = 30


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
    """Documents packed together, and into one shard, where a corpus is not read in units of its own."""

    def __post_init__(self) -> None:
        if self.seq_len < 2:
            raise UserError(f"data.seq_len={self.seq_len}: a row needs at least 2 tokens")
        if self.overlong not in OVERLONG:
            raise UserError(f"data.overlong={self.overlong!r}: use one of {', '.join(OVERLONG)}")
        if self.window < 1:
            raise UserError(f"data.window={self.window}: use at least 1 document")

    def tokenize_with(self, tokenizer: Any) -> DocumentTokenizer:
        """The step from documents to tokens, with a tokenizer of transformers."""
        return DocumentTokenizer(
            tokenizer=tokenizer, seq_len=self.seq_len, overlong=self.overlong, bos=self.bos, eos=self.eos
        )


def prepare(
    *,
    corpus: Corpus,
    tokenizer: TokenizerSource,
    settings: PackingSettings,
    directory: Path,
    workers: int = 1,
    engine: str = "local",
    overwrite: bool = False,
    splits: Sequence[str] = SPLITS,
) -> Manifest:
    """Make ``directory`` hold the packed corpus, doing only what is not there yet; a second run waits for the first.

    ``engine`` is one of `chatmusician.data.engines`, ``workers`` the processes of the local one. With ``overwrite`` a
    folder that was prepared from something else, or with other settings, is made anew. Of ``splits`` that are left out
    the folder has none.

    Raises:
        UserError: there is no such engine, the folder was prepared otherwise or cannot be written, the corpus has no
            document, or too much of it was rejected.
    """
    run = find_engine(engine, workers=workers)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            work = _Preparation(corpus, tokenizer, settings, directory, run, tuple(splits))
            return work.manifest(overwrite=overwrite)
    except OSError as error:
        place = error.filename or directory
        raise UserError(
            f"{place}: cannot be written ({error.strerror or error}); choose another data.directory"
        ) from error
    except WorkerKilled as error:
        raise UserError(
            f"{directory}: one of data.prepare_workers={workers} processes was killed, perhaps for its memory; "
            "use fewer, or smaller units (data.window, corpus.unit_bytes)"
        ) from error


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keeps other runs out; says so where it has to wait for one."""
    from filelock import FileLock, Timeout

    lock = FileLock(directory / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("waiting for another run that prepares %s", directory)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Preparation:
    """One run over a folder that is locked."""

    corpus: Corpus
    source: TokenizerSource
    settings: PackingSettings
    directory: Path
    run: Engine
    splits: tuple[str, ...]

    def manifest(self, *, overwrite: bool) -> Manifest:
        """The manifest that is there, or the one of what is prepared now."""
        asked = {
            "format": FORMAT,
            **asdict(self.settings),
            "tokenizer": self.source.describe(),
            "corpus": self.corpus.describe(),
            "splits": list(self.splits),
        }
        manifest = load_manifest(self.directory)
        if manifest is not None:
            kept = settings_as_kept(asked, prepared_tokenizer(self.directory))
            differences = in_words(list(differing_settings(manifest.settings, kept)))
            if not differences:
                shutil.rmtree(self.directory / UNFINISHED, ignore_errors=True)  # of a run killed behind its last file
                return manifest
            if not overwrite:
                raise UserError(
                    f"{self.directory} was prepared otherwise: {differences}; choose another data.directory, or "
                    "replace it with data.overwrite=true"
                )
            log.warning("preparing %s anew: %s", self.directory, differences)
            (self.directory / MANIFEST).unlink()  # first, so that what is left behind is never taken for whole
        _discard_other_work(self.directory, asked)
        return self._prepared(asked)

    def _prepared(self, asked: dict[str, Any]) -> Manifest:
        directory = self.directory
        tokenizer = self.source.load(self.corpus.documents("train"), directory)
        log.info("preparing %s", directory)
        if not (directory / TOKENIZER).exists():
            save_tokenizer(tokenizer, directory / TOKENIZER)
        pack_unit = PackUnit(
            tokenize=self.settings.tokenize_with(tokenizer),
            dtype=vocabulary_dtype(tokenizer),
            directory=directory,
            packs_training="train" in self.splits,
        )
        with Quarantine(directory / "quarantine.jsonl") as quarantine:
            train, units = self._train(pack_unit, quarantine)
            quarantine.add(self.corpus.rejections())
        if isinstance(self.corpus, UnitCorpus):
            quarantine.check(self.corpus.max_rejected)
        if "train" in self.splits and not train.total("rows"):
            raise UserError(f"{directory}: the corpus gave no training document")
        splits = {"train": train}
        for split in SPLITS[1:]:
            asked_for = split in self.splits
            splits[split] = self._held_out(split, units, pack_unit) if asked_for else SplitManifest(shards=())
        draw = self.corpus.draw() if isinstance(self.corpus, UnitCorpus) else {}
        manifest = Manifest(settings=settings_as_kept(asked, tokenizer), splits=splits, draw=draw)
        manifest.save(directory)
        shutil.rmtree(directory / UNFINISHED)
        _report(manifest, quarantine)
        return manifest

    def _train(self, pack_unit: PackUnit, quarantine: Quarantine) -> tuple[SplitManifest, int]:
        """The training split, and the number of units."""
        (self.directory / "train").mkdir(exist_ok=True)
        units = units_of(self.corpus, window=self.settings.window, run=self.run)
        shards: list[ShardRecord] = []
        progress = _Progress()
        number = 0
        for number, record in enumerate(self.run(pack_unit, enumerate(units)), start=1):
            if record.shard is not None:
                shards.append(record.shard)
            quarantine.add(record.rejections, rows=record.rows, files=record.files)
            progress.report(number, record, quarantine)
        return SplitManifest(shards=tuple(shards)), number

    def _held_out(self, split: str, units: int, pack_unit: PackUnit) -> SplitManifest:
        """Pack what the units held out for a split, window by window."""
        folder = self.directory / split
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        documents = chain.from_iterable(
            (document for of_split, document in read_held_out(self.directory, number) if of_split == split)
            for number in range(units)
        )
        shards: list[ShardRecord] = []
        while window := list(islice(documents, self.settings.window)):
            shards.append(pack_unit.write(window, folder / f"{len(shards):05d}.arrow"))
        return SplitManifest(shards=tuple(shards))


class _Progress:
    """Says now and then how far a long run is."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._tokens = 0

    def report(self, units: int, record: UnitRecord, quarantine: Quarantine) -> None:
        """Count a unit, and log if it is time."""
        self._tokens += record.shard.tokens if record.shard else 0
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_REPORTS:
            self._last = now
            speed = self._tokens / (now - self._started)
            log.info(
                "%s units, %s rows, %s tokens (%s a second), %s rejected",
                *(f"{number:,.0f}" for number in (units, quarantine.rows, self._tokens, speed, quarantine.rejected)),
            )


def _report(manifest: Manifest, quarantine: Quarantine) -> None:
    for split, summary in manifest.summary().items():
        log.info(
            "%s: %s documents, %s tokens in %s rows of %s, fill %.2f%%",
            *(split, summary["documents"], summary["tokens"], summary["rows"], manifest.settings["seq_len"]),
            100 * summary["fill"],
        )
    for pool, drawn in manifest.draw.get("pools", {}).items():
        if drawn["missing"]:
            log.warning("%s: %s of the %s rows asked for are not there", pool, drawn["missing"], drawn["asked"])
    if quarantine.rejected:
        log.warning("%d parts of the corpus were left out; see %s", quarantine.rejected, quarantine.path)


def _discard_other_work(directory: Path, asked: dict[str, Any]) -> None:
    """Keep tokenizer, records and shards of an interrupted run only if it was asked for the same, and no half file."""
    marker = directory / UNFINISHED / "asked.json"
    content = json.dumps(asked, indent=1, sort_keys=True).encode()
    if not marker.exists() or marker.read_bytes() != content:
        for name in (UNFINISHED, TOKENIZER, *SPLITS):
            shutil.rmtree(directory / name, ignore_errors=True)
        (directory / UNFINISHED).mkdir()
        write_bytes(marker, content)
    for partial in list(directory.rglob("*.partial")):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()


def prepared_tokenizer(directory: Path) -> Any:
    """The tokenizer that was kept with the shards."""
    return load_tokenizer(directory / TOKENIZER)
