"""MusicXML as files of strangers have it: plain or compressed, perhaps broken, perhaps made to do harm.

Flow: bytes of a ``.musicxml``, ``.xml`` or ``.mxl`` file -> `read_root` -> the root element -> ``musicxml``.

XML can name other files and expand a few bytes into gigabytes through entities, and a zip archive can unpack to any
size. So a document that declares an entity is refused (no program writes MusicXML with entities, and the DTD that is
named is never fetched), elements may not nest deeper than `DEPTH`, and what is unpacked is counted while it is read,
not believed from the archive's directory. Nothing is written to disk.
"""

import zipfile
import zlib
from io import BytesIO
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from chatmusician.music.scores import ConversionError

XML_BYTES = 16 * 1024**2
"""Size of a document, unpacked; the largest of the 653 that music21 ships has 10.4 MiB."""
CONTAINER_BYTES = 64 * 1024
"""Size of the archive's table of contents."""
DEPTH = 64
"""Levels of elements; MusicXML has about ten."""

_CONTAINER = "META-INF/container.xml"


def read_root(content: bytes) -> Element:
    """The root element of a MusicXML file, plain or compressed.

    Raises:
        ConversionError: the file is too large, no archive or no XML, or declares entities.
    """
    if content.startswith(b"PK"):
        content = _unpack(content)
    elif len(content) > XML_BYTES:
        raise ConversionError(_too_large("the document", XML_BYTES))
    return _parse(content)


def _unpack(content: bytes) -> bytes:
    """The score in a ``.mxl`` archive: the file that its container names first, else its only XML file."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            names = archive.namelist()
            if _CONTAINER in names:
                container = _parse(_read(archive, _CONTAINER, most=CONTAINER_BYTES))
                names = [found.get("full-path", "") for found in container.iter() if found.tag.endswith("rootfile")]
            scores = [name for name in names if name.lower().endswith((".xml", ".musicxml")) and "META-INF" not in name]
            if not scores:
                raise ConversionError("the archive has no MusicXML in it; export it again")
            return _read(archive, scores[0], most=XML_BYTES)
    except KeyError as error:
        raise ConversionError("the archive lacks the score that it names; export it again") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ConversionError(f"the archive cannot be read ({error}); export it again") from error


def _read(archive: zipfile.ZipFile, name: str, *, most: int) -> bytes:
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ConversionError(_too_large(f"{name} in the archive", most))
    return content


def _too_large(what: str, most: int) -> str:
    return f"{what} has more than {most / 2**20:g} MiB; split it into tunes"


def _parse(content: bytes) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH:
            raise ConversionError(f"its elements nest deeper than {DEPTH} levels; it is no MusicXML")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(name: str, *_: object) -> None:
        raise ConversionError(f"it declares the entity {name[:40]!r}, which MusicXML has no need of; remove it")

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ConversionError(f"it is not XML ({error}); export it again") from error
    except (LookupError, ValueError) as error:
        raise ConversionError(f"its encoding cannot be read ({error}); save it as UTF-8") from error
    return builder.close()
