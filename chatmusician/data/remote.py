"""A folder at a URL, read through fsspec, whose failures are one line each.

fsspec knows the protocols (``s3``, ``gs``, ``hf``, ``https``, ``file``, ...), some with a package of their own. Every
one raises exceptions of its own kind; here they become three, that callers can tell apart.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatmusician.errors import UserError

CONNECT_SECONDS = 30
SILENT_SECONDS = 60
"""How long an HTTP server may send nothing. A whole file may take any time; aiohttp would stop after five minutes."""


class NotThere(UserError):
    """The folder is reached, and has no such file."""


class Unreachable(UserError):
    """Nothing can be said of the file: no network, no answer, a failure of the server."""


class Forbidden(Unreachable):
    """It may not be read with the credentials at hand. Some stores say so of what is not there, too."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A folder at a URL.

    Raises:
        UserError: by its methods, one of the three above.
    """

    url: str
    filesystem: Any
    root: str

    @classmethod
    def at(cls, url: str) -> "Remote":
        """Open a URL; nothing is read yet.

        Raises:
            UserError: its protocol is not known, or the package for it is not installed.
        """
        from fsspec.core import url_to_fs

        url = url.rstrip("/")
        try:
            filesystem, root = url_to_fs(url, **_options(url))
        except (ValueError, ImportError) as error:
            raise UserError(f"data.directory={url!r}: {_reason(error)}; use a protocol that fsspec reads") from error
        return cls(url=url, filesystem=filesystem, root=root)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        try:
            content: bytes = self.filesystem.cat_file(f"{self.root}/{name}")
        except Exception as error:
            raise self._failure(name, error) from error
        return content

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to this machine."""
        try:
            self.filesystem.get_file(f"{self.root}/{name}", str(path))
        except Exception as error:
            raise self._failure(name, error) from error

    def names(self, folder: str) -> list[str]:
        """The files of a folder in it; none where the server does not list them."""
        try:
            entries = self.filesystem.ls(f"{self.root}/{folder}", detail=True)
        except Exception:  # noqa: BLE001 -- each filesystem raises its own
            return []
        names = (entry["name"].rpartition("/")[2] for entry in entries if entry["type"] == "file")
        return sorted(name for name in names if re.fullmatch(r"\w[\w.-]*", name))

    def _failure(self, name: str, error: Exception) -> UserError:
        place = f"{self.url}/{name}"
        if isinstance(error, FileNotFoundError):
            return NotThere(f"{place} is not there; data.directory has to be the URL of whole prepared data")
        kind = Forbidden if isinstance(error, PermissionError) or _status(error) in (401, 403) else Unreachable
        return kind(
            f"{place} cannot be fetched ({_reason(error)}); check data.directory, network and disk, and run again"
        )


def _options(url: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        return {}
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
    return {"client_kwargs": {"timeout": timeout}}


def _status(error: Exception) -> int | None:
    """The HTTP status that aiohttp's exceptions carry."""
    return getattr(error, "status", None)


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
