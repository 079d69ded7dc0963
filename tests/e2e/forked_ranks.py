"""The training command on two ranks, again and again: forked from a process that has imported all, which takes seconds.

python forked_ranks.py FOLDER

FOLDER has a corpus ``tunes.abc``. What happened goes to ``FOLDER/happened.json``; the runs' folders are named below.
The ranks are started as torchrun would, by the same environment variables.
"""

import json
import os
import random
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepspeed
import lightning
import peft
import transformers
from commands import small_corpus

import chatmusician.training
from chatmusician.resumption import step_of
from chatmusician.train import main

IMPORTED = (chatmusician.training, deepspeed, lightning, peft, transformers)
RANKS = 2
KILLS = 10
LAST = "checkpoints/last.ckpt"
STEPS = 120


def overrides(run: str, *more: str) -> list[str]:
    """LoRA on a new model of a few thousand weights, ZeRO-2, two micro-batches a step and rank, epochs of 76 steps."""
    return [
        "+experiment=nano_pretrain",
        "optim=paper",
        "lora=nano",
        "trainer=zero2_cpu",
        f"trainer.devices={RANKS}",
        f"trainer.max_steps={STEPS}",
        "trainer.val_check_interval=40",
        "+trainer.enable_progress_bar=false",
        "model.optimizer.lr=1e-3",
        "model.lora.r=4",
        "model.backbone.layers=2",
        "model.backbone.hidden_size=32",
        "model.backbone.heads=2",
        "model.backbone.intermediate_size=64",
        "data.tokenizer.vocab_size=320",
        "data.corpus.corpora.0.keys=2",
        *small_corpus(""),
        "data.global_batch=4",
        "data.micro_batch=1",
        "callbacks.checkpoint.every_n_steps=2",
        "callbacks.progress=null",
        "callbacks.merge_and_export.check=false",
        "resume=auto",
        f"hydra.run.dir={run}",
        *more,
    ]


def start(run: str, *more: str, file_bytes: int | None = None) -> list[int]:
    """The process ids of two ranks; what they say goes to ``RUN/said-by-N.txt``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Path(run).mkdir(exist_ok=True)
    pids = []
    for rank in range(RANKS):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _become(rank, port, Path(run))
                if file_bytes is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
                sys.argv = ["train", *overrides(run, *more)]
                main()
                status = 0
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 1
            except BaseException:  # noqa: BLE001 -- the child must not go on as its parent
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        pids.append(pid)
    return pids


def _become(rank: int, port: int, run: Path) -> None:
    says = os.open(run / f"said-by-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(says, 1)
    os.dup2(says, 2)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        GROUP_RANK="0",
        WORLD_SIZE=str(RANKS),
        LOCAL_WORLD_SIZE=str(RANKS),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_RUN_ID="forked",
    )


def ended(pids: list[int]) -> list[int]:
    """The statuses of processes, minus the signal for those that a signal ended."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def written(path: Path, times: int, pids: list[int]) -> None:
    """Wait until a file has been replaced so many times, or a process has ended."""
    seen: set[int] = set()
    while len(seen) <= times and all(_runs(pid) for pid in pids):
        seen.add(path.stat().st_mtime_ns if path.exists() else 0)
        signal.sigtimedwait({signal.SIGCHLD}, 0.002)  # leaves the processor to the ranks


def _runs(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def kill_again_and_again() -> list[dict[str, Any]]:
    """Ten times one of the ranks is killed, wherever it is; then they go on to the end."""
    draw = random.Random(11)
    path = Path("killed") / LAST
    kills = []
    for _ in range(KILLS):
        pids = start("killed")
        written(path, draw.randint(1, 4), pids)
        signal.sigtimedwait({signal.SIGCHLD}, draw.random() / 10)  # somewhere in a step, or in the next
        victim = draw.randrange(RANKS)
        os.kill(pids[victim], signal.SIGKILL)
        kills.append({"victim": victim, "statuses": ended(pids), "step": step_of(path)})
    return [*kills, {"statuses": ended(start("killed"))}]


def ask_to_stop(run: str, number: int, *more: str, of_rank: int, until: Callable[[list[int]], None]) -> dict[str, Any]:
    """One rank is asked; then both go on to the end."""
    pids = start(run, *more)
    until(pids)
    os.kill(pids[of_rank], number)
    statuses = ended(pids)
    step = step_of(Path(run) / LAST)
    return {"statuses": statuses, "step": step, "then": ended(start(run, *more))}


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    asked = Path("asked") / LAST
    happened = {
        "undisturbed": ended(start("undisturbed")),
        "killed": kill_again_and_again(),
        "asked": ask_to_stop("asked", signal.SIGTERM, of_rank=1, until=lambda pids: written(asked, 4, pids)),
        "infinite": ended(start("infinite", "model.optimizer.lr=1e18", "model.schedule.warmup=0")),
        "full": [
            ended(start("full", "trainer.max_steps=4")),
            ended(start("full", "trainer.max_steps=8", file_bytes=20_000)),
        ],
    }
    Path("happened.json").write_text(json.dumps(happened))
