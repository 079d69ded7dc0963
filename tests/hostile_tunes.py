"""Tunes that want to do harm: real ones, mutated by a seed."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import NamedTuple

from chatmusician.music.tunes import split_tunes

CANARY = "canary 5f1c words"
"""In a file that tunes ask for; it must be in no output."""


class Insertion(NamedTuple):
    """Something to put into a tune: one of the shapes with ``{}`` replaced by one of the values, so many times."""

    shapes: tuple[str, ...]
    values: tuple[str, ...] = ("",)
    times: tuple[int, ...] = (1,)
    lines: bool = True
    """On a line of its own."""


PATHS = (
    "CANARY",
    "CANARY",
    "file://CANARY",
    '"CANARY"',
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "/proc/self/environ",
)
FIELDS = tuple(f"{name}:" for name in "ABCDFGHIKLMNOPQRSTUVWXZmrsw+")
FRACTIONS = ("1/0", "0/1", "0/0", "1/3", "3/7", "512/511", "1/511", "1//", "/", "//////////")
NUMBERS = ("0", "513", "99999", "2147483648", "9" * 40, "9" * 5000, "-1", "1e9")
SCRIPTS = ("春の海", "Ноты موسيقى שיר ไทย" * 30, "🎵🎻👩‍🎤", "e\u0301\u202e\u2066﷽\U0001d11e\ufeff" * 99)
MARKUP = (
    "<script>alert(1)</script>",
    "</text>&amp;&lt;]]>",
    "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
    "'\"><svg onload=x>",
)
INSERTIONS = (
    # music
    Insertion(
        ("C{}", "C/{}", "z{}", "Z{}", "[CE]{}", "({}:2:9", "(3:{}:3abc", "|{}", "[{},{}-{}", "y{}"),
        NUMBERS,
        lines=False,
    ),
    Insertion(("L:{}", "M:{}", "C{}", "Q:{}=60", "[L:{}]C", "[M:{}]z"), FRACTIONS),
    Insertion(("{}",), ("C", "CDEF|", "x", "[CEG]", "(3abc", " ", "|", '"Am"C', "w"), (3000, 200_000)),
    Insertion(
        ("{}",), ("|:", ":|", "::", "|:C:|", "|1C:|2", "Z100|", ":" * 50 + "|", "|]", "[1"), (10, 10_000), lines=False
    ),
    Insertion(("{}",), ("(3(3(3", "(9:8:7", "(2(4(6(8", "(5:", "(3C"), (1, 50, 2000), lines=False),
    Insertion(("{}",), ("[", "]", "(", ")", "{", "}", '"', "!", "+", "[CEG", "((C", "{C"), (1, 7, 4000), lines=False),
    Insertion(
        ("C{}D",),
        (*(sign * 5000 for sign in "><-',/^_=~.uT"), "!trill!" * 999, "{g}" * 999, ">", "<<<<"),
        lines=False,
    ),
    Insertion(("{}",), ("&", "&&", "C&D&", "&(&)&"), (1, 10, 2000), lines=False),
    Insertion(
        ("{}",),
        ("[V:1]C[V:2]D[V:]", "\nV:1 clef=bass octave=9\nC|\nV:2\nD|\n", "[V:3 octave=4]c'''''"),
        (1, 9, 300),
        lines=False,
    ),
    Insertion(("\nV:{} clef=perc\nCDEF|\n",), tuple(map(str, range(40)))),
    # fields
    Insertion(
        ("P:{}\nP:A\nC|\nP:B\nD|",), ("A" * 5000, "((((A9)9)9)9)9", "A99999999", "(" * 3000 + "A", "AB" * 60, ")A(")
    ),
    Insertion(
        ("Q:{}", "[Q:{}]"), ("0", "1/4=0", "1/4=1000000000", "1/0=60", "1/4=0.0001", "=", "1/4 1/4=9", "-5", '"' * 99)
    ),
    Insertion(
        tuple(f"{field}{{}}" for field in FIELDS),
        ("", "?", "ZZZZ", "99/99", "C" * 3000, "none", "-1/4", "C#maj ^^^f", "exp"),
    ),
    Insertion(tuple(f"[{field}{{}}" for field in FIELDS), ("]", "?]", "99/99]", "clef=]", "", "none]C")),
    Insertion(("w:{}",), ("a-" * 3000, "_" * 3000, "*|" * 3000, "---- a", "\\" * 99, "a~" * 999)),
    # files
    Insertion(
        ("%%{} CANARY", "I:{} CANARY", "  %% {} CANARY", "%\x00%{} CANARY"),
        ("abc-include", "format", "EPS", "MIDI ptstress", "pango"),
    ),
    Insertion(
        ("%%abc-include {}", "[I:abc-include {}]", "[I:x][I:abc-include {}", "[[I:x]I:format {}]", "[r:x]%%EPS {}"),
        PATHS,
    ),
    Insertion(
        ("%%beginps\n({}) (r) file\n%%endps", "%%beginsvg\n<image href='{}'/>\n%%endsvg", "%%begintext\n%%EPS {}\n"),
        PATHS,
    ),
    Insertion(
        (
            "W:file://{}",
            "w:file://{}",
            "T:<img src='file://{}'>",
            "F:{}",
            "$(cat {})",
            "T:`cat {}`",
            '"^{}"C',
            "&xxe;{}",
        ),
        PATHS,
    ),
    Insertion(("m:~n=~n~n~n\n~C", "m:~n=%%abc-include {}\n~C", "U:T=!{}!\nTC", "U:n=[I:abc-include {}]\nnC"), PATHS),
    # texts
    Insertion(("T:{}", "w:{}", "{}", '"{}"C', "V:{}"), SCRIPTS),
    Insertion(("T:{}", "C:{}", "w:{}", '"{}"C', '"^{}"D', "P:{}", "V:1 nm={}"), MARKUP),
    Insertion(
        ("{}",), tuple("\x00\x01\x07\x08\x0b\x0c\x1b\x7f\x85\u2028\u2029\ud800\udfff\ufffe"), (1, 10, 500), lines=False
    ),
)
ALPHABET = "ABCDEFGabcdefgzxZXyHTuv|:[](){}<>-+=^_.,'/\\\"!&%$*~`0123456789 \t\n"


def real_tunes() -> list[str]:
    """The folk tunes of one book that music21 ships."""
    spec = find_spec("music21")
    assert spec is not None and spec.origin is not None
    book = Path(spec.origin).parent / "corpus" / "airdsAirs" / "book1.abc"
    return [tune.text for tune in split_tunes(book.read_text(encoding="utf-8"))]


def canary_file(folder: Path) -> Path:
    """A tune in a file of its own, fit to be included."""
    path = folder / "canary.abc"
    path.write_text(f"X:7\nT:{CANARY}\nK:C\nC|\nw:{CANARY}\n")
    return path


def hostile_tunes(count: int, *, canary: Path) -> Iterator[str]:
    """So many tunes, the same each time: each kind of mutation in turn, and up to two others after it."""
    tunes = real_tunes()
    kinds: list[Callable[[Random, str], str]] = [*CHANGES, *(inserting(insertion) for insertion in INSERTIONS)]
    for number in range(count):
        draw = Random(number)
        tune = draw.choice(tunes)
        for kind in (kinds[number % len(kinds)], *draw.sample(kinds, draw.randrange(3))):
            tune = kind(draw, tune)
        yield tune.replace("CANARY", str(canary))


def inserting(insertion: Insertion) -> Callable[[Random, str], str]:
    """The mutation that puts it in at one place."""

    def insert(draw: Random, tune: str) -> str:
        text = draw.choice(insertion.shapes).replace("{}", draw.choice(insertion.values)) * draw.choice(insertion.times)
        if insertion.lines:
            lines = tune.split("\n")
            lines.insert(draw.randrange(len(lines) + 1), text)
            return "\n".join(lines)
        place = draw.randrange(len(tune) + 1)
        return tune[:place] + text + tune[place:]

    return insert


def truncated(draw: Random, tune: str) -> str:
    return tune[: draw.randrange(len(tune) + 1)]


def flipped(draw: Random, tune: str) -> str:
    """Bits turned over, and the bytes read as one of three programs would read them."""
    content = bytearray(tune.encode("utf-8", "replace"))
    for _ in range(draw.randrange(1, 40) if content else 0):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content.decode(*draw.choice([("utf-8", "replace"), ("utf-8", "surrogateescape"), ("latin-1",)]))


def shuffled(draw: Random, tune: str) -> str:
    lines = tune.split("\n")
    draw.shuffle(lines)
    return "\n".join(lines)


def crossed(draw: Random, tune: str) -> str:
    words = tune.split(" ")
    for _ in range(len(words) // 4):
        a, b = draw.randrange(len(words)), draw.randrange(len(words))
        words[a], words[b] = words[b], words[a]
    return " ".join(words)


def repeated(draw: Random, tune: str) -> str:
    return "\n".join([tune] * draw.choice([2, 20, 200]))


def random_text(draw: Random, tune: str) -> str:
    text = "".join(draw.choices(ALPHABET, k=draw.choice([20, 500, 5000])))
    return draw.choice([text, f"X:1\nL:1/8\nM:4/4\nK:C\n{text}", f"{tune}\n{text}"])


def other_line_ends(draw: Random, tune: str) -> str:
    return tune.replace("\n", draw.choice(["\r", "\r\n", "\\\n", "\n\n", "\n%\n", ""]))


CHANGES = (truncated, flipped, shuffled, crossed, repeated, random_text, other_line_ends)
