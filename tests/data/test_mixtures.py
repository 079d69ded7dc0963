from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from chatmusician.data.mixtures import Census, Mixture, Plan, is_of
from chatmusician.data.units import Rejection
from chatmusician.errors import UserError

CATEGORIES = {"verbal": ["knowledge", "summary"], "score": ["irishman", "bach"], "general": ["dolly"]}


def mixture(**settings: Any) -> Mixture:
    return Mixture(**{"name": "m", "categories": CATEGORIES, **settings})


def census(*rows: str | None, files: int = 1, passed: Mapping[str, int] | None = None) -> Census:
    """Rows by their source; those in capitals are held out, and None has no document."""
    names = list(dict.fromkeys(row.lower() for row in rows if row))
    return Census(
        names=tuple(names),
        sources=np.array([-1 if row is None else names.index(row.lower()) for row in rows], np.int32),
        trains=np.array([row is not None and row.islower() for row in rows], np.bool_),
        passed=dict(passed or {}),
        rejections=tuple(
            Rejection(file="a.jsonl", line=line, reason="no JSON") for line, row in enumerate(rows, 1) if row is None
        ),
        files=files,
    )


def taken(plan: Plan, rows: Sequence[str]) -> Counter[str]:
    """How often rows of each source are trained on."""
    counts: Counter[str] = Counter()
    for row, copies in zip(rows, np.concatenate(plan.copies).tolist(), strict=True):
        counts[row] += copies
    return +counts


def test_shares_of_the_rows_asked_for() -> None:
    rows = ["knowledge"] * 10 + ["summary"] * 30 + ["irishman"] * 40 + ["dolly"] * 5
    plan = mixture(shares={"verbal": 2, "score": 1}, rows=30).plan([census(*rows)])
    counts = taken(plan, rows)
    assert counts["knowledge"] + counts["summary"] == 20
    assert counts["irishman"] == 10
    assert set(counts) <= {"knowledge", "summary", "irishman"}
    assert plan.report == {
        "pools": {
            "verbal": {
                "asked": 20,
                "taken": 20,
                "missing": 0,
                "sources": {
                    "knowledge": {"rows": 10, "taken": counts["knowledge"]},
                    "summary": {"rows": 30, "taken": counts["summary"]},
                },
            },
            "score": {"asked": 10, "taken": 10, "missing": 0, "sources": {"irishman": {"rows": 40, "taken": 10}}},
        },
        "left_out": {"dolly": 5},
    }


def test_no_row_is_drawn_twice_that_is_there_once() -> None:
    rows = ["irishman"] * 100
    (copies,) = mixture(shares={"score": 1}, rows=60).plan([census(*rows)]).copies
    assert Counter(copies.tolist()) == {1: 60, 0: 40}


def test_a_pool_that_is_too_small_gives_all_it_has_and_says_what_is_missing() -> None:
    rows = ["knowledge"] * 7 + ["bach"] * 3 + ["irishman"] * 2
    plan = mixture(shares={"verbal": 1, "bach": 1}, rows=20).plan([census(*rows)])
    assert taken(plan, rows) == {"knowledge": 7, "bach": 3}
    pools = plan.report["pools"]
    assert [(pools[pool]["asked"], pools[pool]["missing"]) for pool in ("verbal", "bach")] == [(10, 3), (10, 7)]
    assert plan.report["left_out"] == {"irishman": 2}


def test_a_pool_without_rows_is_missing_whole() -> None:
    plan = mixture(shares={"verbal": 1, "dolly": 1}, rows=4).plan([census("summary", "summary")])
    assert plan.report["pools"]["dolly"] == {"asked": 2, "taken": 0, "missing": 2, "sources": {}}


@pytest.mark.parametrize(
    ("shares", "rows", "asked"),
    [
        ({"verbal": 2, "score": 1}, 78_000, [52_000, 26_000]),
        ({"verbal": 5, "irishman": 1}, 52_000, [43_333, 8667]),  # 43333 1/3 and 8666 2/3
        ({"verbal": 1, "score": 1, "general": 1}, 100, [33, 34, 33]),  # the ends are 33 1/3, 66 2/3 and 100
        ({"verbal": 1, "score": 1}, 1, [0, 1]),
        ({"verbal": 0.1, "score": 0.2}, 3, [1, 2]),
        ({"verbal": 1}, 7, [7]),
    ],
)
def test_what_is_asked_of_the_pools_adds_up(shares: dict[str, float], rows: int, asked: list[int]) -> None:
    plan = mixture(shares=shares, rows=rows).plan([census("summary")])
    assert [pool["asked"] for pool in plan.report["pools"].values()] == asked
    assert sum(asked) == rows


def test_without_rows_all_of_each_pool_are_taken() -> None:
    rows = ["knowledge"] * 4 + ["bach"] * 2 + ["dolly"]
    assert taken(mixture(shares={"verbal": 2, "bach": 1}).plan([census(*rows)]), rows) == {"knowledge": 4, "bach": 2}
    assert taken(mixture().plan([census(*rows)]), rows) == {"knowledge": 4, "bach": 2, "dolly": 1}


def test_repeated_rows_are_in_their_pools_so_often() -> None:
    """Of 4 rows that are there 10 times and 10 that are there once, 50 are all, and 25 a half."""
    rows = ["bach"] * 4 + ["irishman"] * 10
    all_of_them = mixture(shares={"score": 1}, repeats={"bach": 10}).plan([census(*rows)])
    assert taken(all_of_them, rows) == {"bach": 40, "irishman": 10}
    assert all_of_them.report["pools"]["score"] == {
        "asked": 50,
        "taken": 50,
        "missing": 0,
        "sources": {"bach": {"rows": 4, "taken": 40}, "irishman": {"rows": 10, "taken": 10}},
    }
    half = mixture(shares={"score": 1}, repeats={"bach": 10}, rows=25).plan([census(*rows)])
    (copies,) = half.copies
    assert copies.sum() == 25
    assert copies[:4].max() > 1
    assert copies[4:].max() == 1
    whole_category = mixture(shares={"score": 1}, repeats={"score": 3}).plan([census(*rows)])
    assert taken(whole_category, rows) == {"bach": 12, "irishman": 30}


def test_a_row_in_two_pools_may_be_drawn_for_both() -> None:
    rows = ["bach"] * 2 + ["irishman"]
    assert taken(mixture(shares={"score": 1, "bach": 1}).plan([census(*rows)]), rows) == {"bach": 4, "irishman": 1}


def test_pools_of_categories_and_sources_hold_each_row_once() -> None:
    rows = ["bach"] * 2 + ["irishman", "summary"]
    plan = mixture(shares={"score+bach+summary": 1}).plan([census(*rows)])
    assert taken(plan, rows) == {"bach": 2, "irishman": 1, "summary": 1}


def test_held_out_rows_are_not_trained_on_and_those_of_pools_are_kept() -> None:
    plan = mixture(shares={"score": 1}).plan([census("bach", "BACH", "DOLLY", None), census("DOLLY", "IRISHMAN")])
    assert [part.tolist() for part in plan.copies] == [[1, 0, 0, 0], [0, 0]]
    assert [part.tolist() for part in plan.held_out] == [[False, True, False, False], [False, True]]
    assert plan.report["left_out"] == {"dolly": 2}


def test_what_is_drawn_does_not_depend_on_how_rows_are_cut_into_units() -> None:
    rows = [("bach", "summary", "dolly", "KNOWLEDGE", "irishman")[n * n % 5] for n in range(200)]
    drawn = []
    for size in (1, 7, 200):
        censuses = [census(*rows[start : start + size]) for start in range(0, len(rows), size)]
        plan = mixture(shares={"verbal": 1, "score": 1}, repeats={"bach": 3}, rows=60).plan(censuses)
        assert [len(part) for part in plan.copies] == [len(part.sources) for part in censuses]
        drawn.append((np.concatenate(plan.copies).tolist(), np.concatenate(plan.held_out).tolist(), plan.report))
    assert drawn[0] == drawn[1] == drawn[2]


def test_the_seed_decides_what_is_drawn() -> None:
    rows = ["irishman"] * 1000

    def drawn(seed: int) -> list[int]:
        (copies,) = mixture(shares={"score": 1}, rows=500, seed=seed).plan([census(*rows)]).copies
        return copies.tolist()

    assert drawn(1) == drawn(1) != drawn(2)


def test_what_was_looked_at_is_counted_without_what_was_lost() -> None:
    lost = Rejection(file="b.parquet", line=3, reason="damaged", lost_file=True)
    broken = Census(
        names=(),
        sources=np.array([-1], np.int32),
        trains=np.array([False]),
        passed={},
        rejections=(lost,),
        files=0,
    )
    plan = mixture().plan([census("bach", None, passed={"pile": 4}), broken, census("dolly", passed={"pile": 1})])
    assert (plan.rows, plan.files) == (3, 2)
    assert plan.rejections == (Rejection(file="a.jsonl", line=2, reason="no JSON"), lost)
    assert plan.report["left_out"] == {"pile": 5}


def test_a_corpus_of_no_units_has_an_empty_plan() -> None:
    plan = mixture(shares={"score": 1}, rows=3).plan([])
    assert (plan.copies, plan.held_out, plan.rows) == ([], [], 0)
    assert plan.report["pools"]["score"]["missing"] == 3


@pytest.mark.parametrize(
    ("source", "names", "expected"),
    [
        ("music knowledge", ("music knowledge",), True),
        ("Music_Knowledge", ("music-knowledge",), True),
        ("music  knowledge 2", ("music knowledge",), True),
        ("gpt4-alpaca", ("dolly", "alpaca"), True),
        ("camel-math", ("gsm8k", "math"), True),
        ("knowledge", ("music knowledge",), False),
        ("", ("dolly",), False),
        ("dolly", (), False),
    ],
)
def test_a_row_is_of_a_source_whose_name_its_own_contains(source: str, names: tuple[str, ...], expected: bool) -> None:
    assert is_of(source, names) is expected


def test_rows_of_sources_in_no_category_are_not_known() -> None:
    assert mixture().knows("the-irishman")
    assert not mixture().knows("pile")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shares": {"vocal": 1}}, "corpus.mixture: 'vocal' is no category or source; use some of verbal, score, gen"),
        ({"shares": {"verbal+": 1}}, "corpus.mixture: '' is no category or source"),
        ({"repeats": {"vocal": 2}}, "corpus.mixture: 'vocal' is no category or source"),
        ({"rows": 0}, "corpus.mixture.rows=0: use at least 1 row, or null for all"),
        ({"shares": {"verbal": 0}}, "corpus.mixture.shares.verbal=0: use a number above 0"),
        ({"shares": {"verbal": -1.5}}, "corpus.mixture.shares.verbal=-1.5: use a number above 0"),
        ({"repeats": {"bach": 0}}, "corpus.mixture.repeats.bach=0: use a number above 0"),
        ({"repeats": {"bach": 1.5}}, "corpus.mixture.repeats.bach=1.5: use a whole number"),
        ({"categories": {}}, "corpus.mixture: '' is no category or source"),
    ],
)
def test_settings_that_make_no_mixture_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        mixture(**settings)
    assert str(refused.value).startswith(message)
