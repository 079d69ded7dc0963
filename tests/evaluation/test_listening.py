"""The listening test, with a real server and the requests that a browser makes."""

import io
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import soundfile
from PIL import Image

from chatmusician.errors import UserError
from chatmusician.evaluation.gallery import choose, show
from chatmusician.evaluation.listening import HOST, ListeningTest, make_pairs, make_server

TUNE = "X:1\nL:1/8\nM:4/4\nK:G\nG2BG dGBG | {} |]\n"


def answer(question: str, bar: str = "G8", **changes: Any) -> dict[str, Any]:
    record = {"task": "text_to_score", "question": question, "answer": TUNE.format(bar), "parses": True, "reason": None}
    return {**record, "bars": 2, "bars_right": 2, **changes}


ANSWERS = {
    "mine": [answer("one"), answer("two"), answer("three", parses=False), answer("four")],
    "theirs": [answer("four", "d8"), answer("one", "d8"), answer("two", "d8"), answer("three", "d8")],
}


def test_pairs_are_questions_that_both_answered_with_a_tune() -> None:
    pairs = make_pairs(ANSWERS, seed=3)
    assert sorted(pair.question for pair in pairs) == ["four", "one", "two"]
    assert [pair.number for pair in pairs] == [0, 1, 2]
    for pair in pairs:
        assert {pair.left_model, pair.right_model} == {"mine", "theirs"}
        mine = pair.left if pair.left_model == "mine" else pair.right
        assert "G8" in mine["answer"]
    assert pairs == make_pairs(ANSWERS, seed=3)
    orders = {tuple((pair.question, pair.left_model) for pair in make_pairs(ANSWERS, seed=seed)) for seed in range(20)}
    assert len(orders) > 5
    with pytest.raises(UserError, match="mine and theirs have no question in common"):
        make_pairs({"mine": [answer("one")], "theirs": [answer("two")]}, seed=0)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, ListeningTest]]:
    test = ListeningTest(pairs=make_pairs(ANSWERS, seed=3), models=("mine", "theirs"), votes=tmp_path / "votes.jsonl")
    with make_server(test, port=0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_address[1]}", test
        server.shutdown()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as response:
        content: bytes = response.read()
    return content


def post(url: str, headers: dict[str, str] | None = None, **form: str) -> bytes:
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), headers or {})
    with urllib.request.urlopen(request, timeout=60) as response:
        content: bytes = response.read()
    return content


def test_a_listener_hears_votes_and_sees_the_result(served: tuple[str, ListeningTest], tmp_path: Path) -> None:
    url, test = served
    page = get(url).decode()
    assert "0 of 3 heard" in page
    assert "mine" not in page and "theirs" not in page
    with Image.open(io.BytesIO(get(f"{url}/score/0/left"))) as image:
        assert image.format == "PNG"
    samples, rate = soundfile.read(io.BytesIO(get(f"{url}/sound/0/left")))
    assert len(samples) > rate  # more than a second, and not silence
    assert abs(samples).max() > 0.1

    for pair in test.pairs[:2]:
        side = "left" if pair.left_model == "mine" else "right"
        page = post(f"{url}/vote", pair=str(pair.number), preferred=side).decode()
    assert "2 of 3 heard" in page
    assert "Thank you" in post(f"{url}/vote", pair="2", preferred="tie").decode()
    expected = "mine was preferred to theirs in 2 of 2 votes: 100% (95% interval 34% to 100%), 1 ties"
    assert expected in get(f"{url}/results").decode()

    votes = [json.loads(line) for line in (tmp_path / "votes.jsonl").read_text().splitlines()]
    assert [vote["winner"] for vote in votes] == ["mine", "mine", None]
    again = ListeningTest(pairs=test.pairs, models=test.models, votes=tmp_path / "votes.jsonl")
    assert again.next_pair() is None
    assert again.result() == expected


@pytest.mark.parametrize(
    ("path", "form", "headers"),
    [
        ("/vote", {"pair": "9", "preferred": "left"}, {}),
        ("/vote", {"pair": "0", "preferred": "mine"}, {}),
        ("/vote", {"pair": "-1", "preferred": "left"}, {}),
        ("/vote", {}, {}),
        ("/elsewhere", {"pair": "0", "preferred": "left"}, {}),
        ("/vote", {"pair": "0", "preferred": "left"}, {"Origin": "http://example.org"}),
        ("/vote", {"pair": "0", "preferred": "left" * 5000}, {}),
    ],
)
def test_what_is_no_vote_is_refused(
    served: tuple[str, ListeningTest], path: str, form: dict[str, str], headers: dict[str, str]
) -> None:
    url, test = served
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(url + path, headers, **form)
    assert refused.value.code == 400
    assert test.votes == {}


@pytest.mark.parametrize("path", ["/nothing", "/score/7/left", "/score/0/middle", "/score/x/left", "/sound/0"])
def test_what_is_not_there_is_not_found(served: tuple[str, ListeningTest], path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as missing:
        get(served[0] + path)
    assert missing.value.code == 404


def test_votes_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "votes.jsonl").write_text('{"pair": 0, "preferred": "left", "winner": "somebody"}\n')
    with pytest.raises(UserError, match=r"votes\.jsonl, line 1 is no vote of this test"):
        ListeningTest(pairs=make_pairs(ANSWERS, seed=3), models=("mine", "theirs"), votes=tmp_path / "votes.jsonl")


def test_a_port_that_is_taken_is_one_line(served: tuple[str, ListeningTest]) -> None:
    url, test = served
    with pytest.raises(UserError, match=r"port=\d+ cannot be used \(Address already in use\): choose another"):
        make_server(test, port=int(url.rpartition(":")[2]))


def test_the_gallery_has_the_best_the_median_and_the_worst_of_each_task() -> None:
    answers = [answer(f"q{right}", bars=4, bars_right=right) for right in (2, 4, 0, 3, 1)]
    answers.append(answer("none", parses=False, bars=0, bars_right=0))
    answers.append(answer("other", task="form_to_music"))
    chosen = [(title, record["question"]) for title, record in choose(answers)]
    assert chosen == [
        ("form to music, best", "other"),
        ("text to score, best", "q4"),
        ("text to score, median", "q1"),
        ("text to score, worst", "none"),
    ]


def test_an_answer_without_a_tune_is_shown_with_the_reason() -> None:
    shown = show("jig, worst", answer("one", answer="I cannot.", parses=False, reason="no tune", bars=0, bars_right=0))
    assert (shown.png, shown.mp3, shown.abc) == (None, None, "I cannot.")
    assert shown.remarks == ("the answer has neither an X: line nor a K: line with music after it",)
