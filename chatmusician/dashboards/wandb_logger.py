"""A run in Weights & Biases: online where there is a key, else on disk, to be sent later.

    settings and environment -> mode -> wandb.init -> metrics, tables, artifacts -> `finished_runs` -> "wandb sync ..."

Training does not depend on it: where the service does not answer at the start the run is kept on disk, and uploading is
done by a process of wandb's own, which gives up `FINISH_SECONDS` after the end; what was not sent is still on disk.
"""

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.wandb import WandbLogger

from chatmusician.dashboards.wandb_runs import chosen_mode, run_id, sweep_name
from chatmusician.errors import UserError

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
INIT_SECONDS = 30.0
"""Allowed to the service to answer at the start."""
FINISH_SECONDS = 300.0
"""Allowed to what is still to be sent at the end."""
DATA_DIR = "WANDB_DATA_DIR"
"""Where wandb keeps files of artifacts, pictures and sounds of tables among them, until they are sent."""


class WandbRun(WandbLogger):
    """Lightning's logger, with the run of a folder.

    Args:
        save_dir: the run's folder.
        project: where runs are gathered.
        name: of the run.
        entity: user or team; None for the user's default.
        mode: ``auto`` is online where there is a key and nothing else is asked for (WANDB_MODE, ``wandb offline``),
            else offline; ``online``, ``offline`` and ``disabled`` are what wandb calls so.
        group: what runs are shown together with; None for the jobs of a sweep with each other, others alone.
        tags: labels.
        resume: the checkpoint that training goes on from; with one, a run that was begun in this folder goes on too.

    Raises:
        UserError: there is no such mode.
    """

    def __init__(
        self,
        *,
        save_dir: str,
        project: str,
        name: str,
        entity: str | None = None,
        mode: str = "auto",
        group: str | None = None,
        tags: Sequence[str] = (),
        resume: str | None = None,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"logger.wandb.mode={mode}: use one of {', '.join(MODES)}")
        super().__init__(name=name, project=project, save_dir=save_dir)
        self._folder, self._entity, self._mode = Path(save_dir), entity, mode
        self._group = group or sweep_name(self._folder)
        self._tags, self._resumes = list(tags), resume is not None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of wandb, begun when it is first asked for; on ranks but the first, what does nothing."""
        if self._experiment is None:
            self._experiment = self._begin()
            self._experiment.define_metric("trainer/global_step")
            self._experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return self._experiment

    def _begin(self) -> Any:
        """A run; kept on disk where the service cannot be reached or refuses."""
        import wandb

        mode, own_id = chosen_mode(self._mode), run_id(self._folder, resumes=self._resumes)
        try:
            run = self._init(mode, own_id)
        except (wandb.errors.Error, OSError) as error:  # no answer, a key that is refused, a project of others
            if mode == "offline":
                raise UserError(f"logger.wandb: a run cannot be kept in {self._folder} ({error})") from error
            log.warning("Weights & Biases: %s; the run is kept on disk", str(error).partition("\n")[0])
            wandb.teardown()  # the attempt has the id until its service is gone
            run = self._init("offline", own_id)
        if run.settings.mode == "online":
            log.info("Weights & Biases: %s", run.url)
        return run

    def _init(self, mode: str, own_id: str) -> Any:
        import wandb

        os.environ.setdefault(DATA_DIR, str((self._folder / "wandb" / "data").absolute()))  # not the user's home
        return wandb.init(
            project=self._project,
            name=self._name,
            entity=self._entity,
            group=self._group,
            tags=self._tags or None,
            dir=str(self._folder),
            id=own_id,
            resume="allow" if mode == "online" else None,
            mode=mode,  # type: ignore[arg-type]  # one of MODES
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS
            ),
        )


@contextmanager
def finished_runs() -> Iterator[None]:
    """End the run of wandb that was begun inside, so that the next job of a sweep has one of its own.

    Says how a run is sent that was kept on disk. Without wandb nothing is imported and nothing happens.
    """
    failed, chosen = 1, DATA_DIR in os.environ
    try:
        yield
        failed = 0
    finally:
        _finish(exit_code=failed)
        if not chosen:
            os.environ.pop(DATA_DIR, None)


def _finish(*, exit_code: int) -> None:
    wandb = sys.modules.get("wandb")
    run = None if wandb is None else wandb.run
    if run is None:
        return
    settings = run.settings
    run.finish(exit_code=exit_code)
    if settings.mode == "offline":
        folder = shlex.quote(os.path.relpath(settings.sync_dir))
        log.info("Weights & Biases: the run is on disk; with a key (wandb login) it is sent by: wandb sync %s", folder)
