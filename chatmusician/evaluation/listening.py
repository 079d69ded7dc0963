"""A blind listening test of two evaluations, as a web page on this machine, in place of the paper's human study.

Both models answered the same questions. The page plays the two answers to one question under neutral names, in an order
drawn by lot, and asks which is better; votes go to a JSON-lines file as they are given, so that listeners can stop and
go on. The win rate of the first model is the share of its wins among the votes that prefer one side, with Wilson's 95%
interval; ties are counted apart.
"""

import html
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chatmusician.errors import UserError
from chatmusician.evaluation.gallery import show
from chatmusician.evaluation.intervals import wilson
from chatmusician.reporting.report import TuneExhibit

HOST = "127.0.0.1"
SIDES = ("left", "right")
VOTE_BYTES = 10_000
"""Most bytes of a vote that is read."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two answers to one question."""

    number: int
    question: str
    left: Mapping[str, Any]
    right: Mapping[str, Any]
    left_model: str
    right_model: str


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What a listener said of a pair."""

    pair: int
    preferred: str
    """``left``, ``right`` or ``tie``."""
    winner: str | None
    """The model preferred; None for a tie."""


def make_pairs(answers: Mapping[str, Sequence[Mapping[str, Any]]], *, seed: int) -> list[Pair]:
    """The questions that both models answered with a tune that parses, in an order and on sides drawn by lot.

    Args:
        answers: name of each of two models -> its records, with ``question``, ``answer`` and ``parses``.
        seed: of the lot.

    Raises:
        UserError: the two share no such question.
    """
    (first, its), (second, others) = answers.items()
    by_question = {answer["question"]: answer for answer in others if answer["parses"]}
    both = [
        (answer, by_question[answer["question"]])
        for answer in its
        if answer["parses"] and answer["question"] in by_question
    ]
    if not both:
        raise UserError(f"{first} and {second} have no question in common that both answered with a tune")
    draw = random.Random(seed)
    draw.shuffle(both)
    pairs = []
    for number, (a, b) in enumerate(both):
        sides = [(first, a), (second, b)]
        draw.shuffle(sides)
        (left_model, left), (right_model, right) = sides
        pairs.append(
            Pair(
                number=number,
                question=a["question"],
                left=left,
                right=right,
                left_model=left_model,
                right_model=right_model,
            )
        )
    return pairs


class ListeningTest:
    """The state of a test: its pairs, and the votes in a file.

    Raises:
        UserError: the file holds something else than votes on these pairs.
    """

    def __init__(self, *, pairs: Sequence[Pair], models: tuple[str, str], votes: Path) -> None:
        self.pairs, self.models, self.path = list(pairs), models, votes
        self._lock = Lock()
        self.votes: dict[int, Vote] = {}
        for number, line in enumerate(votes.read_text().splitlines() if votes.is_file() else [], start=1):
            try:
                vote = Vote(**json.loads(line))
                known = vote.winner is None or vote.winner in self.models
            except (ValueError, TypeError):
                known = False
            if not known or not 0 <= vote.pair < len(self.pairs):
                raise UserError(f"{votes}, line {number} is no vote of this test: choose another file")
            self.votes[vote.pair] = vote
        self._show = lru_cache(16)(self._render)

    def next_pair(self) -> Pair | None:
        """The first pair without a vote; None when all have one."""
        return next((pair for pair in self.pairs if pair.number not in self.votes), None)

    def vote(self, number: int, preferred: str) -> None:
        """Record what was preferred, on the disk before anything else."""
        pair = self.pairs[number]
        winner = {"left": pair.left_model, "right": pair.right_model, "tie": None}[preferred]
        vote = Vote(pair=number, preferred=preferred, winner=winner)
        with self._lock, self.path.open("a") as file:
            file.write(json.dumps(asdict(vote)) + "\n")
            file.flush()
            self.votes[number] = vote

    def exhibit(self, number: int, side: str) -> TuneExhibit:
        """The tune of one side, drawn and played."""
        return self._show(number, side)

    def _render(self, number: int, side: str) -> TuneExhibit:
        return show(side, getattr(self.pairs[number], side))

    def result(self) -> str:
        """One line on the votes so far."""
        first, second = self.models
        winners = [vote.winner for vote in self.votes.values()]
        wins, losses, ties = winners.count(first), winners.count(second), winners.count(None)
        if not wins + losses:
            return f"{len(winners)} votes, none for a side yet"
        rate = wilson(wins, wins + losses)
        return (
            f"{first} was preferred to {second} in {wins} of {wins + losses} votes: {rate.estimate:.0%} "
            f"(95% interval {rate.low:.0%} to {rate.high:.0%}), {ties} ties"
        )


class _Page(BaseHTTPRequestHandler):
    """Routes: / the next pair, /score and /sound its parts, /vote, /results."""

    test: ListeningTest

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.strip("/").split("/")
        if path == [""]:
            self._send_page(self._pair_page())
        elif path == ["results"]:
            self._send_page(f"<p>{html.escape(self.test.result())}</p><p><a href='/'>Back</a></p>")
        elif len(path) == 3 and path[0] in ("score", "sound") and path[1].isdigit() and path[2] in SIDES:
            self._send_part(path[0], int(path[1]), path[2])
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        # Another site's page cannot vote: browsers say where a form comes from.
        if self.path != "/vote" or length > VOTE_BYTES or not self._is_ours(self.headers.get("Origin")):
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        form = parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        number, preferred = form.get("pair", [""])[0], form.get("preferred", [""])[0]
        valid = number.isdigit() and int(number) < len(self.test.pairs) and preferred in (*SIDES, "tie")
        if not valid:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        self.test.vote(int(number), preferred)
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        self.end_headers()

    def _is_ours(self, origin: str | None) -> bool:
        return origin is None or urlsplit(origin).netloc == self.headers.get("Host")

    def _pair_page(self) -> str:
        pair = self.test.next_pair()
        if pair is None:
            return f"<h1>Thank you</h1><p>All pairs have been heard. {html.escape(self.test.result())}</p>"
        sides = "".join(
            f"<article><h2>{side.title()}</h2><img alt='The score' src='/score/{pair.number}/{side}'>"
            f"<audio controls src='/sound/{pair.number}/{side}'></audio>"
            f"<button name='preferred' value='{side}' accesskey='{side[0]}'>{side.title()} is better</button></article>"
            for side in SIDES
        )
        heard = len(self.test.votes)
        return (
            f"<h1>Which tune is better?</h1><p>{heard} of {len(self.test.pairs)} heard</p>"
            f"<details><summary>What was asked for</summary><pre>{html.escape(pair.question)}</pre></details>"
            f"<form method='post' action='/vote'><input type='hidden' name='pair' value='{pair.number}'>"
            f"<div class='pair'>{sides}</div><button name='preferred' value='tie'>Neither</button></form>"
        )

    def _send_part(self, part: str, number: int, side: str) -> None:
        tune = self.test.exhibit(number, side) if number < len(self.test.pairs) else None
        content = None if tune is None else tune.png if part == "score" else tune.mp3
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._send(content, "image/png" if part == "score" else "audio/mpeg")

    def _send_page(self, body: str) -> None:
        page = (
            "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>Listening test</title>"
            f"<meta name='viewport' content='width=device-width, initial-scale=1'><style>{_STYLE}</style></head>"
            f"<body>{body}</body></html>"
        )
        self._send(page.encode(), "text/html; charset=utf-8")

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: votes are private, and the terminal shows the result."""


def make_server(test: ListeningTest, *, port: int) -> ThreadingHTTPServer:
    """The page's server, on the loopback address alone; port 0 takes a free one.

    Raises:
        UserError: the port is taken.
    """
    page = type("Page", (_Page,), {"test": test})
    try:
        return ThreadingHTTPServer((HOST, port), page)
    except OSError as error:
        raise UserError(f"port={port} cannot be used ({error.strerror}): choose another") from error


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
.pair { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
img { background: #fff; max-width: 100%; }
audio { display: block; width: 100%; }
button { font: inherit; margin: .5rem 0; padding: .5rem 1rem; }
"""
