import json
from dataclasses import replace
from pathlib import Path

import pytest

from chatmusician.dashboards.samples import Sample, rates, spread, write_samples

GOOD = Sample(
    prompt="Compose.",
    answer="X:1\nK:G\nGA|",
    abc="X:1\nK:G\nGA|",
    parses=True,
    bars=3,
    bars_right=3,
    problems=(),
    score=Path("1.png"),
    sound=None,
)
NONE = replace(GOOD, answer="No.", abc=None, parses=False, bars=0, bars_right=0, problems=("no tune",), score=None)


def test_rates_by_hand() -> None:
    """Two of four parse; of their 3 + 1 bars 3 + 0 are right."""
    wrong = replace(GOOD, bars=1, bars_right=0)
    assert rates([GOOD, NONE, wrong, NONE]) == {"samples/parse_rate": 0.5, "samples/bar_rate": 0.75}
    assert rates([NONE]) == {"samples/parse_rate": 0.0}


def test_samples_are_lines_of_json(tmp_path: Path) -> None:
    write_samples([GOOD, replace(NONE, answer="half a surrogate \ud800")], tmp_path / "new" / "answers.jsonl")
    first, second = (json.loads(line) for line in (tmp_path / "new" / "answers.jsonl").read_text().splitlines())
    assert (first["abc"], first["score"], first["sound"]) == (GOOD.abc, "1.png", None)
    assert second["problems"] == ["no tune"]


@pytest.mark.parametrize(
    ("count", "among", "places"), [(3, 10, [0, 3, 6]), (4, 4, [0, 1, 2, 3]), (4, 2, [0, 1]), (4, 0, [])]
)
def test_places_are_spread(count: int, among: int, places: list[int]) -> None:
    assert spread(count, among) == places
