"""A tune that is really converted, engraved and played, by the tools that training, evaluation and the demo use."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from chatmusician.diagnosis.findings import Finding, State
from chatmusician.errors import UserError
from chatmusician.music.audio import midi_to_wav
from chatmusician.music.engraving import Engraving, engrave, rasterise, write_pdf
from chatmusician.music.midi import abc_to_midi
from chatmusician.music.sandbox import protections

TUNE = "X:1\nT:Probe\nM:4/4\nL:1/8\nK:G\n|: GABc dedB | dedB dedB :|\n"


def music_tools() -> Iterator[Finding]:
    """Each step from ABC to score and sound; one that fails is broken, since all of its packages are required."""
    with ThreadPoolExecutor(max_workers=3) as pool:
        confined = pool.submit(_confinement)
        sound = pool.submit(_sound)
        score = pool.submit(_score)
        yield from score.result()
        yield from sound.result()
        yield confined.result()
    yield _better("abcm2ps", "endings, parts and line breaks in scores; verovio engraves without it")


def _sound() -> list[Finding]:
    made: dict[str, bytes] = {}

    def convert() -> str:
        made["midi"] = abc_to_midi(TUNE)
        return f"{len(made['midi'])} bytes of MIDI"

    findings = [_tried("abc2midi", "symusic", convert)]
    if made:
        findings.append(_tried("sound", "midirenderer", lambda: f"{len(midi_to_wav(made['midi'])) >> 10} KiB of WAV"))
    return findings


def _score() -> list[Finding]:
    made: list[Engraving] = []

    def draw() -> str:
        made.append(engrave(TUNE, paper=True))
        return f"drawn by {made[0].engraver}"

    findings = [_tried("score", "verovio", draw)]
    if made:
        findings += [
            _tried("PNG", "resvg-py", lambda: f"{len(rasterise(made[0].svg).content)} bytes"),
            _tried("PDF", "typst", lambda: f"{len(write_pdf(made[0].pages, title='Probe').content)} bytes"),
        ]
    return findings


def _tried(name: str, package: str, step: Callable[[], str]) -> Finding:
    """What a step says it has made, or why it could not; ``package`` is what brings its tool."""
    try:
        return Finding(name=name, state=State.OK, found=step())
    except (UserError, OSError) as error:
        remedy = f"pip install --force-reinstall {package}"
        return Finding(name=name, state=State.BROKEN, found=str(error), remedy=remedy)


def _confinement() -> Finding:
    """What the tools are cut off from while they read a tune that a model or a visitor wrote."""
    try:
        holds = protections()
    except (UserError, OSError) as error:
        return Finding(name="sandbox", state=State.BROKEN, found=str(error), remedy="allow child processes here")
    parts = {"network": holds.network, "files": holds.files, "other processes": holds.processes}
    closed = [name for name, is_closed in parts.items() if is_closed]
    found = f"tools reach no {', no '.join(closed)}" if closed else "tools have limits of time, memory and file size"
    if len(closed) == len(parts):
        return Finding(name="sandbox", state=State.OK, found=found)
    remedy = "serve the demo to others from Linux 5.13 or later only"
    return Finding(name="sandbox", state=State.OPTIONAL, found=found, remedy=remedy)


def _better(program: str, purpose: str) -> Finding:
    place = shutil.which(program)
    if place is not None:
        return Finding(name=program, state=State.OK, found=place)
    remedy = f"apt-get install {program}"
    return Finding(name=program, state=State.OPTIONAL, found=f"not installed: for {purpose}", remedy=remedy)
