"""The one exception that is meant for the person at the keyboard.

Every command prints a `UserError` as a single line on standard error and exits with a non-zero status; any other
exception is a fault of ours and keeps its traceback. See `chatmusician.config.entry`.
"""

STOPPED = 85
"""The exit status of training that was asked to stop and can go on: ``resume=auto``."""


class UserError(Exception):
    """Something the user can mend. The message is one line: the value seen, where it came from, and the remedy."""


class Stopped(SystemExit):
    """Training was asked to stop, and its checkpoint is whole. Not an error: no failure is shown."""

    def __init__(self) -> None:
        super().__init__(STOPPED)


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
