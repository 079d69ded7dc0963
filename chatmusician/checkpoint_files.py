"""Reading the files of checkpoints, with no copy in memory, no code in them, and nothing of the training framework.

A file is mapped into memory: of many ranks on a machine, each loads the pages that it takes weights from. torch's files
carry a CRC-32 of each tensor but are read without a look at it; `flaw` compares them.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError, first_line


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What the local file ``path`` holds, its tensors mapped from it. It can hold no code.

    Raises:
        UserError: it is not a whole checkpoint.
    """
    import torch

    try:
        if not zipfile.is_zipfile(path):  # torch would go on to read it as a file of its older kind
            raise UserError(f"the checkpoint {path} is not whole; use another one")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"the checkpoint {path} cannot be read ({first_line(error)}); use another one") from error
    return content


def flaw(path: Path) -> str | None:
    """What keeps a checkpoint from being gone on with: a half-written or damaged file; None if it is whole.

    Reads all of it.
    """
    try:
        read_checkpoint(path)
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except UserError as error:
        return str(error)
    except (OSError, zipfile.BadZipFile) as error:
        return f"the checkpoint {path} cannot be read ({first_line(error)}); use another one"
    return None if damaged is None else f"the checkpoint {path} is damaged (checksum of {damaged}); use another one"
