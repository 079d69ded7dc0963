import re
import stat
from pathlib import Path

import pytest

from chatmusician.errors import UserError
from chatmusician.music.rendering import FORMATS, render, render_bytes

HEADER = "X:1\nT:Test\nM:4/4\nL:1/8\nK:C\n"
TUNE = HEADER + "CDEF GABc|c8|]\n"
SIGNATURES = {
    "svg": b"<svg",
    "png": b"\x89PNG",
    "pdf": b"%PDF-1.7",
    "musicxml": b"<score-partwise",
    "mid": b"MThd",
    "wav": b"RIFF",
}


def test_all_formats_are_written(tmp_path: Path) -> None:
    rendering = render(TUNE, tmp_path / "new" / "folder", stem="reel-1.5")
    assert rendering.problems == ()
    assert list(rendering.paths) == ["abc", "svg", "png", "pdf", "musicxml", "mid", "wav"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "reel-1.5.abc",
        "reel-1.5.mid",
        "reel-1.5.musicxml",
        "reel-1.5.pdf",
        "reel-1.5.png",
        "reel-1.5.svg",
        "reel-1.5.wav",
    ]
    assert rendering.paths["abc"].read_text() == TUNE
    for suffix, signature in SIGNATURES.items():
        assert rendering.paths[suffix].read_bytes()[:1000].find(signature) >= 0


def test_formats_are_chosen_and_files_replaced(tmp_path: Path) -> None:
    (tmp_path / "tune.mid").write_text("old")
    rendering = render(TUNE, str(tmp_path), formats=["mid"])
    assert list(rendering.paths) == ["abc", "mid"]
    assert rendering.paths["mid"].read_bytes().startswith(b"MThd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tune.abc", "tune.mid"]


def test_files_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    path = render(TUNE, tmp_path, formats=["mid"]).paths["mid"]
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_a_format_that_fails_stops_no_other(tmp_path: Path) -> None:
    # A key that abc2midi refuses and the score is read without.
    rendering = render("X:1\nM:4/4\nL:1/8\nK:ZZZZ\nCDEF|\n", tmp_path)
    assert list(rendering.paths) == ["abc", "svg", "png", "pdf", "musicxml"]
    assert rendering.problems[0].startswith("score: 'ZZZZ' is not a key; write a tonic")
    assert rendering.problems[1].startswith("mid and wav: abc2midi cannot read 'K:ZZZZ' (")


def test_formats_that_fail_for_one_reason_are_told_together(tmp_path: Path) -> None:
    rendering = render("X:1\nT:Nothing\nK:C\n", tmp_path)
    assert list(rendering.paths) == ["abc", "mid"]
    assert rendering.problems == (
        "svg, png, pdf and musicxml: the tune has no notes; write music after its K: line",
        "wav: the tune makes no sound; check that it has notes",
    )


def test_the_same_without_files(tmp_path: Path) -> None:
    rendered = render_bytes(TUNE, formats=["mid", "musicxml"])
    rendering = render(TUNE, tmp_path, formats=["mid", "musicxml"])
    written = {suffix: path.read_bytes() for suffix, path in rendering.paths.items()}
    assert written == {"abc": TUNE.encode(), **rendered.contents}


def test_what_was_taken_out_is_told(tmp_path: Path) -> None:
    rendering = render(HEADER + "%%abc-include secret\nCDEF|\n", tmp_path, formats=["mid"])
    assert rendering.problems == ("taken out, line 6: the directive '%%abc-include secret'",)


@pytest.mark.parametrize("stem", ["", "../escape", "a/b", "tune/"])
def test_stem_is_a_plain_name(tmp_path: Path, stem: str) -> None:
    with pytest.raises(UserError, match="is not a plain file name"):
        render(TUNE, tmp_path, stem=stem)


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^unknown format 'mp3'; choose from svg, png, pdf, musicxml, mid, wav$"):
        render(TUNE, tmp_path, formats=["mp3"])


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^cannot write .*file/sub/tune\.abc \(Not a directory\); choose a directory"):
        render(TUNE, tmp_path / "file" / "sub")


def test_nothing_is_left_of_a_write_that_failed(tmp_path: Path) -> None:
    (tmp_path / "tune.abc").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*tune\.abc"):
        render(TUNE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tune.abc"]


HOSTILE = {
    "files": HEADER.replace("K:C", "%%abc-include {secret}\nI:abc-include {secret}\n%%format {secret}\nK:C")
    + "%%abc-include {secret}\n[I:abc-include {secret}]CDEF|\n%%EPS {secret}\n",
    "postscript": HEADER + "%%beginps\n({secret}) (r) file\n%%endps\nCDEF|\n",
    "shell": HEADER.replace("T:Test", "T:$(cat {secret}) `cat {secret}`; cat {secret}") + "CDEF|\n",
    "numbers": HEADER + "C99999999999 D/99999999999 Z99999999 (9999999:2:3abc|:C:|99999 |:::::::::::::C|\n",
    "tempo": HEADER.replace("K:C", "Q:1/4=0.0000001\nK:C") + "CDEF|\n",
    "parts": HEADER.replace("K:C", "P:((((A9)9)9)9)9\nK:C") + "P:A\nCDEF|\n",
    "rests": HEADER + "Z100|" * 300 + "\n",
    "square brackets": HEADER + "[" * 4000 + "CEG" + "]" * 4000 + "|\n",
    "slurs": HEADER + "(" * 4000 + "C" + ")" * 4000 + "|\n",
    "braces": HEADER + "{" * 3000 + "C|\n",
    "tuplets": HEADER + "(3" * 3000 + "C|\n",
    "long line": HEADER + "CDEF " * 200_000 + "|\n",
    "octaves": HEADER + "C" + "," * 3000 + " c" + "'" * 3000 + "|\n",
    "macro": "X:1\nm:~n=~n~n~n\nL:1/8\nK:C\n~C ~D|\n",
    "other scripts": 'X:1\nT:🎵 春の海 Ноты موسيقى\nM:4/4\nL:1/8\nK:C\n"🎵"CDEF|\nw: 春 の 海 ж\n',
    "nothing": "",
    "blank": " \n\n\t\n",
    "prose": "Sure! Here is a lovely tune for you.",
    "nul": "X:1\nL:1/8\nK:C\nCD\x00EF|\x00",
    "surrogate": HEADER + "CD\ud800EF|\n",
    "markup": 'X:1\nT:<script>alert(1)</script>\nL:1/8\nK:C\n"<img onload=x>"CDEF|\n',
    "unclosed": HEADER + '"Am CDEF [CEG {ab (cd|\n',
    "endings": HEADER + "|1|2|3[4[5[6" * 200 + "\n",
    "no reference number": "X:",
    "no key": "X:1\nT:Test\nCDEF|\n",
    "empty fields": "X:1\nM:\nL:\nQ:\nK:\n[M:][L:][Q:][V:]C|\n",
    "negative": "X:1\nM:-4/4\nL:-1/8\nK:C\nC|\n",
    "broken rhythm": HEADER + "A" + ">" * 5000 + "B|\n",
    "lyrics": HEADER + "CDEF|\nw: " + "a-" * 3000 + "\n",
    "backslashes": HEADER + "CDEF\\\n\\\n\\\nGABc|\\",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_does_no_harm(tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("X:7\nT:leaked words\nK:C\nleaked words\n")
    formats = FORMATS if name in {"files", "numbers", "rests", "octaves", "other scripts"} else ("svg", "pdf", "mid")
    rendering = render(HOSTILE[name].replace("{secret}", str(secret)), tmp_path / "out", formats=formats)
    assert {path.parent for path in rendering.paths.values()} == {tmp_path / "out"}
    for suffix, path in rendering.paths.items():
        content = path.read_bytes()
        assert b"leaked words" not in content
        assert suffix in ("abc", "mid", "pdf") or b"<script" not in content  # a title of a PDF is no markup
        assert suffix != "pdf" or not {b"/JavaScript", b"/JS", b"/OpenAction"} & set(re.findall(rb"/\w+", content))
        assert len(content) < 20_000_000
    # Every format is there or its absence is explained, each in one line.
    missing = [suffix for suffix in formats if suffix not in rendering.paths]
    for suffix in missing:
        assert any(suffix in problem.partition(":")[0] for problem in rendering.problems)
    assert not any("\n" in problem for problem in rendering.problems)
