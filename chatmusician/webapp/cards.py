"""Tune cards: the markup of a tune that was drawn and played.

Flow: `chatmusician.webapp.shelf.Shelved` -> `card` -> an HTML component of the page. Pure functions. Whatever a model
or a visitor wrote is escaped, the score is a PNG in an ``<img>`` and never SVG in the page, so that nothing of a tune
runs there. Addresses are relative: the page works under a prefix too.
"""

from html import escape

from chatmusician.webapp.shelf import STEM, Shelved

DOWNLOADS = (("abc", "ABC"), ("mid", "MIDI"), ("musicxml", "MusicXML"), ("wav", "WAV"), ("pdf", "PDF"))
"""Endings and names of what can be downloaded, in the order of the links."""
TITLE_CHARACTERS = 80
"""Length of a title that is shown."""

EMPTY = "<p class='hint'>A tune that is written here appears as a score, with its sound and its files.</p>"


def card(shelved: Shelved) -> str:
    """The score, the player, the downloads, and in words what is wrong."""
    title = shelved.title[:TITLE_CHARACTERS] or "Untitled"
    return (
        f"<article class='tune' aria-label='{escape(f'Tune: {title}')}'>"
        f"{_score(shelved, title)}{_player(shelved, title)}{_downloads(shelved)}{notices(shelved.problems)}</article>"
    )


def notices(lines: tuple[str, ...]) -> str:
    """A list of remarks; empty for none."""
    if not lines:
        return ""
    return "<ul class='problems'>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def notice(line: str, *, fault: bool = False) -> str:
    """One remark: announced by screen readers, at once if it is a fault."""
    role, kind = ("alert", "fault") if fault else ("status", "remark")
    return f"<p role='{role}' class='{kind}'>{escape(line)}</p>"


def _score(shelved: Shelved, title: str) -> str:
    if f"{STEM}.png" not in shelved.files:
        return notice("This tune could not be drawn.", fault=True)
    image = f"<img src='{_address(shelved, 'png')}' alt='{escape(f'The score of {title}')}'>"
    return f"<div class='score' tabindex='0' role='group' aria-label='Score'>{image}</div>"  # it scrolls on a phone


def _player(shelved: Shelved, title: str) -> str:
    if f"{STEM}.wav" not in shelved.files:
        return notice("This tune could not be played.", fault=True)
    label = escape(f"The sound of {title}")
    return f"<audio controls preload='metadata' src='{_address(shelved, 'wav')}' aria-label='{label}'></audio>"


def _downloads(shelved: Shelved) -> str:
    links = [
        f"<a href='{_address(shelved, ending)}' download='{STEM}.{ending}'>{name}</a>"
        for ending, name in DOWNLOADS
        if f"{STEM}.{ending}" in shelved.files
    ]
    return f"<p class='downloads'>Download {' '.join(links)}</p>"


def _address(shelved: Shelved, ending: str) -> str:
    return f"tunes/{shelved.key}/{STEM}.{ending}"
