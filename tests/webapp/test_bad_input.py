"""Mutated tunes and broken files through the running demo, and several people at once."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hostile_tunes import CANARY, canary_file, hostile_tunes
from running_demo import ROOT, Demo

TUNES = 2000
DRAWN_EACH = 80
READ_EACH = 40
SECRETS = (CANARY, "root:x:0:0")


@pytest.fixture(scope="module")
def tunes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    canary = canary_file(tmp_path_factory.mktemp("canary"))
    return list(hostile_tunes(TUNES, canary=canary))


def assert_alive(demo: Demo) -> None:
    assert demo.process.poll() is None
    assert demo.client.get("/health").json()["status"] == "ok"


def test_each_hostile_tune_is_drawn_or_refused_in_words(demo: Demo, tunes: list[str]) -> None:
    chosen = [tune.encode("utf-8", "replace").decode() for tune in tunes[::DRAWN_EACH]]
    with ThreadPoolExecutor(2) as pool:
        cards = list(pool.map(demo.draw, chosen))
    assert len(cards) == TUNES / DRAWN_EACH
    for card in cards:
        assert "<script" not in card
        assert ("<img src='tunes/" in card and "<audio" in card) or "<p role='alert'" in card
        for place in re.findall(r"(?:src|href)='(tunes/[^']+)'", card):
            content = demo.client.get(f"/{place}").content
            given = place.endswith(".abc")  # the text as the visitor gave it
            assert given or not any(secret.encode() in content for secret in SECRETS)
        assert not any(secret in card for secret in SECRETS)
    assert sum("<audio" in card for card in cards) > len(cards) / 3
    assert_alive(demo)


def test_each_broken_file_is_read_or_refused_in_words(demo: Demo, tunes: list[str]) -> None:
    draw = Random(3)
    files = [("tune.abc", tune.encode("utf-8", "replace")) for tune in tunes[20::READ_EACH]]
    for name, start in (
        ("tune.mid", b"MThd\0\0\0\6\0\1\0\2\1\340MTrk"),
        ("tune.xml", b"<score-partwise>"),
        ("tune.mxl", b"PK"),
    ):
        files += [(name, start + draw.randbytes(200)) for _ in range(4)]
    for name, content in files:
        end = demo.upload(name, content)
        said = json.dumps(end)
        assert end["success"]
        assert "fills the forms" in said or "role='alert'" in said
        assert "Traceback" not in said
        assert not any(secret in said for secret in SECRETS)
    assert_alive(demo)


def test_several_people_at_once_are_answered_or_refused_politely(demo: Demo) -> None:
    sys.path.append(str(ROOT / "experiments" / "benchmarks"))  # last: it has an evaluate.py, as others do
    from demo_load import load

    figures = load(demo.url, demo.process.pid, Path(demo.folder), users=12, seconds=300, questions=3)
    print(figures)
    assert figures.failed == 0, figures
    assert figures.answered + figures.refused == 36
    assert figures.answered > 18
    assert demo.client.get("/health").json()["live"] == 0
