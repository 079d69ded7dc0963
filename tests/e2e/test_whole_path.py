"""The whole path on a small corpus, as real commands: prepare, pretrain, fine-tune, merge, evaluate, compose."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from commands import environment, run, small_corpus


def test_the_pipeline_gathers_the_figures_of_its_stages(workplace: Path) -> None:
    metrics = json.loads((workplace / "out" / "metrics.json").read_text())
    assert metrics["pretrain"]["optimizer_steps"] == 30
    assert metrics["sft"]["trained_parameters"] < metrics["sft"]["parameters"]
    assert metrics["pretrain"]["val/bits_per_byte"] < 6
    assert set(metrics["seconds"]) == {"pretrain", "sft"}


def test_finished_stages_are_not_run_again(workplace: Path) -> None:
    before = (workplace / "out" / "sft" / "metrics.json").stat().st_mtime_ns
    done = run(workplace, "pipeline", "+experiment=small", "--config-dir", "recipes")
    assert done.stdout.count("done before") == 2
    assert (workplace / "out" / "sft" / "metrics.json").stat().st_mtime_ns == before


def test_the_export_is_what_adapter_and_base_compute(workplace: Path) -> None:
    report = json.loads((workplace / "out" / "export.json").read_text())
    assert report["agreement"]["same_argmax"] == 1.0
    merged = run(workplace, "merge", "base=out/pretrain/model", "adapter=out/adapter", "output=again")
    assert "again" in merged.stdout
    one, other = (workplace / name / "model.safetensors" for name in ("again", "out/model"))
    assert one.read_bytes() == other.read_bytes()


def test_generation_answers_or_says_why_not(workplace: Path) -> None:
    settings = ("model=out/model", "generation=nano", "generation.max_new_tokens=60", "hydra.run.dir=played")
    done = run(workplace, "generate", *settings, "render=true", "prompt=Write a reel in G.")
    tune = workplace / "played" / "tune.abc"
    assert tune.exists() or "answer" in done.stderr or "tune" in done.stderr, done.stderr


def test_ctrl_c_leaves_nothing_half_written(workplace: Path) -> None:
    command = [sys.executable, "-m", "chatmusician.train", "+experiment=nano_sft", "data.directory=out/data/sft"]
    overrides = ["model.backbone.path=out/pretrain/model", "hydra.run.dir=stopped", "trainer.max_steps=10000"]
    process = subprocess.Popen(
        [*command, *overrides, *small_corpus("+"), "data.global_batch=4", "data.micro_batch=4"],
        cwd=workplace,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Epoch 0" in line or "train/loss" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    stopped = workplace / "stopped"
    assert not (stopped / "model").exists()
    assert not (stopped / "metrics.json").exists()
    assert not list(stopped.rglob("*.partial"))


def test_an_unwritable_output_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, "train", "+experiment=nano_pretrain", "hydra.run.dir=file/run", status=1)
    assert "Traceback" not in done.stderr
    assert "file/run" in done.stderr


def test_a_missing_corpus_is_one_line(tmp_path: Path) -> None:
    settings = ("+experiment=nano_pretrain", "corpus=folk", "data.corpus.collections=[nowhere]")
    done = run(tmp_path, "prepare", *settings, status=1)
    assert done.stderr.strip().splitlines()[-1].startswith("error: no ABC file in the collection 'nowhere'")
    assert "Traceback" not in done.stderr
