"""The evaluate command: parts, going on, the same figures whatever the batch size, comparison, listening."""

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from commands import environment, run, small_corpus

QUESTIONS = Path(__file__).parents[1] / "evaluation" / "music_theory_questions.jsonl"
SMALL = (
    "evaluation=paper",
    "parts.mmlu=null",
    "parts.tunes.tasks.collections=[tunes.abc]",
    "parts.tunes.tasks.held_out=0.1",
    "parts.tunes.samples=12",
    "decoding.max_new_tokens=40",
    "parts.theory_quiz.questions=33",
    "parts.theory_quiz.writing=false",
    f"parts.music_theory_bench.source={QUESTIONS}",
    "parts.music_theory_bench.shots=[0]",
    "parts.music_theory_bench.shuffles=2",
    "parts.music_theory_bench.writing=false",
)
PARTS = ("tunes", "text", "theory_quiz", "music_theory_bench")


@pytest.fixture(scope="module")
def evaluated(workplace: Path) -> Path:
    """An evaluation of the pipeline's model."""
    run(workplace, "evaluate", *SMALL, "model=out/model", "hydra.run.dir=figures")
    return workplace / "figures"


def test_every_part_leaves_its_figures_and_records(evaluated: Path) -> None:
    for part in PARTS:
        content = json.loads((evaluated / "parts" / f"{part}.json").read_text())
        assert content["figures"], part
        assert (evaluated / "parts" / f"{part}.jsonl").read_text().count("\n") > 0
    figures = json.loads((evaluated / "metrics.json").read_text())
    records = [json.loads(line) for line in (evaluated / "parts" / "tunes.jsonl").read_text().splitlines()]
    assert len(records) == 12
    composed = [record for record in records if "bars" in record]
    assert figures["parse_rate"] == pytest.approx(
        sum(record["parses"] for record in composed) / len(composed), abs=1e-4
    )
    assert 0 < figures["bits_per_byte"] < 8
    quiz = [json.loads(line) for line in (evaluated / "parts" / "theory_quiz.jsonl").read_text().splitlines()]
    assert figures["theory_quiz/all"] == pytest.approx(sum(record["right"] for record in quiz) / 33, abs=1e-4)
    results = json.loads((evaluated / "results.json").read_text())
    assert results["figures"]["parse_rate"]["real"] == 1.0
    assert {"music_theory_bench/0-shot/knowledge", "music_theory_bench/0-shot/reasoning"} <= results["figures"].keys()


def test_the_report_shows_every_part(evaluated: Path) -> None:
    markdown, page = ((evaluated / name).read_text() for name in ("report.md", "report.html"))
    for title in ("Composed tunes", "Held-out tunes", "Theory quiz", "MusicTheoryBench", "Gallery"):
        assert f"## {title}" in markdown
        assert f"<h2>{title}</h2>" in page
    assert "| ChatMusician-Base | zero-shot | 0.402 | 0.271 |" in markdown
    assert (evaluated / "tunes.png").read_bytes()[:4] == b"\x89PNG"


def test_finished_parts_are_not_done_again_and_others_are(workplace: Path, evaluated: Path) -> None:
    before = {name: (evaluated / name).read_bytes() for name in ("results.json", "report.md")}
    shutil.copytree(evaluated, workplace / "interrupted")
    (workplace / "interrupted" / "parts" / "text.json").unlink()
    done = run(workplace, "evaluate", *SMALL, "model=out/model", "hydra.run.dir=interrupted", "batch_size=5")
    assert done.stdout.count("done before") == 3
    assert "[2/4] text\n" in done.stdout
    assert {name: (workplace / "interrupted" / name).read_bytes() for name in before} == before
    other = run(workplace, "evaluate", *SMALL, "model=out/model", "hydra.run.dir=interrupted", "seed=7")
    assert other.stdout.count("done before") == 1  # the text of held-out tunes is not drawn by lot


def test_the_batch_size_changes_no_digit(workplace: Path, evaluated: Path) -> None:
    run(workplace, "evaluate", *SMALL, "model=out/model", "hydra.run.dir=by-threes", "batch_size=3")
    for name in ("results.json", "report.md", "parts/tunes.jsonl"):
        assert (workplace / "by-threes" / name).read_bytes() == (evaluated / name).read_bytes(), name


@pytest.mark.usefixtures("evaluated")
def test_evaluations_are_compared_in_pairs(workplace: Path) -> None:
    run(workplace, "evaluate", *SMALL, "model=out/pretrain/model", "hydra.run.dir=of-pretraining")
    done = run(workplace, "evaluate", "compare=[figures,of-pretraining]", "hydra.run.dir=comparison")
    assert "## Differences from figures" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("| text: bits per byte | of-pretraining |"))
    difference, low, high = (float(cell) for cell in row.split("|")[3:6])
    assert low <= difference <= high
    assert "| figure | figures | of-pretraining | real tunes | of |" in done.stdout
    assert (workplace / "comparison" / "report.html").exists()


def test_a_run_evaluates_its_export_where_asked_to(workplace: Path) -> None:
    asked = ["parts.tunes.tasks.collections=[tunes.abc]", "parts.tunes.tasks.held_out=0.1", "parts.tunes.samples=4"]
    asked.append("decoding.max_new_tokens=20")
    settings = ["+experiment=nano_sft", "data.directory=out/data/sft", "model.backbone.path=out/pretrain/model"]
    settings += ["data.global_batch=4", "data.micro_batch=4", "trainer.max_steps=2", "trainer.val_check_interval=2"]
    export = "callbacks.merge_and_export"
    settings += [f"{export}.compose=null", f"{export}.evaluate={json.dumps(asked)}", "hydra.run.dir=self-evaluated"]
    run(workplace, "train", *settings, *small_corpus("+"))
    folder = workplace / "self-evaluated"
    figure = json.loads((folder / "evaluation" / "metrics.json").read_text())["bits_per_byte"]
    assert json.loads((folder / "export.json").read_text())["figures"]["evaluation/bits_per_byte"] == figure
    assert f"| bits_per_byte | {figure:.4g} |" in (folder / "model" / "README.md").read_text()
    assert str(figure) in (folder / "csv" / "metrics.csv").read_text()


def test_listening_ends_with_the_result(workplace: Path, evaluated: Path) -> None:
    """Two evaluations of the same answers: the tiny model composes too few tunes, so they are written here."""
    for name in ("mine", "theirs"):
        shutil.copytree(evaluated, workplace / name)
        path = workplace / name / "parts" / "tunes.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        composed = [record for record in records if "bars" in record]
        for record in composed:
            record |= {"parses": True, "answer": "X:1\nL:1/8\nM:4/4\nK:G\nG8 | B8 |]\n", "bars": 2, "bars_right": 2}
        path.write_text("".join(json.dumps(record) + "\n" for record in composed))
    process = subprocess.Popen(
        [sys.executable, "-m", "chatmusician.evaluate", "listen=[mine,theirs]", "port=0", "votes=votes.jsonl"],
        cwd=workplace,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[2]
    with urllib.request.urlopen(f"{url}/vote", b"pair=0&preferred=tie", timeout=60) as response:
        assert b"1 of " in response.read()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert out.strip().splitlines()[-1] == "1 votes, none for a side yet"
    assert json.loads((workplace / "votes.jsonl").read_text())["preferred"] == "tie"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=out"], "model=out is not a model folder"),
        (["model=nowhere"], "model=nowhere does not exist"),
        (["listen=[figures]"], "listen=['figures']: give two or more different folders of evaluations"),
        (["compare=[figures]"], "give two or more different folders of evaluations"),
        (["compare=[figures,out]"], "out holds no finished evaluation"),
        (["model=out/model", "parts.tunes.samples=100000"], "samples=100000: the validation split has"),
        (["model=out/model", "batch_size=0"], "batch_size=0 is out of range"),
        (["evaluation=quik"], "quick"),
    ],
)
@pytest.mark.usefixtures("evaluated")
def test_what_cannot_be_evaluated_is_one_line(workplace: Path, overrides: list[str], message: str) -> None:
    settings = ["parts.tunes.tasks.collections=[tunes.abc]", "hydra.run.dir=refused"]
    status = 2 if overrides == ["evaluation=quik"] else 1
    done = run(workplace, "evaluate", *settings, *overrides, status=status)
    assert "Traceback" not in done.stderr
    assert message in done.stderr.splitlines()[-1]
