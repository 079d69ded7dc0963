"""One training run with every dashboard, without a network; what they were told is read back from their files."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import run, write_tunes
from run_files import items, records
from taught_models import teach_texts

from chatmusician.data.prompts import format_answer, format_question

WALTZ = "X:2\nT:The Test Waltz\nM:3/4\nL:1/4\nK:G\nGBd | g3 | G2 |]"
ANSWERS = {"Compose a waltz.": f"Here it is:\n{WALTZ}", "What is a fifth?": "Seven semitones, as from C to G."}
PROMPTS = json.dumps(list(ANSWERS))
SETTINGS = [
    "+experiment=nano_sft",
    "name=taught",
    "hydra.run.dir=out",
    "model.backbone.path=model",
    "data.directory=data",
    "+data.corpus.corpora.0.collections=[tunes.abc]",
    "+data.corpus.corpora.1.collections=[tunes.abc]",
    "+data.corpus.corpora.0.held_out=0.1",
    "+data.corpus.corpora.1.held_out=0.1",
    "data.global_batch=4",
    "data.micro_batch=2",
    "trainer.max_steps=4",
    "trainer.val_check_interval=4",
    "+trainer.limit_val_batches=4",
    "trainer.log_every_n_steps=1",
    "model.optimizer.lr=1e-9",
    "model.optimizer.adam_lr=1e-9",
    "logger=wandb",
    "callbacks.throughput.window=4",
    "callbacks.memory.window=4",
    "callbacks.samples.every_n_steps=2",
    "callbacks.samples.decoding.temperature=0",
    "callbacks.samples.max_new_tokens=60",
    f"callbacks.samples.prompts={PROMPTS}",
    "callbacks.merge_and_export.compose=null",
    "callbacks.merge_and_export.check=false",
]
KEYS = {
    "train/loss",
    "val/bits_per_byte",
    "optim/lr",
    "optim/gradient_norm",
    "throughput/trained_tokens_per_s",
    "throughput/tokens_per_s",
    "throughput/step_s",
    "throughput/data_wait",
    "throughput/mfu",
    "memory/process",
    "samples/parse_rate",
    "samples/bar_rate",
    "samples/seconds",
    "export/bytes",
    "export/seconds",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a model that knows a waltz by heart was fine-tuned for four steps, too small to forget it."""
    folder = tmp_path_factory.mktemp("dashboards")
    teach_texts([format_question(asked) + format_answer(said) for asked, said in ANSWERS.items()], folder / "model")
    write_tunes(folder / "tunes.abc", count=30)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(folder / "no-key"))
        done = run(folder, "train", *SETTINGS)
    assert "with a key (wandb login) it is sent by: wandb sync out/wandb/offline-run-" in done.stdout + done.stderr
    yield folder


@pytest.fixture(scope="module")
def sync_folder(place: Path) -> Path:
    (folder,) = (place / "out" / "wandb").glob("offline-run-*")
    return folder


@pytest.fixture(scope="module")
def told(sync_folder: Path) -> list[Any]:
    """The records of the run file."""
    (path,) = sync_folder.glob("run-*.wandb")
    return list(records(path))


@pytest.fixture(scope="module")
def history(told: list[Any]) -> list[dict[str, Any]]:
    return [items(record.history.item) for record in told if record.WhichOneof("record_type") == "history"]


def by_source(keys: set[str]) -> set[str]:
    return {key for key in keys if key.startswith("val/bits_per_byte/")}


def test_every_key_is_in_the_run_file(history: list[dict[str, Any]]) -> None:
    keys = {key for row in history for key in row}
    assert keys >= KEYS
    assert "val/bits_per_byte/text_to_score" in by_source(keys)
    steps = [row["trainer/global_step"] for row in history if "optim/gradient_norm" in row]
    assert steps == [0, 1, 2, 3]
    assert all(row["optim/gradient_norm"] > 0 for row in history if "optim/gradient_norm" in row)
    (bits,) = (row["val/bits_per_byte"] for row in history if "val/bits_per_byte" in row)
    assert bits > 0


def test_the_learning_rate_is_that_of_the_step_taken(history: list[dict[str, Any]]) -> None:
    """Four steps without a warm-up, which is 5% of them: cosine from 1 to 0.02 at 0, 1/4, 2/4 and 3/4."""
    rates = [row["optim/lr"] for row in history if "optim/lr" in row]
    assert [rate / 1e-9 for rate in rates] == pytest.approx([1.0, 0.85648, 0.51, 0.16352], abs=1e-4)


def test_the_table_has_texts_pictures_and_sounds(history: list[dict[str, Any]], sync_folder: Path) -> None:
    found = [row["samples/answers"] for row in history if "samples/answers" in row]
    assert [table["_type"] for table in found] == ["table-file", "table-file"]
    table = json.loads((sync_folder / "files" / found[-1]["path"]).read_text())
    waltz, fifth = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert (waltz["step"], waltz["prompt"]) == (4, "Compose a waltz.")
    assert (waltz["answer"], waltz["abc"]) == (ANSWERS["Compose a waltz."], WALTZ)
    assert (waltz["parses"], waltz["bars"], waltz["bars_right"]) == (True, 3, 2)
    assert waltz["problems"] == "1 of 3 bars do not add up"
    assert (fifth["abc"], fifth["score"], fifth["sound"], fifth["parses"]) == (None, None, None, False)
    (*_, last) = (row for row in history if "samples/parse_rate" in row)
    assert (last["samples/parse_rate"], last["samples/bar_rate"]) == pytest.approx((0.5, 2 / 3))


def test_files_of_the_table_wait_in_the_runs_folder_to_be_sent(told: list[Any], place: Path) -> None:
    found = [record.artifact for record in told if record.WhichOneof("record_type") == "artifact"]
    tables = [artifact for artifact in found if artifact.type == "run_table"]
    assert len(tables) == 2
    for artifact in tables:
        begins = {Path(entry.path).suffix: Path(entry.local_path) for entry in artifact.manifest.contents}
        assert begins.keys() == {".json", ".png", ".wav"}
        assert all(path.is_relative_to(place / "out" / "wandb" / "data") for path in begins.values())
        assert begins[".png"].read_bytes()[:4] == b"\x89PNG"
        assert begins[".wav"].read_bytes()[:4] == b"RIFF"


def test_the_run_knows_its_config_code_and_data(told: list[Any], place: Path) -> None:
    record = json.loads((place / "out" / "run.json").read_text())
    config: dict[str, Any] = {}
    for kind, update in ((record.WhichOneof("record_type"), record) for record in told):
        config |= items(update.run.config.update if kind == "run" else update.config.update)
    assert config["record"]["data"]["fingerprint"] == record["data"]["fingerprint"]
    assert config["model"]["optimizer"]["lr"] == record["config"]["model"]["optimizer"]["lr"] == 1e-9
    assert config["record"]["code"] == record["code"]
    assert record["data"]["summary"]["train"]["documents"] > 0
    assert {"python", "torch", "lightning"} <= record["versions"].keys()
    (begun,) = (record.run for record in told if record.WhichOneof("record_type") == "run")
    assert (begun.project, begun.display_name, begun.run_group) == ("chatmusician", "taught", "")
    assert begun.run_id == (place / "out" / "wandb" / "run-id.txt").read_text().strip()


def test_data_and_export_are_artifacts_with_lineage(told: list[Any], place: Path) -> None:
    found = [record.artifact for record in told if record.WhichOneof("record_type") == "artifact"]
    data, model = (artifact for artifact in found if artifact.type != "run_table")
    assert (data.type, data.name, data.use_after_commit) == ("dataset", "data-data", True)
    record = json.loads((place / "out" / "run.json").read_text())
    assert json.loads(data.metadata)["fingerprint"] == record["data"]["fingerprint"]
    assert [entry.path for entry in data.manifest.contents] == ["manifest.json"]
    assert (model.type, model.name, model.use_after_commit) == ("model", "model-nano_sft", False)
    entries = {entry.path: entry for entry in model.manifest.contents}
    assert {"README.md", "export.json", "adapter/adapter_model.safetensors"} <= entries.keys()
    weights = "model/model.safetensors"
    assert entries[weights].ref == (place / "out" / weights).as_uri()
    assert (place / entries["adapter/adapter_model.safetensors"].local_path).is_relative_to(place / "out" / "adapter")
    assert json.loads(model.metadata)["step"] == 4


def test_csv_has_a_column_for_every_key(place: Path) -> None:
    with (place / "out" / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() >= KEYS
    assert by_source(set(rows[0]))
    assert [row["step"] for row in rows if row["optim/gradient_norm"]] == ["0", "1", "2", "3"]


def test_tensorboard_has_figures_texts_pictures_and_sounds(place: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulators.EventAccumulator(str(place / "out" / "tensorboard"), size_guidance={"images": 0, "audio": 0})
    tags = found.Reload().Tags()
    assert set(tags["scalars"]) >= KEYS
    assert tags["images"] == ["samples/1/score"]
    assert tags["audio"] == ["samples/1/sound"]
    assert "samples/2/text_summary" in tags["tensors"]
    assert [event.step for event in found.Images("samples/1/score")] == [2, 4]


def test_samples_are_files_too(place: Path) -> None:
    folder = place / "out" / "samples" / "step-000004"
    assert sorted(path.name for path in folder.iterdir()) == ["1.abc", "1.png", "1.wav", "answers.jsonl"]
    assert (folder / "1.abc").read_text() == WALTZ
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 2
