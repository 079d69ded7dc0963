"""Child: try what a confined child should not be able to do, and print as JSON what it could not.

Arguments: a port of this machine on which somebody listens, and a file that is none of the child's business.
"""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(port: str, file: str) -> None:
    """Print an object: ``network``, ``files`` and ``processes``, each true where the child is cut off."""
    attempts = {
        "network": lambda: socket.create_connection(("127.0.0.1", int(port))).close(),
        "files": Path(file).read_bytes,
        "processes": fork,
    }
    print(json.dumps({name: not succeeds(attempt) for name, attempt in attempts.items()}))


def succeeds(attempt: Callable[[], Any]) -> bool:
    """Whether something can be done."""
    try:
        attempt()
    except OSError:
        return False
    return True


def fork() -> None:
    """Start a process."""
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
