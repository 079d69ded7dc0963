import sys
from pathlib import Path

import pytest
from tiny_corpus import Texts

from chatmusician.data.engines import LocalProcesses, find_engine
from chatmusician.data.preparation import PackingSettings, prepare
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.errors import UserError


@pytest.mark.parametrize("workers", [1, 2])
def test_results_of_local_processes_come_in_order(workers: int) -> None:
    assert list(find_engine("local", workers=workers)(abs, range(-30, 0))) == list(range(30, 0, -1))


def test_local_processes_take_few_items_ahead() -> None:
    taken = []
    results = LocalProcesses(workers=2)(abs, (taken.append(n) or n for n in range(100)))
    assert next(results) == 0
    assert len(taken) <= 8
    assert list(results) == list(range(1, 100))


def test_an_engine_that_there_is_not_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^engine='spark': use one of local, ray$"):
        prepare(
            corpus=Texts({"train": ["ab"]}),
            tokenizer=TrainedTokenizer(vocab_size=259),
            settings=PackingSettings(seq_len=4),
            directory=tmp_path / "data",
            engine="spark",
        )
    assert not (tmp_path / "data").exists()


def test_without_ray_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    message = r"^engine='ray' needs Ray, which is not installed: pip install 'chatmusician\[ray\]'$"
    with pytest.raises(UserError, match=message):
        find_engine("ray", workers=1)
