"""Files of strangers: broken, bombs, and encodings."""

import io
import zipfile

import pytest
from score_files import attributes, musicxml, mxl, note

from chatmusician.music.musicxml_files import CONTAINER_BYTES, XML_BYTES, read_root
from chatmusician.music.scores import ConversionError

SCORE = musicxml([attributes() + note("G", 4, 8)])

LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE score-partwise [
<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">
]>
<score-partwise>&c;</score-partwise>"""
OUTSIDE = b"""<!DOCTYPE score-partwise [<!ENTITY file SYSTEM "file:///etc/hostname">]>
<score-partwise><part-name>&file;</part-name></score-partwise>"""
PARAMETER = b'<!DOCTYPE score-partwise [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]><score-partwise/>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "utf-8-sig", "ascii"])
def test_encodings(encoding: str) -> None:
    name = "Fiddle" if encoding == "ascii" else "Geige für Fáinne"
    text = musicxml([attributes() + note("G", 4, 8)], names=[name]).decode()
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    content = f'<?xml version="1.0" encoding="{declared}"?>{text}'.encode(encoding)
    assert read_root(content).findtext(".//part-name") == name


def test_a_named_document_type_is_not_fetched() -> None:
    head = b'<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD" "http://127.0.0.1:9/partwise.dtd">'
    assert read_root(head + SCORE).tag == "score-partwise"


@pytest.mark.parametrize("content", [LAUGHS, OUTSIDE, PARAMETER])
def test_entities_are_refused(content: bytes) -> None:
    with pytest.raises(ConversionError, match=r"it declares the entity '.*', which MusicXML has no need of"):
        read_root(content)
    with pytest.raises(ConversionError, match="it declares the entity"):
        read_root(mxl(content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not XML"),
        (b"not xml", "it is not XML"),
        (SCORE[:-20], "it is not XML"),
        (b"<a>" * 100 + b"</a>" * 100, "nest deeper than 64 levels"),
        (b"<?xml version='1.0' encoding='klingon'?>" + SCORE, "its encoding cannot be read"),
        (b" " * (XML_BYTES + 1), "the document has more than 16 MiB"),
        (b"PK\x03\x04 no archive", "the archive cannot be read"),
        (mxl(SCORE)[:-40], "the archive cannot be read"),
        (mxl(SCORE, name="score.pdf"), "the archive has no MusicXML in it"),
        (mxl(SCORE, container="<container>"), "it is not XML"),
        (mxl(SCORE, container="<c><rootfile full-path='other.xml'/></c>"), "the archive lacks the score that it names"),
        (mxl(SCORE, container=" " * (CONTAINER_BYTES + 1)), "META-INF/container.xml in the archive has more than"),
        (mxl(b" " * (XML_BYTES + 1)), "score.xml in the archive has more than 16 MiB"),
    ],
)
def test_broken_files_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ConversionError, match=reason):
        read_root(content)


def test_a_bomb_is_not_unpacked_beyond_its_limit() -> None:
    """A gigabyte of blanks in an archive of a megabyte."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("score.xml", "w") as file:
        for _ in range(1024):
            file.write(b" " * 2**20)
    with pytest.raises(ConversionError, match=r"score.xml in the archive has more than 16 MiB"):
        read_root(packed.getvalue())


def test_an_encrypted_archive_is_refused() -> None:
    content = bytearray(mxl(SCORE))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            content[at + offset] |= 1
    with pytest.raises(ConversionError, match=r"the archive cannot be read .*encrypted"):
        read_root(bytes(content))


def test_the_archive_without_container_gives_its_score() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("some/score.musicxml", SCORE)
    assert read_root(packed.getvalue()).tag == "score-partwise"
