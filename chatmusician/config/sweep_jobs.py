"""A job of a sweep, under any launcher: in processes of its own, and its failure is its own too.

The sweep's process, a worker of joblib or a task of submitit calls `SweepJob`, which runs the command again with the
job's overrides and waits (`chatmusician.config.launching`). A job that fails, runs out of memory or crashes is told at
once, recorded in its folder (`chatmusician.reporting.sweeps`) and does not end the sweep; in the end all failed
jobs are listed, and the status is 1.
"""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from chatmusician.config.failures import INTERRUPTED, TERMINATED
from chatmusician.config.launching import FORWARDED, Outcome, run_job_processes
from chatmusician.config.outcomes import JobFailedError
from chatmusician.config.ranks import own_rank
from chatmusician.errors import STOPPED as STOPPED_AND_SAVED
from chatmusician.errors import UserError, first_line
from chatmusician.reporting.sweeps import (
    DONE,
    FAILED,
    RECORD,
    RUNNING,
    STOPPED,
    SUMMARY,
    JobRecord,
    read_records,
    write_plots,
    write_record,
    write_summary,
)

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from omegaconf import DictConfig

_OF_THE_JOB = ("hydra.job.", "hydra.job_logging", "hydra/job_logging", "hydra.verbose")
"""Overrides of Hydra's own node that its processes need; the others are about where and how jobs run."""
_LISTED_AT_MOST = 20
STOP = ".stop"
"""The file in a sweep's folder that ends its jobs."""
_ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")
"""How the last line of a traceback begins."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """How to run a command again, and how many processes a job of it takes."""

    arguments: tuple[str, ...]
    """What Python is given: ``-m chatmusician.train``, or a script."""
    processes: "Callable[[DictConfig], int] | None"
    """From the job's config, or None for one."""

    def count(self, cfg: "DictConfig") -> int:
        """The processes to start for a job; raises UserError where they cannot be."""
        return 1 if self.processes is None else self.processes(cfg)

    def run(self, cfg: "DictConfig", *, shown: bool = True, wanted: Callable[[], bool] = lambda: True) -> Outcome:
        """Run the job that Hydra has prepared in ``cfg``'s count of processes; see `run_job_processes`."""
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        command = [*self.arguments, *_arguments(hydra)]
        cwd = Path(hydra.runtime.cwd)
        return run_job_processes(command, count=self.count(cfg), folder=folder, cwd=cwd, shown=shown, wanted=wanted)


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """The task that a launcher calls, in this process or another, for each job of a sweep."""

    program: Program
    swept: tuple[str, ...]
    """The keys that vary."""
    owner: int
    """The process of the sweep, and its machine."""
    machine: str

    def __call__(self, cfg: "DictConfig") -> Any:
        """Run the job; its objective, or a text that is no number if it failed.

        Optuna's sweeper marks a trial as failed for such a text; it would end the sweep for an exception or for NaN.

        Raises:
            JobFailedError: never for the job's failure; only if this process itself was asked to stop.
        """
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        sweep = Path(hydra.runtime.cwd) / hydra.sweep.dir
        record = _record(hydra, self.swept)
        if not self._is_wanted(sweep):
            return f"{STOPPED}: the sweep was stopped before this job began"
        own = os.getpid() == self.owner
        first = own_rank() == 0  # with several tasks for a job, SLURM calls this in each
        if first:
            write_record(sweep, record)
        started = time.monotonic()
        try:
            outcome = self.program.run(cfg, shown=own, wanted=lambda: self._is_wanted(sweep))
        except UserError as error:
            outcome = Outcome(status=1, text=f"error: {error}\n")
        ended = _ended(record, outcome, time.monotonic() - started)
        if first:
            write_record(sweep, ended)
            write_summary(sweep)
            _tell(ended, outcome.text)
        if outcome.stopped and own:
            raise _Stopped(outcome)
        return ended.objective if ended.status == DONE else f"{ended.status}: {ended.error}"

    def _is_wanted(self, sweep: Path) -> bool:
        """Whether the sweep still runs: nobody has stopped it, and if it is on this machine, its process is there."""
        if (sweep / STOP).exists():
            return False
        return socket.gethostname() != self.machine or _is_there(self.owner)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


class _Stopped(BaseException):
    """The sweep was asked to stop: passes through Hydra, which catches exceptions of jobs."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def run_sweep(sweep: Callable[[], Any], folder: Path) -> None:
    """Run all jobs, then make the table and the plots of what they left, also if they were interrupted.

    Args:
        sweep: runs the jobs.
        folder: the sweep's.

    Raises:
        UserError: jobs failed.
        JobFailedError: the sweep was stopped, with the status of the job that was.
    """
    for stale in [folder / STOP, *folder.rglob(RECORD)]:  # of a sweep before in the same folder
        stale.unlink(missing_ok=True)
    problem: Exception | None = None
    finished = False
    records: list[JobRecord] = []
    try:
        with _stoppable(folder) as asked:
            sweep()
        finished = not asked
    except _Stopped as stopped:
        raise JobFailedError(stopped.outcome.text, stopped.outcome.status or TERMINATED) from None
    except Exception as error:  # noqa: BLE001 -- any launcher's or sweeper's, raised below; jobs that ran are told of first
        problem, finished = error, True
    finally:
        if folder.is_dir():
            records = _close(folder, finished=finished)
    if asked:
        interrupted = asked[0] == signal.SIGINT
        raise JobFailedError("interrupted\n" * interrupted, INTERRUPTED if interrupted else TERMINATED)
    failed = [record for record in records if record.status != DONE]
    if failed:
        raise UserError(_failures(failed, len(records), folder, problem))
    if problem is not None:
        raise problem


@contextmanager
def _stoppable(folder: Path) -> Iterator[list[int]]:
    """The signals that ask the sweep to stop: jobs elsewhere see the file and end as they do when they are asked.

    A second one ends this process at once.
    """
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            sys.exit(128 + number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STOP).touch()

    numbers = [number for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _close(folder: Path, *, finished: bool) -> list[JobRecord]:
    """The table and the plots; a job that did not come to record its end died, or was interrupted with the sweep."""
    for record in read_records(folder):
        if record.status == RUNNING:
            status, error = (FAILED, "the process that ran it died") if finished else (STOPPED, "")
            write_record(folder, replace(record, status=status, error=error))
    records = write_summary(folder)
    write_plots(folder)
    return records


def _failures(failed: Sequence[JobRecord], count: int, folder: Path, problem: Exception | None) -> str:
    """The failed jobs, one a line behind the first."""
    lines = [f"{len(failed)} of {count} jobs failed; {folder / SUMMARY} has all of them"]
    lines += [f"  {_name(record)}: {record.error}" for record in failed[:_LISTED_AT_MOST]]
    lines += ["  ..."] * (len(failed) > _LISTED_AT_MOST)
    if problem is not None:
        lines.append(f"  and the sweep ended with: {first_line(problem)}")
    return "\n".join(lines)


def _record(hydra: "HydraConf", swept: Sequence[str]) -> JobRecord:
    pairs = [text.partition("=") for text in hydra.overrides.task if not text.startswith("~")]
    return JobRecord(
        number=hydra.job.num,
        folder=os.path.relpath(hydra.runtime.output_dir, Path(hydra.runtime.cwd) / hydra.sweep.dir),
        values={key.lstrip("+"): value for key, _, value in pairs},
        swept=swept,
    )


def _ended(record: JobRecord, outcome: Outcome, seconds: float) -> JobRecord:
    lines = outcome.text.strip().splitlines()
    error = ""
    if lines:
        error = next((line for line in reversed(lines) if _ERROR.match(line)), lines[0]).removeprefix("error: ")
    status = FAILED
    if outcome.status == 0:
        status = DONE
    elif outcome.stopped or outcome.status in (INTERRUPTED, TERMINATED, STOPPED_AND_SAVED):
        status, error = STOPPED, error or f"stopped with status {outcome.status}"
    return replace(record, status=status, objective=outcome.value, seconds=round(seconds, 1), error=error)


def _tell(record: JobRecord, text: str) -> None:
    if record.status == DONE:
        print(f"{_name(record)}: {record.objective}, {record.seconds:.0f} s", flush=True)
    else:
        print(f"{_name(record)}: {text or record.error}".rstrip(), file=sys.stderr, flush=True)


def _name(record: JobRecord) -> str:
    values = ", ".join(f"{key}={record.values[key]}" for key in record.swept if key in record.values)
    return f"job {record.number} ({values})" if values else f"job {record.number}"


def _arguments(hydra: "HydraConf") -> list[str]:
    """The command line that composes a job's config again, for a run into its folder."""
    sources = {source.provider: source.path for source in hydra.runtime.config_sources}
    places = ["--config-path", sources["main"], "--config-name", str(hydra.job.config_name)]
    if "command-line" in sources:
        places += ["--config-dir", sources["command-line"]]
    kept = [text for text in hydra.overrides.hydra if text.lstrip("+~").startswith(_OF_THE_JOB)]
    pinned = [f"hydra.run.dir={quoted(hydra.runtime.output_dir)}", "hydra.output_subdir=null", "hydra.mode=RUN"]
    if not OmegaConf.is_missing(hydra.job, "num"):
        pinned.append(f"hydra.job.num={hydra.job.num}")
    return [*places, *hydra.overrides.task, *kept, *pinned]


def quoted(value: str) -> str:
    """A text as a value of an override, whatever it has in it."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + "\\'" * bool(found[2]), value)
    return f"'{escaped}'"  # a backslash is an ordinary character except before a quote
