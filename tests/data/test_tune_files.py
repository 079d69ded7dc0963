"""Folders of a user's own: every format, broken files, other encodings, and what becomes of them."""

import os
from pathlib import Path

import pytest
from score_files import attributes, midi, musicxml, mxl, note
from tiny_corpus import write_tunes

from chatmusician.config.composition import compose
from chatmusician.data.folk import FolkCollections, FolkTasks
from chatmusician.data.instructions import TASKS
from chatmusician.data.tune_files import read_collection
from chatmusician.errors import UserError
from chatmusician.music.checks import check_tune
from chatmusician.music.sanitising import TEXT_CHARACTERS

ABC = "X:1\nT:Fáinne\nR:Jig\nM:6/8\nL:1/8\nK:G\nGAB dBG | AGA G3 |]\n"
SCORE = musicxml([attributes(fifths=1) + "".join(note(step, 4, 2) for step in "GABA"), note("G", 4, 8)])
MELODY = midi([(67, 0, 2), (71, 2, 2), (74, 4, 2), (69, 6, 2), (67, 8, 4)], key="G")


def collected(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The ABC of the tunes of a folder, and the reason for each file that is left out."""
    corpus = FolkCollections(collections=(str(folder),), held_out=0.0001)
    reasons = {rejection.file.removeprefix(f"{folder}/"): rejection.reason for rejection in corpus.rejections()}
    return [tune.abc for tune in corpus.tunes("train")], reasons


def test_folders_are_searched_in_depth_for_every_format(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "one.abc").write_text(ABC)
    (tmp_path / "a" / "two.MusicXML").write_bytes(SCORE)
    (deep / "three.mid").write_bytes(MELODY)
    (deep / ".hidden.abc").write_text(ABC)
    tunes, reasons = collected(tmp_path)
    assert reasons == {}
    assert sorted(tunes) == sorted(
        [
            "X:1\nL:1/8\nM:6/8\nK:G\nGAB dBG | AGA G3 |]\n",
            "X:1\nL:1/8\nM:4/4\nK:G\nG2A2 B2A2 | G8 |\n",
            "X:1\nL:1/8\nM:4/4\nK:G\nG4 B4 | d4 A4 | G8 |]\n",
        ]
    )


@pytest.mark.parametrize("name", ["score.xml", "score.musicxml", "score.mxl", "score.XML"])
def test_scores_by_their_endings(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(mxl(SCORE) if name.endswith("mxl") else SCORE)
    assert collected(tmp_path) == (["X:1\nL:1/8\nM:4/4\nK:G\nG2A2 B2A2 | G8 |\n"], {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_of_abc(tmp_path: Path, encoding: str, line_end: str) -> None:
    (tmp_path / "tunes.abc").write_bytes(ABC.replace("\n", line_end).encode(encoding))
    assert collected(tmp_path) == (["X:1\nL:1/8\nM:6/8\nK:G\nGAB dBG | AGA G3 |]\n"], {})


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.abc", b"", "the file has no tune; one begins at a line X:1"),
        ("words.abc", b"no tune at all\n", "the file has no tune; one begins at a line X:1"),
        ("empty.mid", b"", "midi2abc cannot read it (it gave no reason); export it again"),
        ("empty.xml", b"", "it is not XML (no element found: line 1, column 0); export it again"),
        ("empty.mxl", b"", "it is not XML (no element found: line 1, column 0); export it again"),
        ("page.xml", b"<html/>", "its root is 'html'; export it as partwise MusicXML"),
        (
            "two.mid",
            midi([(60, 0, 4)], [(64, 0, 4)]),
            "it has 2 voices ('', '') and which is the melody cannot be told",
        ),
        (
            "two.xml",
            musicxml([note("C", 4, 8)], [note("C", 4, 8)]),
            "it has 2 parts with notes (of 'Part 1', 'Part 2')",
        ),
        ("notes.txt", b"X:1", "no file of tunes; .abc, .musicxml, .xml, .mxl, .mid, .midi are read"),
        ("tune.mscz", b"PK", "no file of tunes; .abc"),
        ("long.abc", ABC.encode() + b"G3 A3|" * 6000, f"the tune has {len(ABC) + 36000} characters; the most is"),
    ],
)
def test_what_cannot_be_read_is_told_and_the_rest_goes_on(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "z.abc").write_text(ABC)
    tunes, reasons = collected(tmp_path)
    assert len(tunes) == 1
    assert list(reasons) == [name]
    assert reasons[name].startswith(reason)


def test_the_longest_tune_is_the_one_that_tools_take() -> None:
    assert TEXT_CHARACTERS == 30_000


def test_one_tune_in_several_formats_is_one_tune(tmp_path: Path) -> None:
    (tmp_path / "air.abc").write_text(ABC)
    (tmp_path / "air.mid").write_bytes(MELODY)
    (tmp_path / "air.xml").write_bytes(SCORE)
    (tmp_path / "jig.musicxml").write_bytes(SCORE)
    (tmp_path / "jig.midi").write_bytes(MELODY)
    tunes, reasons = collected(tmp_path)
    assert len(tunes) == 2
    assert reasons == {
        "air.mid": "by its name air.abc in another format",
        "air.xml": "by its name air.abc in another format",
        "jig.midi": "by its name jig.musicxml in another format",
    }


def test_a_file_asked_for_by_name_may_have_any_ending(tmp_path: Path) -> None:
    path = tmp_path / "tunes.txt"
    path.write_text(ABC)
    (file,) = read_collection(str(path))
    assert (file.place, file.name, file.fault) == (str(path), "tunes.txt", "")
    assert len(FolkCollections(collections=(str(path),), held_out=0.0001).tunes("train")) == 1


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.abc")
    (tmp_path / "z.abc").write_text(ABC)
    assert collected(tmp_path)[1] == {"pipe.abc": "neither a file nor a folder"}


def test_a_folder_without_tunes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("X:1")
    with pytest.raises(UserError, match=r"no ABC file in the collection '.*', nor MusicXML or MIDI; use a folder"):
        read_collection(str(tmp_path))


def test_origins_name_the_file_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "airs").mkdir()
    write_tunes(tmp_path / "airs" / "some.abc", tunes=3)
    corpus = FolkCollections(collections=(str(tmp_path),), held_out=0.0001)
    assert next(tune.origin for tune in corpus.tunes("train")) == f"{tmp_path}/airs/some.abc:1"
    assert {tune.collection for tune in corpus.tunes("train")} == {tmp_path.name}


@pytest.fixture(scope="module")
def chosen() -> list[str]:
    """The tasks of the configuration for tunes of one's own."""
    composed = compose("prepare", ["corpus=my_tunes", "data.corpus.collections=[my/tunes]"])
    assert composed.data.corpus._target_ == "chatmusician.data.folk.FolkTasks"
    return list(composed.data.corpus.tasks)


def test_own_tunes_are_asked_all_that_one_voice_allows(chosen: list[str]) -> None:
    assert set(chosen) == set(TASKS) - {"bach_style"}


def test_own_tunes_become_questions_whose_answers_are_in_time(tmp_path: Path, chosen: list[str]) -> None:
    write_tunes(tmp_path / "some.abc", tunes=12)
    (tmp_path / "melody.mid").write_bytes(MELODY)
    (tmp_path / "score.mxl").write_bytes(mxl(SCORE))
    corpus = FolkTasks(tasks=chosen, collections=[str(tmp_path)], held_out=0.0001, keys=3)
    examples = list(corpus.examples("train"))
    assert {example.task for example in examples} == set(chosen)
    sources = {document.source for document in corpus.documents("train")}
    assert {"harmonisation_synthetic", "chords_to_music_synthetic"} <= sources
    for example in examples:
        if example.answer.startswith("X:"):
            check = check_tune(example.answer)
            assert check.parses
            assert not check.wrong_bars


def test_fine_tuning_on_own_tunes_composes() -> None:
    composed = compose("train", ["+experiment=nano_sft", "corpus=my_tunes", "data.corpus.collections=[my/tunes]"])
    assert composed.data.corpus.collections == ["my/tunes"]
    assert composed.data.seq_len == 384
