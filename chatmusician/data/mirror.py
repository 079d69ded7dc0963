"""Prepared data at a URL, copied to a folder of this node and read from there as if they had been prepared in it.

Any URL that fsspec reads will do: ``s3://``, ``gs://``, ``hf://``, ``https://``, ``file://``. Nothing is prepared at
one. Only what the manifest names is fetched, so a server need not list its files. Several files are under way at once;
each is written under a temporary name, held against the checksum in its record, flushed and renamed. The manifest is
written last, and with it the copy is whole: the next run fetches the manifest, finds the same, and reads nothing else.
A run that was stopped leaves whole files and no manifest; the next one checks those (1.5 GB/s) and fetches the rest.

Processes that mirror to one folder wait for each other, so of a node's processes, or of several nodes with one file
system, one fetches.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from chatmusician.data.preparation import TOKENIZER, PackingSettings, TokenizerSource
from chatmusician.data.prepared_settings import differing_settings
from chatmusician.data.remote import Forbidden, NotThere, Remote, Unreachable
from chatmusician.data.shards import FORMAT, MANIFEST, Manifest, ShardRecord, load_manifest, write_bytes
from chatmusician.data.tokenizers import describe, load_tokenizer
from chatmusician.errors import UserError

log = logging.getLogger(__name__)

INCOMING = "incoming"
"""The folder in a mirror that keeps manifest and tokenizer until all is there."""
FETCHED_AT_ONCE = 8
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""What a tokenizer's folder may hold; the first has to be there."""


def is_url(directory: str) -> bool:
    """Whether ``data.directory`` is a URL and not a folder."""
    return "://" in directory


def mirror_folder(url: str) -> Path:
    """Where a URL is mirrored unless told otherwise: its last part names the folder, a hash tells it from others."""
    url = url.rstrip("/")
    return Path("outputs", "mirror", f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:8]}")


def mirror_data(
    *, url: str, directory: Path, settings: PackingSettings, tokenizer: TokenizerSource, overwrite: bool = False
) -> Manifest:
    """Make ``directory`` hold the prepared data at ``url``, fetching only what is not there yet.

    With ``overwrite`` a copy of what has changed at the URL since is brought up to date. Where the URL cannot be
    reached, a whole copy is used as it is, with a warning.

    Raises:
        UserError: there is no manifest at the URL, a file cannot be fetched or is damaged, the data were prepared
            otherwise than asked for, or the copy is of data that have changed since.
    """
    from filelock import FileLock

    remote = Remote.at(url)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".lock"):
            return _mirror_locked(remote, directory, settings, tokenizer, overwrite)
    except OSError as error:
        place, reason = error.filename or directory, error.strerror or error
        raise UserError(f"{place}: cannot be written ({reason}); choose another data.mirror") from error


def _mirror_locked(
    remote: Remote, directory: Path, settings: PackingSettings, tokenizer: TokenizerSource, overwrite: bool
) -> Manifest:
    known = load_manifest(directory)
    try:
        content = remote.read(MANIFEST)
    except Unreachable as error:
        if known is None:
            raise
        log.warning("%s; going on with the copy in %s", error, directory)
        _check_settings(known, directory, settings, tokenizer)
        return known
    changed = known is not None and (directory / MANIFEST).read_bytes() != content
    if changed and not overwrite:
        raise UserError(
            f"{remote.url} has changed since it was mirrored to {directory}; choose another data.mirror, or bring the "
            "copy up to date with data.overwrite=true"
        )
    manifest = _receive_manifest(remote, content, directory / INCOMING)
    _check_settings(manifest, remote.url, settings, tokenizer)
    if changed:
        log.warning("%s has changed: bringing %s up to date", remote.url, directory)
        (directory / MANIFEST).unlink()  # first, so that what is left behind is never taken for whole
        shutil.rmtree(directory / TOKENIZER, ignore_errors=True)
    was_whole = known is not None and not changed
    _fetch_shards(remote, directory, list(_missing_shards(manifest, directory, was_whole=was_whole)))
    if not (directory / TOKENIZER).exists():
        _fetch_tokenizer(remote, manifest, directory / INCOMING / TOKENIZER)
        (directory / INCOMING / TOKENIZER).rename(directory / TOKENIZER)
    (directory / INCOMING / MANIFEST).replace(directory / MANIFEST)
    (directory / INCOMING).rmdir()
    return manifest


def _receive_manifest(remote: Remote, content: bytes, incoming: Path) -> Manifest:
    """The manifest, kept aside until what it names is there."""
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    write_bytes(incoming / MANIFEST, content)
    try:
        manifest = load_manifest(incoming)
    except UserError as error:
        raise UserError(f"{remote.url}/{MANIFEST} is not a manifest; give the URL of prepared data") from error
    assert manifest is not None, "it was just written"
    for split, shards in manifest.splits.items():
        for name in (split, *(shard.name for shard in shards.shards)):
            if not _is_plain(name):
                raise UserError(f"{remote.url}/{MANIFEST} names {name!r}, no file of its folder; do not use it")
    return manifest


def _is_plain(name: str) -> bool:
    """Whether it names something in a folder itself, and not elsewhere on this machine."""
    return Path(name).name == name and not name.startswith(".")


def _check_settings(
    manifest: Manifest, place: str | Path, settings: PackingSettings, tokenizer: TokenizerSource
) -> None:
    """Refuse data of other rows or of another tokenizer. The corpus they were made from need not be here."""
    wanted = {"format": FORMAT, **asdict(settings), "tokenizer": tokenizer.describe()}
    found = {name: manifest.settings.get(name) for name in wanted}
    found["tokenizer"] = {name: manifest.settings["tokenizer"].get(name) for name in wanted["tokenizer"]}
    differences = list(differing_settings(found, wanted))
    if differences:
        raise UserError(
            f"{place} was prepared otherwise: {'; '.join(differences)}; set data and tokenizer to what is there"
        )


def _missing_shards(manifest: Manifest, directory: Path, *, was_whole: bool) -> Iterator[tuple[str, ShardRecord]]:
    """Split and record of each shard to fetch. In a copy that was whole, a file that is there needs no checking."""
    for split, shards in manifest.splits.items():
        (directory / split).mkdir(exist_ok=True)
        for record in shards.shards:
            path = directory / split / record.name
            if not path.exists() or not (was_whole or _sha256(path) == record.sha256):
                yield split, record


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_shards(remote: Remote, directory: Path, missing: Sequence[tuple[str, ShardRecord]]) -> None:
    if missing:
        log.info("fetching %d shards of %s to %s", len(missing), remote.url, directory)
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        running = [pool.submit(_fetch_shard, remote, split, record, directory / split) for split, record in missing]
        try:
            for fetched in running:
                fetched.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch_shard(remote: Remote, split: str, record: ShardRecord, folder: Path) -> None:
    path = folder / record.name
    partial = path.with_name(path.name + ".partial")
    remote.fetch(f"{split}/{record.name}", partial)
    found = _sha256(partial)
    if found != record.sha256:
        partial.unlink()
        raise UserError(
            f"{remote.url}/{split}/{record.name} is damaged (its sha256 is {found[:12]}.., not {record.sha256[:12]}.. "
            "as in the manifest); run again, or put the data there anew"
        )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _fetch_tokenizer(remote: Remote, manifest: Manifest, folder: Path) -> None:
    folder.mkdir()
    required, *others = TOKENIZER_FILES
    listed = remote.names(TOKENIZER)
    if required in listed:
        for name in listed:
            remote.fetch(f"{TOKENIZER}/{name}", folder / name)
    else:  # the server does not list files
        remote.fetch(f"{TOKENIZER}/{required}", folder / required)
        for name in others:
            with suppress(NotThere, Forbidden):
                remote.fetch(f"{TOKENIZER}/{name}", folder / name)
    found, kept = describe(load_tokenizer(folder)), manifest.settings["tokenizer"]
    if differences := list(differing_settings({name: kept.get(name) for name in found}, found)):
        raise UserError(
            f"{remote.url}/{TOKENIZER} is not what the data were prepared with: {'; '.join(differences)}; put the data "
            "there anew"
        )
