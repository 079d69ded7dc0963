"""A second opinion on whether a tune can be read: that of abc2midi, the reference converter.

The two judge differently. abc2midi only warns of letters that mean nothing and of tuplets that lack notes, for which
`chatmusician.music.checks` refuses a tune; it calls errors ties to another note, endings out of place and repeats
without an end, which do not keep a tune from being read: of 222 held-out folk tunes it refuses 13 for such slips.
A check takes about 15 ms, most of it the start of the child.
"""

import re
from functools import lru_cache

from chatmusician.evaluation.answers import AnswerMean, TuneAnswer
from chatmusician.music.lexer import Kind, tokenize
from chatmusician.music.midi import find_abc2midi
from chatmusician.music.sandbox import ToolError, run_tool
from chatmusician.music.sanitising import sanitise

_ERROR = re.compile(r"^Error.*$", re.MULTILINE)
_BODY = re.compile(r"^K:.*\n", re.MULTILINE)


class AcceptedByAbc2midi(AnswerMean):
    """Share of answers whose tune ``abc2midi -c`` (5.02) reads without a line that begins with ``Error``.

    Not accepted are: an answer without a tune, a tune without a note (of which abc2midi says nothing), one on which it
    crashes or runs out of time, and one that had to be changed to be safe for it (`chatmusician.music.sanitising`).
    """

    def value(self, answer: TuneAnswer) -> float:
        """1 if it is accepted, else 0."""
        return float(answer.abc is not None and abc2midi_error(answer.abc) is None)


@lru_cache(maxsize=4096)
def abc2midi_error(abc: str) -> str | None:
    """Why abc2midi does not accept a tune; None if it does."""
    safe = sanitise(abc)
    if safe.removed:
        return f"not safe to convert: {safe.removed[0]}"
    parts = _BODY.split(abc, maxsplit=1)
    if not any(token.kind in (Kind.NOTE, Kind.CHORD) for token in tokenize(parts[-1] if len(parts) > 1 else "")):
        return "no notes after a K: line"
    try:
        files = {"tune.abc": safe.abc.encode() + b"\n"}
        result = run_tool([str(find_abc2midi()), "tune.abc", "-c"], files=files)
    except ToolError as error:
        return str(error)
    error_line = _ERROR.search((result.stdout + b"\n" + result.stderr).decode("utf-8", "replace"))
    if error_line is not None:
        return error_line.group()
    return f"abc2midi ended with status {result.exit_status}" if result.exit_status else None
