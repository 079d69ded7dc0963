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
before its body. What the body returns is the sweeper's objective. Flags are Hydra's (``--cfg``, ``-m``,
``--config-dir``); ``--help`` is ours. How failures are shown: `chatmusician.config.failures`.

Hydra is driven by its ``Hydra`` class and not by ``hydra.main``, which prints tracebacks of its own and exits before a
caller can see the exception; the flags that only inform are handed to ``hydra.main``.
"""

import argparse
import copy
import functools
import inspect
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatmusician.config.failures import reported, terminable
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

Body = Callable[["DictConfig"], Any]


def command(config_name: str) -> Callable[[Body], Callable[..., Any]]:
    """Makes a function of a config the entry point whose primary config is ``config_name``.

    Without arguments the decorated function reads ``sys.argv``, runs the job or jobs and exits with a status on
    failure.
    With a config as argument it validates it and returns what the body returns.
    """

    def decorate(body: Body) -> Callable[..., Any]:
        @functools.wraps(body)
        def main(cfg: "DictConfig | None" = None) -> Any:
            if cfg is not None:
                return _job(body)(cfg)
            with reported(), terminable():
                _run_command(body, config_name)
            return None

        return main

    return decorate


def _job(body: Body) -> Body:
    """The task that Hydra and its launchers call."""

    @functools.wraps(body)
    def job(cfg: "DictConfig") -> Any:
        from chatmusician.config.validation import validate

        validate(cfg)
        for library in ("torch", "gguf"):  # Hydra logs at INFO, where these tell of caches and byte orders
            logging.getLogger(library).setLevel(logging.WARNING)
        return body(cfg)

    return job


def _run_command(body: Body, config_name: str) -> None:
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
        _dispatch(hydra, arguments, config_name, body)
    finally:
        GlobalHydra.instance().clear()


def _inform(body: Body, conf: Path, config_name: str) -> None:
    import hydra

    hydra.main(config_path=str(conf), config_name=config_name, version_base="1.3")(body)()


def _dispatch(hydra: Any, arguments: argparse.Namespace, config_name: str, body: Body) -> None:
    from chatmusician.config.composition import accept
    from chatmusician.config.help import help_text

    loader, overrides = hydra.config_loader, list(arguments.overrides)
    if arguments.help:
        print(help_text(loader, config_name, _description(body)))
    elif arguments.cfg:
        _show(hydra, accept(loader, config_name, overrides, allow_missing=True), arguments)
    elif arguments.multirun:
        _run_many(hydra, config_name, overrides, _job(body))
    else:
        _run_one_or_many(hydra, accept(loader, config_name, overrides), config_name, overrides, _job(body))


def _run_one_or_many(hydra: Any, cfg: "DictConfig", config_name: str, overrides: list[str], job: Body) -> None:
    """A recipe may ask for a sweep by itself: ``hydra.mode: MULTIRUN`` with ``hydra.sweeper.params``."""
    from hydra.types import RunMode

    if cfg.hydra.mode == RunMode.MULTIRUN:
        _run_many(hydra, config_name, overrides, job)
    else:
        _run_one(hydra, cfg, config_name, job)


def _run_many(hydra: Any, config_name: str, overrides: list[str], job: Body) -> None:
    from chatmusician.config.sweeps import accept_sweep

    accept_sweep(hydra.config_loader, config_name, overrides)
    hydra.multirun(config_name, job, [*overrides, "hydra.mode=MULTIRUN"])


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
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    callbacks = Callbacks(cfg)
    callbacks.on_run_start(config=cfg, config_name=config_name)
    finished = run_job(
        hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=callbacks),
        task_function=job,
        config=cfg,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
    )
    callbacks.on_run_end(config=cfg, config_name=config_name, job_return=finished)
    if finished.status is JobStatus.FAILED:
        raise finished._return_value


def _description(body: Body) -> str:
    """The docstring of the entry function, else of its module."""
    module = sys.modules[body.__module__]
    return inspect.getdoc(body) or inspect.cleandoc(module.__doc__ or "")
