"""How a command ends: one line on standard error and an exit status that scripts can tell apart.

======  =======================================================================
status  meaning
======  =======================================================================
0       done
1       the user can mend it (`UserError`, a file that is missing or cannot be
        written, a full disk, a package that is not installed): one line; or
        a fault of ours: a traceback without Hydra's frames
2       the config was refused, or the arguments are not ones of the command
85      training was asked to stop (SIGTERM, SIGUSR1) and its checkpoint is
        whole: the same command with ``resume=auto`` goes on
130     interrupted from the keyboard
143     terminated (SIGTERM), after the clean-up of every ``finally``; of
        training, before its first step or by a second signal
======  =======================================================================

``HYDRA_FULL_ERROR=1`` shows the whole traceback instead.
"""

import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from chatmusician.config.outcomes import JobFailedError, tell_error
from chatmusician.config.problems import ConfigError
from chatmusician.errors import UserError

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


@contextmanager
def reported() -> Iterator[None]:
    """Turns whatever the block raises into a line on standard error and SystemExit with a status as above."""
    try:
        yield
    except KeyboardInterrupt:
        _exit("interrupted", INTERRUPTED)
    except SystemExit as stop:
        _exit_as_stopped(stop)
    except BrokenPipeError:  # the reader of our output left, as in --cfg job | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except JobFailedError as failed:  # told by a process of the job, as below
        tell_error(failed.text)
        sys.exit(failed.status)
    except Exception as error:  # noqa: BLE001 -- told, and passed on as a status
        _report(error)


@contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM raise SystemExit in the main thread, so that ``finally`` blocks run; restores the old handler.

    A body that wants to end at a time of its own choosing (a training step) sets its own handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)


def _exit_as_stopped(stop: SystemExit) -> None:
    """Passes an exit on; what Lightning raises for Ctrl+C and for SIGTERM gets the status that shells expect."""
    if isinstance(stop.__context__, KeyboardInterrupt):
        _exit("interrupted", INTERRUPTED)
    if type(stop) is not SystemExit and stop.code is None:  # lightning's SIGTERMException
        sys.exit(TERMINATED)
    raise stop


def _report(error: Exception) -> None:
    from hydra.errors import HydraException, InstantiationException

    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        tell_error(traceback.format_exc())
        sys.exit(1)
    place = ""
    while isinstance(error, InstantiationException | ImportError) and isinstance(error.__cause__, Exception):
        node = re.search(r"full_key: (\S+)", str(error))
        place = f" (in {node[1]})" if node else place
        error = error.__cause__
    if isinstance(error, ConfigError):
        _exit(f"error: {error}", 2)
    if isinstance(error, UserError):
        _exit(f"error: {error}{place}", 1)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        _exit(f"error: {where}{error.strerror}{place}", 1)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("chatmusician"):
        _exit(f"error: the package '{error.name}' is not installed{place}: install it or choose another option", 1)
    if isinstance(error, HydraException):
        _exit("error: " + "; ".join(line.strip() for line in str(error).splitlines() if line.strip()), 2)
    tell_error("".join(_without_hydra(error)))
    sys.exit(1)


def _without_hydra(error: Exception) -> Iterator[str]:
    """A fault's traceback, without the frames of Hydra, OmegaConf and this package."""
    report = traceback.TracebackException.from_exception(error)
    hidden = re.compile(r"[/\\](hydra|omegaconf|chatmusician[/\\]config)[/\\]")
    report.stack = traceback.StackSummary.from_list([f for f in report.stack if not hidden.search(f.filename)])
    yield from report.format(chain=error.__cause__ is not None)


def _exit(line: str, status: int) -> None:
    tell_error(line + "\n")
    sys.exit(status)
