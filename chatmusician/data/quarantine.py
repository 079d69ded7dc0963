"""What was left out of a corpus, a line each in ``quarantine.jsonl``: file, line, reason."""

import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from chatmusician.data.units import Rejection
from chatmusician.errors import UserError


class Quarantine:
    """Writes rejections as they come, and counts them; the file appears whole when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        """Rows of files that were looked at."""
        self.rejected = 0
        self._rejected_rows = 0
        self._lost_files = 0
        self._files = 0
        self._first = ""
        self._partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> "Quarantine":
        self._file = self._partial.open("w", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink()

    def add(self, rejections: Iterable[Rejection], *, rows: int = 0, files: int = 0) -> None:
        """Take what was rejected of some rows and files."""
        self.rows += rows
        self._files += files
        for rejection in rejections:
            self.rejected += 1
            self._rejected_rows += not rejection.lost_file
            self._lost_files += rejection.lost_file
            self._first = self._first or f"{rejection.file}, line {rejection.line}: {rejection.reason}"
            fields = {"file": rejection.file, "line": rejection.line, "reason": rejection.reason}
            self._file.write(json.dumps(fields, ensure_ascii=False) + "\n")

    def check(self, most: float) -> None:
        """Refuse a corpus of which too much was rejected.

        Raises:
            UserError: more than the share ``most`` of the rows, or of the files.
        """
        for name, rejected, seen in (
            ("files", self._lost_files, self._files),
            ("rows", self._rejected_rows, self.rows),
        ):
            if rejected > most * seen:
                raise UserError(
                    f"{rejected} of {seen} {name} were rejected, more than data.corpus.max_rejected={most} allows, the "
                    f"first in {self._first}; mend what {self.path} lists, or raise that share"
                )
