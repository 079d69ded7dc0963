"""The 24 settings of the paper's Table 8, composed, and drawn from a thousandth of the rows that the datasets have."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf

from chatmusician.config.composition import compose, search_path
from chatmusician.config.paths import conf_dir
from chatmusician.config.recipes import commands_served, register_recipes
from chatmusician.data.units import one_by_one

SFT = {"irishman": 340, "kernscores": 10, "bach": 34, "knowledge": 255, "summary": 500}
"""Thousands of rows of MusicPile-sft by source; bach has 33,500."""

PILE = {
    "pile": 18,
    "falcon-refinedweb": 101,
    "wikipedia": 588,
    "openchat": 43,
    "linksoul": 1500,
    "gpt4-alpaca": 49,
    "dolly": 14,
    "irishman": 868,
    "kernscores": 10,
    "bach": 1,
    "synthetic music chat": 50,
    "music knowledge": 255,
    "music summary": 500,
    "gsm8k": 7,
    "math": 37,
    "math-instruct": 188,
    "camel-math": 50,
    "arxiv-math-instruct": 50,
    "camel-code": 366,
    "opencoder": 28,
}
"""Thousands of rows of MusicPile."""

VERBAL = ("knowledge", "summary")
SCORE = ("irishman", "kernscores", "bach")
MUSIC = (*VERBAL, *SCORE, "synthetic music chat")
ENGLISH = ("openchat", "gpt4-alpaca", "dolly")
GENERAL = (*ENGLISH, "linksoul")
MATH = ("gsm8k", "math", "math-instruct", "camel-math", "arxiv-math-instruct")
CODE = ("camel-code", "opencoder")

ASKED: dict[int, list[tuple[tuple[str, ...], int]]] = {
    1: [((*GENERAL, *MATH, *CODE), 52_000)],
    2: [(VERBAL, 52_000)],
    3: [((*VERBAL, *SCORE), 52_000)],
    4: [((*GENERAL, *VERBAL, *SCORE, *CODE, *MATH), 78_000)],
    5: [(MUSIC, 26_000), (GENERAL, 52_000)],
    6: [(MUSIC, 52_000), (GENERAL, 26_000)],
    7: [((*GENERAL, *MATH, *MUSIC), 78_000)],
    8: [((*GENERAL, *CODE, *MUSIC), 78_000)],
    9: [((*ENGLISH, *VERBAL, *SCORE, *CODE, *MATH), 78_000)],
    10: [(VERBAL, 26_000), ((*GENERAL, *MATH, *CODE), 52_000)],
    11: [(VERBAL, 52_000), ((*GENERAL, *MATH, *CODE), 26_000)],
    12: [(VERBAL, 26_000), ((*ENGLISH, *MATH, *CODE), 52_000)],
    13: [(VERBAL, 52_000), ((*ENGLISH, *MATH, *CODE), 26_000)],
    14: [(VERBAL, 43_333), (("irishman",), 8667)],
    15: [(VERBAL, 26_000), (("irishman",), 26_000)],
    16: [(VERBAL, 43_333), (("synthetic music chat",), 8667)],
    17: [(VERBAL, 26_000), (ENGLISH, 26_000)],
    18: [(VERBAL, 52_000), (SCORE, 26_000)],
    19: [((*VERBAL, *MATH), 52_000), (SCORE, 26_000)],
    20: [((*VERBAL, *CODE), 52_000), (SCORE, 26_000)],
    21: [(VERBAL, 733_333), (SCORE, 366_667)],
    22: [(VERBAL, 52_000), (("bach",), 26_000)],
    23: [(VERBAL, 52_000), (("bach",), 13_000), (("irishman", "kernscores"), 13_000)],
    24: [(VERBAL, 52_000), (SCORE, 26_000)],
}
"""The sources of each part and its rows, by the table: the setting's rows in the setting's ratio."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("musicpile")
    sft = [
        {
            "instruction": f"Human: {source} {n}. ",
            "input": "X:1 </s> ",
            "output": f"Assistant: {n} </s> ",
            "src": source,
        }
        for source, rows in SFT.items()
        for n in range(rows)
    ]
    pile = [
        {"id": n, "text": f"Human: {source} {n}? </s> Assistant: Yes. </s> ", "src": source}
        for source, rows in PILE.items()
        for n in range(rows)
    ]
    paths = {"sft": folder / "sft.jsonl", "chat": folder / "pile.jsonl"}
    for path, rows in zip(paths.values(), (sft, pile), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return paths


@pytest.fixture(scope="module", params=ASKED)
def setting(request: pytest.FixtureRequest, files: dict[str, Path]) -> tuple[int, Any]:
    """The number of a setting, and its configuration over these files, with nothing held out."""
    paths = [
        override
        for source, path in files.items()
        for override in (f"data.corpus.sources.{source}.path=null", f"data.corpus.sources.{source}.files=[{path}]")
    ]
    chosen = ["+experiment=mixture", f"data/mixture=setting_{request.param:02d}", "data.corpus.held_out=0"]
    return request.param, compose("train", [*chosen, *paths])


def drawn(cfg: Any) -> tuple[dict[str, Any], list[str]]:
    """What the manifest would say of the draw, and the source of each document."""
    corpus = instantiate(cfg.data.corpus)
    readings = [unit.read() for unit in corpus.units(one_by_one)]
    assert not [rejection for reading in readings for rejection in reading.rejections]
    return corpus.draw(), [document.source for reading in readings for _, document in reading.documents]


def size(source: str) -> int:
    return SFT.get(source) or PILE[source]


def test_a_setting_asks_for_what_the_table_says(setting: tuple[int, Any]) -> None:
    """Of a thousandth of the rows all are taken, and the rest of what is asked for is told to be missing."""
    number, cfg = setting
    parts = ASKED[number]
    assert cfg.trainer.max_epochs == (2 if number == 21 else 10)
    assert cfg.data.directory == f"outputs/data/mixture_setting_{number:02d}"
    assert cfg.data.corpus.mixture.rows == sum(rows for _, rows in parts)
    report, documents = drawn(cfg)
    assert len(report["pools"]) == len(parts)
    for pool, (sources, rows) in zip(report["pools"].values(), parts, strict=True):
        times = {source: 10 if (number, source) == (24, "bach") else 1 for source in sources}
        there = sum(size(source) * times[source] for source in sources)
        assert pool == {
            "asked": rows,
            "taken": there,
            "missing": rows - there,
            "sources": {
                source: {"rows": size(source), "taken": size(source) * times[source]}
                for source in sorted(sources, key=[*SFT, *PILE].index)
            },
        }
    taken = {source for sources, _ in parts for source in sources}
    assert set(documents) == taken
    left = {source: rows for source, rows in {**PILE, **SFT}.items() if source not in taken}
    of_pile = {source: rows for source, rows in PILE.items() if source in SFT}  # scores are those of MusicPile-sft
    for source, rows in of_pile.items():
        left[source] = rows + (0 if source in taken else SFT[source])
    assert report["left_out"] == dict(sorted(left.items()))


def test_a_thousandth_of_a_setting_can_be_drawn_from_a_thousandth_of_the_rows(setting: tuple[int, Any]) -> None:
    """So the datasets have what the table asks for."""
    number, cfg = setting
    parts = ASKED[number]
    total = sum(rows for _, rows in parts) // 1000
    cfg = OmegaConf.merge(cfg, {"data": {"corpus": {"mixture": {"rows": total}}}})
    report, documents = drawn(cfg)
    assert [pool["missing"] for pool in report["pools"].values()] == [0] * len(parts)
    assert len(documents) == total
    for sources, rows in parts:
        assert sum(document in sources for document in documents) == round(rows / 1000)
    if number == 24:  # each row of bach is there ten times: 340 of the 690 of the pool
        assert report["pools"]["score"]["sources"]["bach"]["taken"] > 3


def test_the_sweep_over_the_settings_is_a_job_for_each() -> None:
    """``-m +experiment=mixture 'data/mixture=glob(setting_*)'``; that their folders differ is shown above."""
    register_recipes(commands=commands_served(conf_dir(), "train"))
    parser = OverridesParser.create(config_loader=ConfigLoaderImpl(search_path(conf_dir())))
    overrides = parser.parse_overrides(["+experiment=mixture", "data/mixture=glob(setting_*)"])
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    assert jobs == [["+experiment=mixture", f"data/mixture=setting_{number:02d}"] for number in ASKED]


@pytest.mark.parametrize(("recipe", "number"), [("sft_78k", 18), ("sft_1m", 21)])
def test_recipes_draw_their_settings_from_musicpile_sft_alone(files: dict[str, Path], recipe: str, number: int) -> None:
    path = f"data.corpus.sources.sft.files=[{files['sft']}]"
    cfg = compose("train", [f"+experiment={recipe}", "data.corpus.sources.sft.path=null", path])
    assert cfg.data.corpus.mixture.name == f"setting_{number:02d}"
    assert cfg.data.directory == f"outputs/data/{recipe}"
    report, _ = drawn(cfg)
    assert [pool["asked"] for pool in report["pools"].values()] == [rows for _, rows in ASKED[number]]
    assert report["left_out"] == {}
