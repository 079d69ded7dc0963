"""A small command whose jobs may take several processes, and go wrong in the ways that training does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

MAIN = '''
"""Play together."""
import os
import signal
import sys
import time
from pathlib import Path

from chatmusician.config.entry import command
from chatmusician.config.ranks import own_rank, trainer_processes

RANK = own_rank()


def wait_for(condition):
    while not condition():
        time.sleep(0.02)


def is_there(rank):
    try:
        os.kill(int(Path(f"pid-{rank}").read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def gather(size):
    Path(f"pid-{RANK}.partial").write_text(str(os.getpid()))
    Path(f"pid-{RANK}.partial").rename(f"pid-{RANK}")
    wait_for(lambda: all(Path(f"pid-{rank}").exists() for rank in range(size)))
    print(f"rank {RANK} plays", flush=True)


@command("play", processes=trainer_processes)
def main(cfg):
    """Play together until somebody stops."""
    import json
    import logging

    from hydra.core.hydra_config import HydraConfig

    from chatmusician.errors import UserError

    folder = Path(HydraConfig.get().runtime.output_dir)
    logging.getLogger("play").info("rank %d", RANK)
    if cfg.do == "stop when asked":
        signal.signal(signal.SIGUSR1, lambda *_: Path(f"asked-{RANK}").touch())
    if cfg.do == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if cfg.do == "wait":
        try:
            gather(cfg.trainer.devices)
            if Path("ready").is_fifo():
                Path("ready").write_text(str(os.getpid()))
            wait_for(lambda: False)
        finally:
            Path(f"left-{RANK}").touch()
    if cfg.do is not None:
        gather(cfg.trainer.devices)
    if cfg.do == "stop when asked":
        wait_for(Path(f"asked-{RANK}").exists)
        if RANK == 0:  # still saves when the other has gone
            wait_for(lambda: not is_there(1))
            Path("saved").touch()
        sys.exit(85)
    if cfg.do in ("kill", "deaf") and RANK == cfg.who:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.do == "deaf":
        wait_for(lambda: False)
    if cfg.do == "mistake" and RANK == cfg.who:
        raise UserError(f"tempo {cfg.tempo} in {RANK}: give a positive number")
    if cfg.do == "fault" and RANK == cfg.who:
        raise RuntimeError("a string broke")
    if cfg.do in ("kill", "mistake", "fault"):
        wait_for(lambda: not is_there(cfg.who))
        raise RuntimeError("Connection closed by peer")
    if cfg.do == "all":
        raise UserError("nobody has a score: give one")
    if cfg.tempo == 13:
        raise UserError("tempo 13: choose another")
    if cfg.tempo == 666:
        os.kill(os.getpid(), signal.SIGKILL)
    if RANK == 0:
        (folder / "metrics.json").write_text(json.dumps({"beats": cfg.tempo * 2.5, "key": cfg.key, "steps": {"n": 3}}))
        return cfg.tempo * 2.5


if __name__ == "__main__":
    main()
'''

CONFIG = """\
# python -m chatmusician.play tempo=60
tempo: 60 # beats a minute
key: C
do: null # what happens
who: 1 # to whom
name: play
trainer:
  devices: 1
  num_nodes: 1
  accelerator: cpu

hydra:
  run:
    dir: out/${name}-${now:%f}
  sweep:
    dir: sweep
"""


def write_command(folder: Path) -> None:
    (folder / "main.py").write_text(MAIN)
    (folder / "conf").mkdir()
    (folder / "conf" / "play.yaml").write_text(CONFIG)


def start(folder: Path, *arguments: str, python: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
    """Start the command; ``python`` goes before it, as in ``-m torch.distributed.run``."""
    return subprocess.Popen(
        [sys.executable, *python, "main.py", "--config-path", str(folder / "conf"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def await_line(process: subprocess.Popen[str], beginning: str) -> None:
    """Read what a command prints until a line begins so."""
    assert process.stdout is not None
    for printed in process.stdout:
        if printed.startswith(beginning):
            return
    raise AssertionError(f"ended without {beginning!r}")


def run(
    folder: Path, *arguments: str, python: tuple[str, ...] = (), **environment: str
) -> tuple[int, list[str], list[str]]:
    """Its status, and the lines of both outputs."""
    with start(folder, *arguments, python=python, **environment) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, out.splitlines(), err.splitlines()
