"""A folder of a user's own becomes prepared data by one command."""

import json
from pathlib import Path

from commands import run, write_tunes
from score_files import attributes, midi, musicxml, mxl, note


def test_a_folder_of_tunes_is_prepared(tmp_path: Path) -> None:
    folder = tmp_path / "my" / "tunes"
    (folder / "more").mkdir(parents=True)
    write_tunes(folder / "reels.abc", count=20)
    (folder / "more" / "air.mid").write_bytes(midi([(67, 0, 2), (71, 2, 2), (74, 4, 4), (67, 8, 4)], key="G"))
    (folder / "more" / "song.mxl").write_bytes(mxl(musicxml([attributes() + note("G", 4, 8), note("C", 4, 8)])))
    (folder / "more" / "broken.mid").write_bytes(b"MThd")
    settings = ["data.tokenizer.vocab_size=320", "data.directory=data", "data.seq_len=512"]
    run(tmp_path, "prepare", "corpus=my_tunes", "data.corpus.collections=[my/tunes]", *settings)
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    sources = manifest["summary"]["train"]["sources"]
    assert {"text_to_score", "form_extraction", "key_identification", "rhythm_identification"} <= set(sources)
    assert sources["harmonisation_synthetic"]["documents"] > 20
    (rejected,) = map(json.loads, (tmp_path / "data" / "quarantine.jsonl").read_text().splitlines())
    assert rejected["file"] == "my/tunes/more/broken.mid"
    assert rejected["reason"].startswith("midi2abc cannot read it")


def test_the_folder_has_to_be_named(tmp_path: Path) -> None:
    refused = run(tmp_path, "prepare", "corpus=my_tunes", status=2)
    assert "data.corpus.collections" in refused.stderr
    assert "a value is required" in refused.stderr
