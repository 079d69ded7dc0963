import io
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from chatmusician.errors import UserError
from chatmusician.music.children.verovio_engraver import MEI, mend
from chatmusician.music.engraving import engrave, rasterise

HEADER = "X:1\nT:The Test Reel\nT:An Old Name\nC:Trad.\nM:4/4\nL:1/8\nQ:1/4=120\nK:G\n"


@pytest.fixture
def no_abcm2ps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What pip alone installs, also on a machine that has abcm2ps."""
    monkeypatch.setenv("PATH", str(tmp_path))


def count(svg: str, kind: str) -> int:
    """How many elements of a kind, such as ``note``, verovio drew."""
    return sum(kind in element.get("class", "").split() for element in ElementTree.fromstring(svg).iter())


def words(svg: str) -> str:
    texts = [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]
    return " ".join(" ".join("".join(text.itertext()).split()) for text in texts)


@pytest.mark.usefixtures("no_abcm2ps")
def test_one_voice_is_drawn_whole() -> None:
    engraving = engrave(HEADER + '|:"Am"GABc {d}d2 z2|1 [GB]2 G6:|2 (3GAB G6|]\nw: one two\n')
    assert (engraving.engraver, engraving.notes, engraving.pages) == ("verovio", (), ())
    svg = engraving.svg
    assert [count(svg, kind) for kind in ("staff", "note", "rest", "chord", "tuplet", "voltaBracket")] == [
        *(3, 13, 1, 1, 1, 2)
    ]
    for text in ("The Test Reel", "An Old Name", "Trad.", "♩ = 120", "Am", "one", "two"):
        assert text in words(svg)


@pytest.mark.usefixtures("no_abcm2ps")
def test_signs_of_the_music_font_in_texts_are_text() -> None:
    svg = engrave('X:1\nQ:3/8=60\nL:1/4\nK:C\n"F#m7/C#"C "Bb"D|\n').svg
    for text in ("♩. = 60", "F ♯ m7/C ♯", "B ♭"):
        assert text in words(svg)
    assert "@font-face" not in svg and "Leipzig" not in svg


@pytest.mark.usefixtures("no_abcm2ps")
def test_same_tune_gives_same_picture() -> None:
    assert engrave(HEADER + "GABc|\n", paper=True) == engrave(HEADER + "GABc|\n", paper=True)


@pytest.mark.usefixtures("no_abcm2ps")
def test_voices_stand_one_above_the_other() -> None:
    abc = (
        "X:1\nT:Duo\nM:4/4\nL:1/4\nV:S clef=treble\nV:B clef=bass\nK:C\n[V:S]cdef|\n[V:B]C,2G,2|\n[V:S]g4|\n[V:B]C,4|\n"
    )
    svg = engrave(abc).svg
    assert [count(svg, kind) for kind in ("measure", "staff", "note")] == [2, 4, 8]
    assert "Duo" in words(svg)


@pytest.mark.usefixtures("no_abcm2ps")
def test_a_change_of_key_is_drawn() -> None:
    engraving = engrave("X:1\nM:4/4\nL:1/4\nK:C\nCDEC|[K:D]DEFG|\nM:3/4\nK:G\nGAB|\n")
    assert engraving.notes == ()
    # F sharp comes from the signature; the meter, which the second key did not change, is not printed again.
    assert [count(engraving.svg, kind) for kind in ("note", "keySig", "meterSig")] == [11, 3, 2]


@pytest.mark.usefixtures("no_abcm2ps")
@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("K:C\nCD[K:D]E|\n", "a change of key or meter inside a bar is drawn at its start"),
        ("K:C\n[V:1]CDE|FGA|\n[V:2]CDE|[M:2/4]FG|\n", "a change of key or meter that is not in the first voice"),
    ],
)
def test_what_is_drawn_in_another_place_is_noted(body: str, note: str) -> None:
    (only,) = engrave(f"X:1\nM:3/4\nL:1/4\n{body}").notes
    assert only.startswith(note)


@pytest.mark.usefixtures("no_abcm2ps")
def test_the_first_tune_is_drawn() -> None:
    engraving = engrave("A tune:\n\nX:1\nL:1/4\nK:C\nCDEC|\n\nX:2\nL:1/4\nK:C\nG|\n")
    assert engraving.notes == ()
    assert count(engraving.svg, "note") == 4


@pytest.mark.usefixtures("no_abcm2ps")
def test_slips_are_drawn_around_and_noted() -> None:
    engraving = engrave("X:1\nM:4/4\nL:1/4\nCD)?EF|\n")
    assert count(engraving.svg, "note") == 4
    assert engraving.notes == (
        "the header has no K: line; it is read without a key",
        "left out, as ABC has no such sign: '?' in line 4, column 4",
    )


@pytest.mark.usefixtures("no_abcm2ps")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("X:1\nT:Nothing\nK:C\n", "the tune has no notes; write music after its K: line"),
        ("", "this is no tune: it has neither an X: nor a K: line; write the header before the music"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_for_the_user(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        engrave(text)


def install_abcm2ps(folder: Path, script: str) -> None:
    program = folder / "abcm2ps"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_an_installed_abcm2ps_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_abcm2ps(tmp_path, 'read first <tune.abc; echo "<svg><!-- today -->$first $*</svg>" >score001.svg')
    monkeypatch.setenv("PATH", str(tmp_path))
    engraving = engrave(HEADER + "GABc|\n")
    assert engraving.engraver == "abcm2ps"
    assert engraving.svg == "<svg>X:1 -q -g -O score tune.abc</svg>\n"


def test_an_abcm2ps_that_fails_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_abcm2ps(tmp_path, "echo 'error: out of ink' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    engraving = engrave(HEADER + "GABc|\n")
    assert engraving.engraver == "verovio"
    assert engraving.notes == ("abcm2ps drew nothing (error: out of ink); check the notation",)


def test_what_neither_can_draw_has_both_reasons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_abcm2ps(tmp_path, "echo 'error: out of ink' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^abcm2ps drew nothing \(error: out of ink\).*; the tune has no notes"):
        engrave(HEADER)


def test_pages_are_verovios_beside_a_picture_of_abcm2ps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_abcm2ps(tmp_path, 'echo "<svg/>" >score001.svg')
    monkeypatch.setenv("PATH", str(tmp_path))
    engraving = engrave(HEADER + "GABc|\n", paper=True)
    assert (engraving.engraver, engraving.svg, engraving.notes) == ("abcm2ps", "<svg/>\n", ())
    assert [count(page, "note") for page in engraving.pages] == [4]
    without_notes = engrave(HEADER, paper=True)
    assert (without_notes.svg, without_notes.pages) == ("<svg/>\n", ())
    assert without_notes.pages_fault.startswith("the tune has no notes")


@pytest.mark.usefixtures("no_abcm2ps")
def test_png_is_white_wide_and_filled() -> None:
    svg = engrave(HEADER + "GABc dedB|dedB dedB|c2ec B2dB|c2A2 A2BA|\n" * 4).svg
    pixels = matplotlib.image.imread(io.BytesIO(rasterise(svg).content))  # [height, width, RGBA], 0 to 1
    assert pixels.shape[1] == 1680
    assert (pixels[0, 0] == 1).all()
    inked = pixels[:, :, :3].min(axis=2) < 0.5
    rows = np.flatnonzero(inked.any(axis=1))
    columns = np.flatnonzero(inked.any(axis=0))
    # Nothing is cut at an edge, and no large part of the page is left blank.
    assert 20 < rows[0] < 100 and 20 < pixels.shape[0] - rows[-1] < 150
    assert 20 < columns[0] < 100 and 20 < pixels.shape[1] - columns[-1] < 100


@pytest.mark.usefixtures("no_abcm2ps")
def test_text_is_drawn_in_the_bundled_fonts() -> None:
    titled, bare = (rasterise(engrave(f"X:1\nT:{title}\nL:1/4\nK:C\nC|\n").svg) for title in ("Ноты Café ♯", ""))
    assert titled.notes == bare.notes == ()
    dark = [
        int((matplotlib.image.imread(io.BytesIO(raster.content))[:, :, 0] < 0.5).sum()) for raster in (titled, bare)
    ]
    assert dark[0] > dark[1] + 500  # pixels


@pytest.mark.usefixtures("no_abcm2ps")
def test_characters_without_a_font_are_named() -> None:
    private = "\ue9a1"  # a private character, which no text font has
    raster = rasterise(engrave(f"X:1\nT:Tune {private}\nL:1/4\nK:C\nC|\n").svg)
    assert raster.notes == (f"the PNG lacks the characters {private!r}; install a font that has them",)


@pytest.mark.usefixtures("no_abcm2ps")
def test_markup_in_a_title_stays_text() -> None:
    svg = engrave('X:1\nT:<script>alert(1)</script> & "x"\nL:1/4\nK:C\n"<b>"C|\n').svg
    assert "<script" not in svg and "<b>" not in svg
    assert '<script>alert(1)</script> & "x"' in words(svg)


@pytest.mark.usefixtures("no_abcm2ps")
def test_long_tunes_have_several_pages() -> None:
    engraving = engrave(HEADER + "GABc dedB|dedB dedB|c2ec B2dB|c2A2 A2BA|\n" * 30, picture=False, paper=True)
    assert (engraving.svg, engraving.notes, engraving.title) == ("", (), "The Test Reel")
    assert len(engraving.pages) == 3
    assert sum(count(page, "note") for page in engraving.pages) == 30 * 27


def test_mending_sets_heading_and_tempo() -> None:
    name = MEI.strip("{}")
    mei = (
        f'<mei xmlns="{name}"><scoreDef><pgHead><rend>off the page</rend></pgHead></scoreDef>'
        "<section><tempo>Slow <rend fontfam='smufl'>\ueca5 \uecb7</rend> = 60</tempo></section></mei>"
    )
    root = ElementTree.fromstring(mend(mei, {"titles": ["Jig", "Alias"], "composer": "Anon."}))
    assert ["".join(tempo.itertext()) for tempo in root.iter(MEI + "tempo")] == ["Slow ♩. = 60"]
    assert ["".join(head.itertext()) for head in root.iter(MEI + "pgHead")] == ["JigAliasAnon."]
