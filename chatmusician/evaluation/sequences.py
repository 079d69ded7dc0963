"""How alike two sequences of anything hashable are: notes, chord names, tokens."""

from collections.abc import Hashable, Sequence

from chatmusician.music.form import levenshtein


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions of one item that make b of a."""
    code: dict[Hashable, str] = {}
    first, second = ("".join(code.setdefault(item, chr(len(code))) for item in items) for items in (a, b))
    return levenshtein(first, second)


def common_subsequence(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the longest sequence whose items stand in both in the same order, other items perhaps between them."""
    row = [0] * (len(a) + 1)
    for item in b:
        diagonal = 0
        for index, other in enumerate(a, start=1):
            diagonal, row[index] = row[index], diagonal + 1 if item == other else max(row[index], row[index - 1])
    return row[-1]


def contains(sequence: Sequence[Hashable], part: Sequence[Hashable]) -> bool:
    """True if the items of a part that is not empty stand in the sequence one after the other."""
    length = len(part)
    starts = range(len(sequence) - length + 1) if length else range(0)
    return any(tuple(sequence[start : start + length]) == tuple(part) for start in starts)
