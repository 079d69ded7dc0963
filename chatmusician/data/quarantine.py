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
        self._files = 0
        self._rejected_rows = 0
        self._lost_files: set[str] = set()
        self._first: dict[bool, Rejection] = {}
        """The first of the rows, and of the files that were lost (True)."""
        self._partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> "Quarantine":
        # Half a surrogate pair, in the name of a file or a column, becomes an escape: the lines are JSON nonetheless.
        self._file = self._partial.open("w", encoding="utf-8", errors="backslashreplace")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if error is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    def add(self, rejections: Iterable[Rejection], *, rows: int = 0, files: int = 0) -> None:
        """Take what was rejected of some rows and files. A file that was lost in several places is lost once."""
        self.rows += rows
        self._files += files
        for rejection in rejections:
            self.rejected += 1
            self._first.setdefault(rejection.lost_file, rejection)
            if rejection.lost_file:
                self._lost_files.add(rejection.file)
            else:
                self._rejected_rows += 1
            fields = {"file": rejection.file, "line": rejection.line, "reason": rejection.reason}
            self._file.write(json.dumps(fields, ensure_ascii=False) + "\n")

    def check(self, most: float) -> None:
        """Refuse a corpus of which too much was rejected.

        Raises:
            UserError: more than the share ``most`` of the rows, or of the files.
        """
        for lost_file, name, rejected, seen in (
            (True, "files", len(self._lost_files), self._files),
            (False, "rows", self._rejected_rows, self.rows),
        ):
            if rejected > most * seen:
                raise UserError(
                    f"{rejected} of {seen} {name} were rejected, more than data.corpus.max_rejected={most} allows; the "
                    f"first: {_said(self._first[lost_file])}; mend what {self.path} lists, or raise that share"
                )


def _said(rejection: Rejection) -> str:
    line = f", line {rejection.line}" if rejection.line else ""
    return f"{rejection.file}{line}: {rejection.reason}"
