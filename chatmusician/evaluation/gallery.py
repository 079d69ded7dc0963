"""Tunes for the report: of each task the best, the median and the worst answer, drawn and played.

Answers are ranked by the share of their bars that add up, an answer without a tune that parses below all others, and
of equal ones the longer first. Sound is MP3, mono, a tenth of the WAV's size, which every browser plays.
"""

import io
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chatmusician.music.extraction import extract_tune
from chatmusician.music.rendering import render
from chatmusician.reporting.report import TuneExhibit

PLACES = ("best", "median", "worst")
DRAWN_AT_ONCE = 2
"""Tunes that are drawn and played side by side, each in child processes."""


def choose(answers: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """The answers to show: ``task, place`` with the record, by task in the order of the names.

    Args:
        answers: records with ``task``, ``question``, ``answer``, ``parses``, ``bars`` and ``bars_right``.
    """
    chosen: list[tuple[str, Mapping[str, Any]]] = []
    for task in sorted({str(answer["task"]) for answer in answers}):
        ranked = sorted((answer for answer in answers if answer["task"] == task), key=_rank, reverse=True)
        places = {len(ranked) // 2: "median", len(ranked) - 1: "worst", 0: "best"}
        chosen += [(f"{task.replace('_', ' ')}, {place}", ranked[index]) for index, place in sorted(places.items())]
    return chosen


def _rank(answer: Mapping[str, Any]) -> tuple[float, int]:
    if not answer["parses"] or not answer["bars"]:
        return -1.0, len(answer["answer"])
    return answer["bars_right"] / answer["bars"], answer["bars"]


def exhibit(chosen: Sequence[tuple[str, Mapping[str, Any]]]) -> list[TuneExhibit]:
    """Draw and play the chosen answers."""
    with ThreadPoolExecutor(DRAWN_AT_ONCE) as pool:
        return list(pool.map(lambda pair: show(*pair), chosen))


def show(title: str, answer: Mapping[str, Any]) -> TuneExhibit:
    """One answer with score and sound, and with words where it has none."""
    extraction = extract_tune(str(answer["answer"]))
    question = str(answer["question"])
    if extraction.abc is None:
        return TuneExhibit(title=title, question=question, abc=str(answer["answer"]), remarks=(f"{extraction.reason}",))
    remarks = [] if answer["parses"] else [f"it does not parse: {answer['reason']}"]
    if answer["bars_right"] < answer["bars"]:
        remarks.append(f"{answer['bars'] - answer['bars_right']} of {answer['bars']} bars do not add up")
    with tempfile.TemporaryDirectory() as folder:
        rendering = render(extraction.abc, folder, formats=("png", "wav"))
        files = {kind: path.read_bytes() for kind, path in rendering.paths.items()}
    return TuneExhibit(
        title=title,
        question=question,
        abc=extraction.abc,
        remarks=(*remarks, *rendering.problems),
        png=files.get("png"),
        mp3=to_mp3(files["wav"]) if "wav" in files else None,
    )


def to_mp3(wav: bytes) -> bytes:
    """A WAV file as mono MP3."""
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(wav), always_2d=True)  # [frames, channels]
    out = io.BytesIO()
    soundfile.write(out, samples.mean(axis=1), rate, format="MP3")
    return out.getvalue()
