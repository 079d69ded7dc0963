import random
from pathlib import Path

import pytest
from tiny_corpus import tune, write_tunes

from chatmusician.data.folk import FolkCollections, FolkTasks, FolkTunes, melody_of
from chatmusician.data.instructions import TASKS
from chatmusician.errors import UserError
from chatmusician.music.pitches import pitches
from chatmusician.music.tunes import parse_tune

SPLITS = ("train", "validation", "test")


def melody(abc: str) -> str:
    return melody_of(parse_tune(abc))


@pytest.fixture(scope="module")
def aird() -> FolkTunes:
    """The 1,200 tunes of Aird's Airs, in three keys."""
    return FolkTunes(collections=["airdsAirs"], keys=3, held_out=0.1)


def test_a_melody_is_its_diatonic_steps() -> None:
    assert melody("X:1\nK:C\nCE G>c|[c_eg]B,|") == "2,2,3,0,-8"
    assert melody("X:1\nK:A\nA^c e/a/|a'|z[ac]|") == "2,2,3,7,-7"


def test_a_melody_is_the_same_in_every_key_rhythm_and_layout() -> None:
    assert melody("X:1\nL:1/8\nK:C\n|:CE G2|c4:|") == melody("X:9\nM:6/8\nL:1/4\nK:D\nD F | A\nd |]")


def test_no_melody_is_on_two_sides_in_any_key(aird: FolkTunes) -> None:
    melodies = {split: {melody(document.text) for document in aird.documents(split)} for split in SPLITS}
    assert not melodies["train"] & melodies["validation"]
    assert not melodies["train"] & melodies["test"]
    assert not melodies["validation"] & melodies["test"]


def test_a_tenth_is_held_out_twice_and_each_melody_comes_once(aird: FolkTunes) -> None:
    sizes = {split: len(aird.collections.tunes(split)) for split in SPLITS}
    assert 0.07 < sizes["validation"] / sum(sizes.values()) < 0.13
    assert 0.07 < sizes["test"] / sum(sizes.values()) < 0.13
    melodies = [melody(tune.abc) for split in SPLITS for tune in aird.collections.tunes(split)]
    assert len(melodies) == len(set(melodies)) > 1000


def test_copies_are_the_same_tunes_in_other_keys(aird: FolkTunes) -> None:
    documents = list(aird.documents("train"))
    own = len(aird.collections.tunes("train"))
    assert 2.8 * own < len(documents) <= 3 * own
    by_origin: dict[str, list[str]] = {}
    for document in documents:
        by_origin.setdefault(document.origin, []).append(document.text)
    for copies in random.Random(0).sample(list(by_origin.values()), 60):
        first, *others = (parse_tune(abc) for abc in copies)
        assert len({tune.key.tonic for tune in (first, *others)}) == len(copies)
        for other in others:
            assert abs(other.key.sharps) <= 4
            moved = {b - a for a, b in zip(pitches(first), pitches(other), strict=True)}
            assert len(moved) == 1


def test_tunes_that_are_held_out_stay_in_their_keys(aird: FolkTunes) -> None:
    for split in ("validation", "test"):
        assert [document.text for document in aird.documents(split)] == [
            tune.abc for tune in aird.collections.tunes(split)
        ]


def test_all_keys_of_one_tune_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "one.abc"
    path.write_text("X:1\nT:One\nM:4/4\nL:1/8\nK:Amix\nA2 =g2 f4 |]\n")
    corpus = FolkTunes(collections=[str(path)], held_out=0.0001, keys=20)
    assert [document.text.split("K:")[1] for document in corpus.documents("train")] == [
        "Amix\nA2=g2 f4 |]\n",
        "Gmix\nG2=f2 e4 |]\n",
        "Dmix\nd2=c'2 b4 |]\n",
        "Cmix\nc2_b2 a4 |]\n",
        "Fmix\nF2_e2 d4 |]\n",
        "Emix\nE2=d2 c4 |]\n",
        "Bbmix\nB2_a2 g4 |]\n",
        "Ebmix\ne2_d'2 c'4 |]\n",
    ]


def test_adding_a_collection_moves_no_tune(tmp_path: Path) -> None:
    a, b = write_tunes(tmp_path / "a.abc", tunes=60, seed=1), write_tunes(tmp_path / "b.abc", tunes=60, seed=2)
    alone = FolkCollections(collections=(str(a),), held_out=0.2)
    both = FolkCollections(collections=(str(b), str(a)), held_out=0.2)
    for split in SPLITS:
        assert alone.tunes(split)
        assert set(alone.tunes(split)) <= set(both.tunes(split))


def test_what_is_left_out_says_where_and_why(tmp_path: Path) -> None:
    good = tune(random.Random(0))
    two_voices = "X:3\nM:4/4\nL:1/8\nK:C\nV:1\nC8 |\nV:2\nE8 |"
    path = tmp_path / "some.abc"
    path.write_text("\n".join([good, "X:2\nK:C\nno music }\n", two_voices, "", good.replace("X:1", "X:4")]))
    corpus = FolkTunes(collections=[str(path)])
    reasons = [(rejection.file, rejection.line, rejection.reason) for rejection in corpus.rejections()]
    file = str(path)
    assert reasons == [
        (file, 9, "some.abc, line 11, column 1: 'n' means nothing here in ABC"),
        (file, 13, "some.abc, line 13, column 1: the tune has several voices"),
        (file, 22, f"same melody as {file}:1"),
    ]


def test_documents_say_where_they_come_from(tmp_path: Path) -> None:
    folder = tmp_path / "airs"
    folder.mkdir()
    write_tunes(folder / "b.abc", tunes=20, seed=1)
    write_tunes(folder / "a.abc", tunes=20, seed=2)
    documents = list(FolkTunes(collections=[str(folder)], keys=1).documents("train"))
    assert {document.source for document in documents} == {"airs"}
    assert documents[0].origin.startswith(f"{folder}/a.abc:")
    assert documents[-1].origin.startswith(f"{folder}/b.abc:")


def test_old_files_are_read_as_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "old.abc"
    path.write_bytes("X:1\nT:Fáinne\nR:Ríl\nM:4/4\nL:1/8\nK:G\nG8 | A8 |]\n".encode("latin-1"))
    (found,) = FolkCollections(collections=(str(path),), held_out=0.0001).tunes("train")
    assert found.rhythm == "Ríl"


def test_the_description_changes_with_settings_and_content(tmp_path: Path) -> None:
    path = write_tunes(tmp_path / "a.abc", tunes=5)
    first = FolkTunes(collections=[str(path)], keys=2).describe()
    assert FolkTunes(collections=[str(path)], keys=2).describe() == first
    assert FolkTunes(collections=[str(path)], keys=3).describe() != first
    assert FolkTasks(collections=[str(path)], keys=2, tasks=["text_to_score"]).describe() != first
    write_tunes(path, tunes=6)
    assert FolkTunes(collections=[str(path)], keys=2).describe() != first


def test_tasks_ask_every_tune_in_the_template(tmp_path: Path) -> None:
    path = write_tunes(tmp_path / "a.abc", tunes=30)
    corpus = FolkTasks(collections=[str(path)], tasks=["text_to_score", "form_extraction"], keys=2)
    documents = list(corpus.documents("train"))
    tunes = len(corpus.collections.tunes("train"))
    assert len(documents) == 2 * 2 * tunes
    assert {document.source for document in documents} == {"text_to_score", "form_extraction"}
    for document, example in zip(documents, corpus.examples("train"), strict=True):
        assert document.text == f"Human: {example.question} </s> Assistant: {example.answer} </s> "
        ((start, end),) = document.trained
        assert document.text[start:end] == f"Assistant: {example.answer} </s> "


def test_a_lot_decides_where_not_all_tasks_are_asked(tmp_path: Path) -> None:
    path = write_tunes(tmp_path / "a.abc", tunes=40)
    corpus = FolkTasks(collections=[str(path)], tasks=list(TASKS), per_tune=1)
    sources = [document.source for document in corpus.documents("train")]
    assert len(sources) == len(corpus.collections.tunes("train"))
    assert len(set(sources)) >= 4
    assert len(list(corpus.documents("validation"))) > len(corpus.collections.tunes("validation"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": 0.0}, "corpus.held_out=0.0: use a share above 0 and below 0.5"),
        ({"held_out": 0.5}, "corpus.held_out=0.5"),
        ({"keys": 0}, "corpus.keys=0: a tune is written in at least 1 key"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FolkTunes(**options)  # type: ignore[arg-type]  # the parameters differ in type


def test_a_collection_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("noSuchBook", str(tmp_path)):
        with pytest.raises(UserError, match=f"no ABC file in the collection '{name}'.* use a folder .* ryansMammoth"):
            list(FolkTunes(collections=[name]).documents("train"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gone.abc").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"gone.abc cannot be read .No such file or directory."):
        FolkTunes(collections=[str(tmp_path)]).describe()


def test_a_file_that_is_not_read_changes_no_description(tmp_path: Path) -> None:
    """Such as data that were prepared inside the folder of the tunes."""
    write_tunes(tmp_path / "tunes.abc", tunes=5)
    before = FolkTunes(collections=[str(tmp_path)], keys=1).describe()
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "manifest.json").write_text("{}")
    assert FolkTunes(collections=[str(tmp_path)], keys=1).describe() == before
    write_tunes(tmp_path / "prepared" / "more.abc", tunes=5, seed=1)
    assert FolkTunes(collections=[str(tmp_path)], keys=1).describe() != before
