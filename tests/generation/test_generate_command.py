"""The command as a user runs it: a process, its output, its exit status."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chatmusician.errors import UserError
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.loading import load_generator
from chatmusician.generation.prompt_files import AnswerFile
from chatmusician.generation.run import Session, answer_file

COMMAND = [sys.executable, "-m", "chatmusician.generate"]
ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def generate(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, input=stdin, capture_output=True, text=True, env=environment(), check=False
    )


def open_session(model_folder: Path) -> Session:
    return Session(
        generator=load_generator(model=str(model_folder), device="cpu"),
        decoding=Decoding(max_new_tokens=12, temperature=1.0),
        template=True,
        render_dir=None,
    )


def test_failed_rows_of_a_file_are_listed_at_the_end(model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    answers = AnswerFile(path, ["Compose a reel, in D", "???", "A jig", "long " * 300])
    with pytest.raises(UserError) as failed:
        answer_file(open_session(model_folder), answers)
    assert str(failed.value).startswith("2 of 4 prompts failed: 1: prompt '???' has no letters in it")
    assert "; 3: prompt 'long long" in str(failed.value)
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert [row["tokens"] for row in rows] == [12, 0, 12, 0]
    assert rows[0]["problems"][0] == "cut after 12 tokens by max_new_tokens=12"


def test_a_stopped_file_is_gone_on_with(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = open_session(model_folder)
    prompts = ["Compose a reel", "A jig", "A waltz"]
    path = tmp_path / "answers.jsonl"
    answer_file(session, AnswerFile(path, prompts))
    whole = path.read_bytes().splitlines(keepends=True)

    path.write_bytes(whole[0] + whole[2][:30])
    answer_file(session, AnswerFile(path, prompts))
    assert "has 1 of 3 answers; going on with the others" in capsys.readouterr().err
    again = path.read_bytes().splitlines(keepends=True)
    assert again[0] == whole[0]
    assert [json.loads(line)["answer"] for line in again] == [json.loads(line)["answer"] for line in whole]


def test_questions_from_a_pipe_end_at_an_empty_line(model_folder: Path, tmp_path: Path) -> None:
    run = generate(
        tmp_path,
        f"model={model_folder}",
        "generation.max_new_tokens=15",
        stdin="Compose a reel\n???\nCompose a jig\n\nnever asked\n",
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("cut after 15 tokens") == 2
    assert "prompt '???' has no letters in it" in run.stderr
    assert "Traceback" not in run.stderr


def test_ctrl_c_ends_a_conversation_quietly(model_folder: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, f"model={model_folder}", "generation.max_new_tokens=11"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write("Compose a reel\n")
    process.stdin.flush()
    while "cut after" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize("prompt", ["???", ""])
def test_a_prompt_without_letters_is_one_line(tmp_path: Path, prompt: str) -> None:
    run = generate(tmp_path, "model=nowhere", f"prompt={prompt}")
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "has no letters in it: say in words what to compose or explain" in run.stderr


def test_without_a_model_the_message_says_how_to_get_one(tmp_path: Path) -> None:
    run = generate(tmp_path, "prompt=Compose a reel")
    assert run.returncode == 1
    assert run.stderr == (
        "error: no model was given and outputs/ holds no export: give model=FOLDER, or train one with "
        "python -m chatmusician.train\n"
    )


def test_the_newest_export_is_used_and_its_tune_is_rendered(score_model_folder: Path, tmp_path: Path) -> None:
    export = tmp_path / "outputs" / "train" / "run" / "model"
    export.parent.mkdir(parents=True)
    export.symlink_to(score_model_folder)
    run = generate(
        tmp_path,
        "prompt=Compose a reel",
        "render=true",
        "generation=nano",
        "generation.temperature=0",
        "hydra.run.dir=out",
    )
    assert run.returncode == 0, run.stderr
    assert "model=outputs/train/run/model (the newest export)" in run.stderr
    for suffix in ("abc", "svg", "png", "pdf", "musicxml", "mid", "wav"):
        assert (tmp_path / "out" / f"tune.{suffix}").stat().st_size > 0, run.stdout + run.stderr
        assert f"tune.{suffix}" in run.stdout
