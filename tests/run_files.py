"""Reading a run file of wandb: records of its protocol in the log format of LevelDB."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 32768
HEADER = struct.Struct("<IHB")  # checksum, length, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """The protocol's records, in their order; wandb 0.31 has no reader in Python, only its messages."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    place, whole = 7, b""
    while place + HEADER.size <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER.size:  # what is left of a block has no room for a header
            place += left
            continue
        _, length, kind = HEADER.unpack_from(content, place)
        place += HEADER.size
        whole += content[place : place + length]
        place += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""
        else:
            assert kind in (FIRST, MIDDLE)


def items(entries: Any) -> dict[str, Any]:
    """Key to value of history or config; what is under a nested key is a dictionary."""
    found: dict[str, Any] = {}
    for entry in entries:
        *outer, key = entry.nested_key or [entry.key]
        place = found
        for name in outer:
            place = place.setdefault(name, {})
        place[key] = json.loads(entry.value_json)
    return found
