"""``@command("train")``: what every entry point does around its body.

::

    from chatmusician.config.entry import command

    @command("train")
    def main(cfg):
        "Train a model."
        from chatmusician.training import run  # heavy imports only once the config is accepted

        return run(cfg)

    if __name__ == "__main__":
        main()

The config is composed and validated before the output directory is made and before the body imports anything; under
``--multirun`` one config for every option swept over is validated before the first job starts, and each job's own
before its body. A job on several processes, and each job of a sweep, runs in processes of its own
(`chatmusician.config.launching`, `chatmusician.config.sweep_jobs`). What the body returns is the sweeper's objective.
Flags are Hydra's (``--cfg``, ``-m``, ``--config-dir``); ``--help`` is ours. How failures are shown:
`chatmusician.config.failures`.

Hydra is driven by its ``Hydra`` class and not by ``hydra.main``, which prints tracebacks of its own and exits before a
caller can see the exception; the flags that only inform are handed to ``hydra.main``.
"""

import argparse
import copy
import functools
import inspect
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.config.failures import reported, terminable
from chatmusician.config.outcomes import JobFailedError, adopt, is_started, tell_value
from chatmusician.config.ranks import own_rank, shared_run_dir, world_size
from chatmusician.config.sweep_jobs import Program, SweepJob, quoted, run_sweep
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

Body = Callable[["DictConfig"], Any]


def command(
    config_name: str, *, processes: "Callable[[DictConfig], int] | None" = None
) -> Callable[[Body], Callable[..., Any]]:
    """Makes a function of a config the entry point whose primary config is ``config_name``.

    Without arguments the decorated function reads ``sys.argv``, runs the job or jobs and exits with a status on
    failure.
    With a config as argument it validates it and returns what the body returns.

    Args:
        config_name: of the file in the folder of configs.
        processes: how many processes a job takes, from its config; the default is one.
    """

    def decorate(body: Body) -> Callable[..., Any]:
        @functools.wraps(body)
        def main(cfg: "DictConfig | None" = None) -> Any:
            if cfg is not None:
                return _job(body)(cfg)
            adopt()
            with reported(), terminable():
                _run_command(body, config_name, Program(arguments=_own_arguments(), processes=processes))
            return None

        return main

    return decorate


def _job(body: Body) -> Body:
    """The body behind a last look at its config."""

    @functools.wraps(body)
    def job(cfg: "DictConfig") -> Any:
        from chatmusician.config.validation import validate

        validate(cfg)
        for library in ("torch", "gguf"):  # Hydra logs at INFO, where these tell of caches and byte orders
            logging.getLogger(library).setLevel(logging.WARNING)
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it, and it warns of kernels it lacks
        return body(cfg)

    return job


def _launched(program: Program, body: Body) -> Body:
    """The body in this process, or the program in several."""

    def job(cfg: "DictConfig") -> Any:
        if program.count(cfg) == 1:
            value = _job(body)(cfg)
            tell_value(value)
            return value
        outcome = program.run(cfg)
        if outcome.status:
            raise JobFailedError(outcome.text, outcome.status)
        return outcome.value

    return job


def _own_arguments() -> tuple[str, ...]:
    """What Python was given to run this program."""
    specification = sys.modules["__main__"].__spec__
    return (str(Path(sys.argv[0]).resolve()),) if specification is None else ("-m", specification.name)


def _run_command(body: Body, config_name: str, program: Program) -> None:
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra

    from chatmusician.config.composition import search_path
    from chatmusician.config.paths import conf_dir
    from chatmusician.config.recipes import commands_served, register_recipes

    parser = get_args_parser()
    parser.prog = f"python -m chatmusician.{config_name}"
    arguments = parser.parse_args()
    conf = Path(arguments.config_path).resolve() if arguments.config_path else conf_dir()
    config_name = arguments.config_name or config_name
    register_recipes(commands=commands_served(conf, config_name))
    if arguments.hydra_help or arguments.info or arguments.shell_completion or arguments.experimental_rerun:
        _inform(body, conf, config_name)
        return
    version.setbase("1.3")
    config_dir = Path(arguments.config_dir) if arguments.config_dir else None
    hydra = Hydra.create_main_hydra2(task_name=config_name, config_search_path=search_path(conf, config_dir))
    try:
        _dispatch(hydra, arguments, config_name, body, program)
    finally:
        GlobalHydra.instance().clear()


def _inform(body: Body, conf: Path, config_name: str) -> None:
    import hydra

    hydra.main(config_path=str(conf), config_name=config_name, version_base="1.3")(body)()


def _dispatch(hydra: Any, arguments: argparse.Namespace, config_name: str, body: Body, program: Program) -> None:
    from hydra.types import RunMode

    from chatmusician.config.composition import accept
    from chatmusician.config.help import help_text

    loader, overrides = hydra.config_loader, list(arguments.overrides)
    if arguments.help:
        print(help_text(loader, config_name, _description(body)))
    elif arguments.cfg:
        _show(hydra, accept(loader, config_name, overrides, allow_missing=True), arguments)
    elif arguments.multirun:
        _run_many(hydra, config_name, overrides, program)
    else:
        cfg = accept(loader, config_name, overrides)
        if cfg.hydra.mode == RunMode.MULTIRUN:  # a recipe may ask for a sweep by itself, with hydra.sweeper.params
            _run_many(hydra, config_name, overrides, program)
        else:
            _refuse_launch(cfg)
            _run_one(hydra, cfg, config_name, _launched(program, body))


def _refuse_launch(cfg: "DictConfig") -> None:
    """A launcher is for the jobs of a sweep; without one it would be passed over."""
    option = cfg.hydra.runtime.choices.get("launch")
    if option is not None and not is_started():
        raise UserError(f"launch={option} is about the jobs of a sweep: add -m (one job is a sweep of one)")


def _run_many(hydra: Any, config_name: str, overrides: list[str], program: Program) -> None:
    from chatmusician.config.sweeps import accept_sweep

    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")  # what a job checkpoints for
    logging.getLogger("alembic").setLevel(logging.WARNING)  # Optuna's: it tells of its plugins
    accepted = accept_sweep(hydra.config_loader, config_name, overrides)
    job = SweepJob(program=program, swept=accepted.swept, owner=os.getpid(), machine=socket.gethostname())
    pinned = [f"hydra.sweep.dir={quoted(accepted.folder)}", "hydra.mode=MULTIRUN"]
    run_sweep(lambda: hydra.multirun(config_name, job, [*overrides, *pinned]), Path(accepted.folder))


def _show(hydra: Any, cfg: "DictConfig", arguments: argparse.Namespace) -> None:
    """Prints an accepted config as ``--cfg``, ``--package`` and ``--resolve`` ask."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import Container, OmegaConf

    HydraConfig.instance().set_config(copy.deepcopy(cfg))
    OmegaConf.set_readonly(cfg.hydra, None)
    shown: Any = hydra.get_sanitized_cfg(cfg, arguments.cfg)
    if arguments.package not in (None, "_global_"):
        shown = OmegaConf.select(shown, arguments.package)
        if shown is None:
            raise UserError(f"--package {arguments.package}: the config has no such key, or it is null")
    if isinstance(shown, Container):
        print(OmegaConf.to_yaml(shown, resolve=arguments.resolve), end="")
    else:
        print(shown)


def _run_one(hydra: Any, cfg: "DictConfig", config_name: str, job: Body) -> None:
    """What ``Hydra.run`` does with an accepted config, raising the job's error without printing a line of its own."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.utils import JobStatus, configure_log, run_job
    from hydra.types import HydraContext, RunMode

    cfg.hydra.mode = RunMode.RUN
    _write_as_one(cfg)
    if own_rank() == 0:
        configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    callbacks = Callbacks(cfg)
    callbacks.on_run_start(config=cfg, config_name=config_name)
    finished = run_job(
        hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=callbacks),
        task_function=job,
        config=cfg,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
        configure_logging=own_rank() == 0,
    )
    callbacks.on_run_end(config=cfg, config_name=config_name, job_return=finished)
    if finished.status is JobStatus.FAILED:
        raise finished._return_value


def _write_as_one(cfg: "DictConfig") -> None:
    """All ranks write to one folder, and rank 0 alone what Hydra writes there."""
    from omegaconf import OmegaConf

    if world_size() == 1:
        return
    written = str(OmegaConf.to_container(cfg.hydra.run, resolve=False))
    cfg.hydra.run.dir = shared_run_dir(str(Path(cfg.hydra.run.dir).absolute()), settled="${now:" not in written)
    if own_rank() != 0:
        cfg.hydra.output_subdir = None


def _description(body: Body) -> str:
    """The docstring of the entry function, else of its module."""
    module = sys.modules[body.__module__]
    return inspect.getdoc(body) or inspect.cleandoc(module.__doc__ or "")
