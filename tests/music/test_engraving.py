import io
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from chatmusician.music.children.verovio_engraver import MEI, mend, wrap_endings
from chatmusician.music.engraving import (
    arrange_for_music21,
    arrange_for_verovio,
    engrave_svg,
    needs_music21,
    plain_text,
    rasterise,
    read_heading,
    svg_to_png,
    tempo_text,
)
from chatmusician.music.sandbox import ToolError

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
    engraving = engrave_svg(HEADER + '|:"Am"GABc {d}d2 z2|1 [GB]2 G6:|2 (3GAB G6|]\n')
    assert (engraving.engraver, engraving.notes) == ("verovio", ())
    svg = engraving.svg
    assert [count(svg, kind) for kind in ("staff", "note", "rest", "chord", "tuplet", "ending")] == [3, 13, 1, 1, 1, 2]
    for text in ("The Test Reel", "An Old Name", "Trad.", "♩ = 120", "Am"):
        assert text in words(svg)


@pytest.mark.usefixtures("no_abcm2ps")
def test_same_tune_gives_same_picture() -> None:
    assert engrave_svg(HEADER + "GABc|\n") == engrave_svg(HEADER + "GABc|\n")


@pytest.mark.usefixtures("no_abcm2ps")
def test_voices_stand_one_above_the_other() -> None:
    abc = (
        "X:1\nT:Duo\nM:4/4\nL:1/4\nV:S clef=treble\nV:B clef=bass\nK:C\n[V:S]cdef|\n[V:B]C,2G,2|\n[V:S]g4|\n[V:B]C,4|\n"
    )
    engraving = engrave_svg(abc)
    assert engraving.engraver == "music21 and verovio"
    assert count(engraving.svg, "measure") == 2
    assert count(engraving.svg, "staff") == 4
    assert count(engraving.svg, "note") == 8
    assert "Duo" in words(engraving.svg)


@pytest.mark.usefixtures("no_abcm2ps")
def test_a_change_of_key_is_drawn() -> None:
    engraving = engrave_svg("X:1\nM:4/4\nL:1/4\nK:C\nCDEC|[K:D]DEFG|\nM:3/4\nK:G\nGAB|\n")
    assert engraving.engraver == "music21 and verovio"
    # F sharp comes from the signature; the meter, which the second key did not change, is not printed again.
    assert [count(engraving.svg, kind) for kind in ("note", "keySig", "meterSig")] == [11, 3, 2]


@pytest.mark.usefixtures("no_abcm2ps")
def test_the_first_tune_is_drawn() -> None:
    engraving = engrave_svg("A tune:\n\nX:1\nL:1/4\nK:C\nCDEC|\n\nX:2\nL:1/4\nK:C\nG|\n")
    assert engraving.notes == ()
    assert count(engraving.svg, "note") == 4


@pytest.mark.usefixtures("no_abcm2ps")
@pytest.mark.parametrize("text", ["", "X:1\nT:Nothing\nK:C\n"])
def test_what_is_no_tune_is_one_line_for_the_user(text: str) -> None:
    with pytest.raises(ToolError) as caught:
        engrave_svg(text)
    assert "verovio" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_abcm2ps")
def test_a_second_way_taken_is_noted() -> None:
    # Without a key verovio crashes or finds nothing; music21 reads the notes.
    engraving = engrave_svg("X:1\nM:4/4\nL:1/4\nCDEF|\n")
    assert engraving.engraver == "music21 and verovio"
    assert count(engraving.svg, "note") == 4
    assert engraving.notes[0].startswith("verovio ")


def install_abcm2ps(folder: Path, script: str) -> None:
    program = folder / "abcm2ps"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_an_installed_abcm2ps_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_abcm2ps(tmp_path, 'read first <tune.abc; echo "<svg><!-- today -->$first $*</svg>" >score001.svg')
    monkeypatch.setenv("PATH", str(tmp_path))
    engraving = engrave_svg(HEADER + "GABc|\n")
    assert engraving.engraver == "abcm2ps"
    assert engraving.svg == "<svg>X:1 -q -g -O score tune.abc</svg>\n"


def test_an_abcm2ps_that_fails_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_abcm2ps(tmp_path, "echo 'error: out of ink' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    engraving = engrave_svg(HEADER + "GABc|\n")
    assert engraving.engraver == "verovio"
    assert engraving.notes == ("abcm2ps drew nothing (error: out of ink); check the notation",)


@pytest.mark.usefixtures("no_abcm2ps")
def test_png_is_white_wide_and_filled() -> None:
    svg = engrave_svg(HEADER + "GABc dedB|dedB dedB|c2ec B2dB|c2A2 A2BA|\n" * 4).svg
    pixels = matplotlib.image.imread(io.BytesIO(svg_to_png(svg)))  # [height, width, RGBA], 0 to 1
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
    titled, bare = (rasterise(engrave_svg(f"X:1\nT:{title}\nL:1/4\nK:C\nC|\n").svg) for title in ("Ноты Café ♯", ""))
    assert titled.notes == bare.notes == ()
    dark = [int((matplotlib.image.imread(io.BytesIO(raster.png))[:, :, 0] < 0.5).sum()) for raster in (titled, bare)]
    assert dark[0] > dark[1] + 500  # pixels


@pytest.mark.usefixtures("no_abcm2ps")
def test_characters_without_a_font_are_named() -> None:
    private = "\ue9a1"  # a private character, which no text font has
    raster = rasterise(engrave_svg(f"X:1\nT:Tune {private}\nL:1/4\nK:C\nC|\n").svg)
    assert raster.notes == (f"the PNG lacks the characters {private!r}; install a font that has them",)


@pytest.mark.usefixtures("no_abcm2ps")
def test_markup_in_a_title_stays_text() -> None:
    svg = engrave_svg('X:1\nT:<script>alert(1)</script> & "x"\nL:1/4\nK:C\n"<b>"C|\n').svg
    assert "<script" not in svg and "<b>" not in svg
    assert '<script>alert(1)</script> & "x"' in words(svg)


def test_endings_are_wrapped_from_mark_to_close() -> None:
    bars = [("m1", "", "single"), ("m2", "1", "single"), ("m3", "", "rptend"), ("m4", "2", "dbl"), ("m5", "", "end")]
    section = ElementTree.Element(MEI + "section")
    for name, mark, right in bars:
        measure = ElementTree.SubElement(section, MEI + "measure", {"label": name, "right": right})
        if mark:
            ElementTree.SubElement(measure, MEI + "harm").text = f"volta:{mark}"
    assert wrap_endings(section) == 2
    shape = [
        (child.get("n"), [bar.get("label") for bar in child]) if child.tag == MEI + "ending" else child.get("label")
        for child in section
    ]
    assert shape == ["m1", ("1", ["m2", "m3"]), ("2", ["m4"]), "m5"]
    assert not list(section.iter(MEI + "harm"))


def test_mending_sets_heading_and_tempo() -> None:
    name = MEI.strip("{}")
    mei = (
        f'<mei xmlns="{name}"><scoreDef><pgHead><rend>off the page</rend></pgHead></scoreDef>'
        "<section><tempo/><tempo><rend fontfam='smufl'>\ueca5</rend> = 60</tempo></section></mei>"
    )
    mended, endings = mend(mei, {"titles": ["Jig", "Alias"], "composer": "Anon.", "tempos": ["♪ = 90"]})
    root = ElementTree.fromstring(mended)
    assert endings == 0
    assert ["".join(tempo.itertext()) for tempo in root.iter(MEI + "tempo")] == ["♪ = 90", "♩ = 60"]
    assert ["".join(head.itertext()) for head in root.iter(MEI + "pgHead")] == ["JigAliasAnon."]


@pytest.mark.parametrize(
    ("body", "arranged", "endings"),
    [
        ("|:C4|1 D4:|2 E4|]", '|:C4|"volta:1" D4:|"volta:2" E4|]', 2),
        ("C4 [1 D4:| [2,3 E4|]", 'C4 "volta:1" D4:| "volta:2,3" E4|]', 2),
        ("[CE]2 [C2E]|", "[C2E2] [C2E]|", 0),
        ("[^C,E']3/2 (3:2:3abc|2/4|", '[^C,3/2E\'3/2] (3:2:3abc|"volta:2"/4|', 1),
        ('"|1 [2"C|\nw:|1 [2\n%|1', '"|1 [2"C|\nw:|1 [2\n%|1', 0),
    ],
)
def test_arranging_for_verovio(body: str, arranged: str, endings: int) -> None:
    assert arrange_for_verovio(f"X:1\nK:C\n{body}") == (f"X:1\nK:C\n{arranged}", endings)


def test_arranging_for_music21() -> None:
    abc = "X:1\nM:3/4\nV:A clef=alto\nK:C\n%%score A B\n[V:A]CD[K:D]E|\nV:B bass\nEF|\n[V:A]GA|\n"
    arranged = "X:1\nM:3/4\nK:C\n%%score A B\nV:1 clef=alto\nCD\nM:3/4\nK:D\nE|\nGA|\nV:2 bass\nEF|\n"
    assert arrange_for_music21(abc) == arranged


@pytest.mark.parametrize(
    ("abc", "cause"),
    [
        ("X:1\nV:1\nK:C\nCDE|\nM:3/4\n[L:1/4]C|", ""),
        ("X:1\nK:C\nV:1\nC|\nV:2\nE|", "2 voices"),
        ("X:1\nK:C\n[V:1]C|\n[V:2 clef=bass]E|\n[V:3]G|", "3 voices"),
        ("X:1\nK:C\nC|\nK:D\nD|", "a change of key"),
        ("X:1\nK:C\nC|[K:D]D|", "a change of key"),
        ("X:1\nK:C\n(3:2:2C2D|", "tuplets or chords of mixed lengths"),
        ("X:1\nK:C\n[C2E]2|", "tuplets or chords of mixed lengths"),
        ("X:1\nK:C\n(3CDE [C2E2] [CE]2|", ""),
    ],
)
def test_what_verovio_alone_gets_wrong(abc: str, cause: str) -> None:
    assert needs_music21(abc) == cause


def test_heading_comes_from_the_header() -> None:
    heading = read_heading("X:1\nT: Caf\\'e % old\nT:\nC:A\nC:B\nQ:1/4=120\nK:C\nC|[Q:3/8=90]D|\nT:Not this\n")
    assert heading == {"titles": ["Café"], "composer": "A, B", "tempos": ["♩ = 120", "♩. = 90"]}


@pytest.mark.parametrize(
    ("value", "printed"),
    [("1/4=120", "♩ = 120"), ('"Allegro" 1/8 = 90', "Allegro ♪ = 90"), ("3/8=100", "♩. = 100"), ("120", "120")],
)
def test_tempo_is_printed_with_note_signs(value: str, printed: str) -> None:
    assert tempo_text(value) == printed


@pytest.mark.parametrize(
    ("value", "text"), [(" Plain ", "Plain"), (r"Ni\~na", "Niña"), (r"\"Ubung", "Übung"), (r"Fran\ccais", "Français")]
)
def test_accents_are_composed(value: str, text: str) -> None:
    assert plain_text(value) == text
