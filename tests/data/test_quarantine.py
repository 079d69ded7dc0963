import json
from pathlib import Path

import pytest

from chatmusician.data.quarantine import Quarantine
from chatmusician.data.units import Rejection
from chatmusician.errors import UserError


def row(line: int, reason: str = "no JSON", file: str = "a.jsonl") -> Rejection:
    return Rejection(file=file, line=line, reason=reason)


def lost(file: str, line: int = 0, reason: str = "no Parquet") -> Rejection:
    return Rejection(file=file, line=line, reason=reason, lost_file=True)


def filled(path: Path, *rejections: Rejection, rows: int, files: int) -> Quarantine:
    with Quarantine(path) as quarantine:
        quarantine.add(rejections, rows=rows, files=files)
    return quarantine


def test_each_rejection_is_a_line(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "quarantine.jsonl") as quarantine:
        quarantine.add([row(3, "half a “text”")], rows=5, files=1)
        quarantine.add([])
        quarantine.add([lost("b.parquet"), row(9)], rows=10, files=2)
    assert [json.loads(line) for line in quarantine.path.read_text().splitlines()] == [
        {"file": "a.jsonl", "line": 3, "reason": "half a “text”"},
        {"file": "b.parquet", "line": 0, "reason": "no Parquet"},
        {"file": "a.jsonl", "line": 9, "reason": "no JSON"},
    ]
    assert (quarantine.rejected, quarantine.rows) == (3, 15)


def test_half_a_surrogate_pair_is_an_escape_of_json(tmp_path: Path) -> None:
    """As Linux lets a file's name have, which Python reads as ``\\udce9``."""
    quarantine = filled(tmp_path / "q.jsonl", row(1, "no \ud83c", file="caf\udce9.jsonl"), rows=1, files=1)
    (line,) = quarantine.path.read_bytes().splitlines()
    assert json.loads(line.decode()) == {"file": "caf\udce9.jsonl", "line": 1, "reason": "no \ud83c"}


def test_nothing_is_left_of_a_run_that_failed_and_the_last_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    filled(path, row(1), rows=1, files=1)
    with pytest.raises(KeyboardInterrupt), Quarantine(path) as quarantine:
        quarantine.add([row(2)], rows=1)
        raise KeyboardInterrupt
    assert [json.loads(line)["line"] for line in path.read_text().splitlines()] == [1]
    assert [file.name for file in tmp_path.iterdir()] == ["q.jsonl"]


@pytest.mark.parametrize(
    ("rejected", "rows", "most"),
    [(1, 100, 0.01), (10, 1000, 0.01), (0, 0, 0.0), (3, 3, 1.0), (1, 3, 0.34), (7, 700, 0.01)],
)
def test_as_many_may_be_rejected_as_the_share_allows(tmp_path: Path, rejected: int, rows: int, most: float) -> None:
    filled(tmp_path / "q.jsonl", *map(row, range(rejected)), rows=rows, files=1).check(most)


@pytest.mark.parametrize(("rejected", "rows", "most"), [(2, 199, 0.01), (1, 1000, 0.0), (2, 3, 0.34)])
def test_one_row_more_is_refused_in_a_line_with_the_first_reason(
    tmp_path: Path, rejected: int, rows: int, most: float
) -> None:
    path = tmp_path / "q.jsonl"
    quarantine = filled(path, *(row(7 + n, f"reason {n}") for n in range(rejected)), rows=rows, files=1)
    with pytest.raises(UserError) as refused:
        quarantine.check(most)
    assert str(refused.value) == (
        f"{rejected} of {rows} rows were rejected, more than data.corpus.max_rejected={most} allows; the first: "
        f"a.jsonl, line 7: reason 0; mend what {path} lists, or raise that share"
    )


def test_files_are_judged_by_themselves(tmp_path: Path) -> None:
    """One of 50 files is more than 1%, though few rows were rejected, and those before it."""
    quarantine = filled(tmp_path / "q.jsonl", row(1), lost("b.parquet"), rows=10**6, files=50)
    with pytest.raises(UserError, match=r"^1 of 50 files were rejected, .* allows; the first: b.parquet: no Parquet; "):
        quarantine.check(0.01)
    quarantine.check(0.02)


def test_a_file_that_is_lost_in_several_places_is_one_file(tmp_path: Path) -> None:
    """Of a Parquet file with a damaged page each run behind it is lost."""
    several = [lost("b.parquet", line) for line in (100, 200, 300)]
    quarantine = filled(tmp_path / "q.jsonl", *several, rows=10, files=2)
    quarantine.check(0.5)
    with pytest.raises(UserError, match=r"^1 of 2 files were rejected, .* the first: b.parquet, line 100: no Parquet;"):
        quarantine.check(0.4)
    assert quarantine.rejected == 3
    assert len(quarantine.path.read_text().splitlines()) == 3
