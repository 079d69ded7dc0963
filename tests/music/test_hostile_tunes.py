"""Two thousand tunes that want to do harm, through all that turns text into files.

All of them go through what runs in this process, which is the sanitiser, the reader of scores and the writer of
MusicXML, and through abc2midi; each fortieth goes through engraving and sound too.
"""

import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hostile_tunes import CANARY, canary_file, hostile_tunes

from chatmusician.errors import UserError
from chatmusician.music.midi import abc_to_midi, midi_fault
from chatmusician.music.notation.writing import notate
from chatmusician.music.rendering import FORMATS, render_bytes
from chatmusician.music.sanitising import LINE_CHARACTERS, REPORTED_MOST, TEXT_CHARACTERS, sanitise
from chatmusician.music.tool_processes import parent_of

TUNES = 2000
DRAWN_EACH = 40
MESSAGE_CHARACTERS = 700
SECRETS = (CANARY.encode(), Path("/etc/passwd").read_bytes().partition(b"\n")[0])


@pytest.fixture(scope="module")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return list(hostile_tunes(TUNES, canary=canary_file(tmp_path_factory.mktemp("machine"))))


@pytest.fixture(scope="module")
def sanitised(tunes: list[str]) -> list[str]:
    return [sanitise(tune).abc for tune in tunes]


def test_what_is_sanitised_stays_within_bounds_and_is_left_alone(tunes: list[str], sanitised: list[str]) -> None:
    for tune, abc in zip(tunes, sanitised, strict=True):
        assert len(abc) <= TEXT_CHARACTERS
        assert max(map(len, abc.split("\n"))) <= LINE_CHARACTERS
        assert sanitise(abc).abc == abc
        removed = sanitise(tune).removed
        assert len(removed) <= REPORTED_MOST + 1
        assert_are_messages(removed)
        assert abc == tune or removed or "\r" in tune


def test_no_directive_that_reads_a_file_is_left(sanitised: list[str]) -> None:
    reading = re.compile(
        r"(?:^\s*%%|^\s*I:|\[\s*I:)\s*(?:abc-include|format|eps|begin|midi\s+ptstress|pango)",
        re.IGNORECASE | re.MULTILINE,
    )
    assert [match.group() for abc in sanitised for match in reading.finditer(abc)] == []


def test_each_becomes_musicxml_or_a_reason(sanitised: list[str]) -> None:
    made = 0
    for abc in sanitised:
        try:
            notated = notate(abc)
        except UserError as error:
            assert_are_messages([str(error)])
        else:
            made += 1
            assert ElementTree.fromstring(notated.content).tag == "score-partwise"
            assert_are_messages(notated.score.notes)
            assert_holds_no_secret(notated.content)
    assert made > TUNES / 2


def test_each_becomes_midi_or_a_reason(sanitised: list[str]) -> None:
    def attempt(abc: str) -> bytes | str:
        try:
            return abc_to_midi(abc)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(attempt, sanitised))
    midis = [result for result in results if isinstance(result, bytes)]
    assert len(midis) > TUNES / 2
    for midi in midis:
        assert midi_fault(midi) == ""
        assert_holds_no_secret(midi)
    assert_are_messages([result for result in results if isinstance(result, str)])


def test_each_is_drawn_and_played_or_has_reasons(tunes: list[str]) -> None:
    chosen = tunes[::DRAWN_EACH]
    with ThreadPoolExecutor(2) as pool:
        renderings = list(pool.map(render_bytes, chosen))
    for rendered in renderings:
        assert_are_messages(rendered.problems)
        for suffix in FORMATS:
            if suffix in rendered.contents:
                assert_holds_no_secret(rendered.contents[suffix])
            else:
                assert any(suffix in re.split(", | and ", problem.partition(":")[0]) for problem in rendered.problems)
    for suffix in FORMATS:
        assert sum(suffix in rendered.contents for rendered in renderings) > len(chosen) / 3
    for script in ("", "verovio_engraver", "svg_rasteriser", "pdf_writer", "midi_synthesiser"):
        assert list(parent_of(script).folder.iterdir()) == []


def assert_are_messages(problems: tuple[str, ...] | list[str]) -> None:
    """One line each, of a length that can be read."""
    for problem in problems:
        assert "\n" not in problem and "\r" not in problem
        assert 5 < len(problem) < MESSAGE_CHARACTERS


def assert_holds_no_secret(content: bytes) -> None:
    for part in (content, *_inflated(content)):
        for secret in SECRETS:
            assert secret not in part
            assert secret.decode().encode("utf-16-be") not in part


def _inflated(content: bytes) -> Iterator[bytes]:
    """The compressed streams of a PDF."""
    if content.startswith(b"%PDF"):
        for stream in re.findall(rb"(?s)/FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", content):
            yield zlib.decompress(stream)
