"""Small corpora for the tests of this folder: texts in memory, and ABC files of tunes that are all different."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatmusician.data.documents import Document, plain_document
from chatmusician.data.preparation import PackingSettings, prepare
from chatmusician.data.shards import Manifest
from chatmusician.data.tokenizers import TrainedTokenizer
from chatmusician.data.units import Rejection


@dataclass(frozen=True)
class Texts:
    """A corpus of texts, by split."""

    splits: Mapping[str, Sequence[str]]
    rejected: Sequence[Rejection] = field(default=())

    def describe(self) -> dict[str, Any]:
        return {"texts": {split: list(texts) for split, texts in self.splits.items()}}

    def documents(self, split: str) -> Iterator[Document]:
        for index, text in enumerate(self.splits.get(split, ())):
            yield plain_document(text, source="texts", origin=f"{split}:{index}")

    def rejections(self) -> Sequence[Rejection]:
        return self.rejected


def tune(draw: random.Random, *, number: int = 1, bars: int = 4, key: str = "G") -> str:
    """A tune in 4/4 with random notes."""
    music = " | ".join(" ".join("".join(draw.choices("CDEFGABcdefg", k=4)) for _ in range(2)) for _ in range(bars))
    return f"X:{number}\nT:Tune {number}\nR:reel\nM:4/4\nL:1/8\nK:{key}\n|: {music} :|\n"


def write_tunes(path: Path, *, tunes: int, seed: int = 0, bars: int = 4) -> Path:
    """An ABC file of so many tunes, no two of one melody."""
    draw = random.Random(seed)
    texts = [tune(draw, number=number, bars=bars, key=draw.choice(["G", "D", "Em"])) for number in range(1, tunes + 1)]
    path.write_text("\n".join(texts))
    return path


def prepare_words(directory: Path, *, documents: int = 60, window: int = 5, seq_len: int = 16) -> Manifest:
    """Random words of 1 to 24 letters, a token each, in shards of ``window`` documents; a tenth is validation too.

    More documents begin with the same ones."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=draw.randint(1, 24))) for _ in range(documents)]
    return prepare(
        corpus=Texts({"train": words, "validation": words[: documents // 10]}),
        tokenizer=TrainedTokenizer(vocab_size=259),
        settings=PackingSettings(seq_len=seq_len, window=window),
        directory=directory,
    )
