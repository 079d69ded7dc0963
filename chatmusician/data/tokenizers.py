"""Where tokenizers come from.

Two kinds of tokenizer: the model's own (`PretrainedTokenizer`, the LLaMA path), and a byte-level BPE trained on the
corpus itself (`TrainedTokenizer`, the nano path). The latter cuts at spaces, bar lines and newlines before merging, so
that a token of a laid-out tune never reaches over a beat, and bars can be counted by tokens.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatmusician.data.documents import Document
from chatmusician.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BOS, EOS, PAD = "<s>", "</s>", "<pad>"

# A run of bar-line characters with its repeat number; a newline; a triplet, whole; a group of notes or a word, with the
# space before it. A triplet of its own keeps its three notes together: with merges that reached over its end, 3.5% of
# the tunes that the nano model composed had a triplet of two notes.
_NOTE = r"[_^=]*[A-Ga-gz][,']*[0-9/]*-?"
PIECES = rf"\n| ?[|:\[\]]+[0-9]?| ?\(3(?:{_NOTE}){{3}}| ?[^ |:\[\]\n(]+| ?\(| +"


def load_tokenizer(folder: str | Path) -> "PreTrainedTokenizerBase":
    """The fast tokenizer of a model folder or Hub id.

    Raises:
        UserError: there is none, or it has no fast implementation (character offsets are needed for the loss mask).
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"no tokenizer in {str(folder)!r}: {reason}; give a model folder or a Hub id") from error
    if not tokenizer.is_fast:
        raise UserError(f"the tokenizer of {str(folder)!r} has no fast implementation; install its tokenizer.json")
    return tokenizer


@dataclass(frozen=True, kw_only=True)
class PretrainedTokenizer:
    """The tokenizer that belongs to a model: ``path`` is its folder or Hub id."""

    path: str

    @cached_property
    def _tokenizer(self) -> "PreTrainedTokenizerBase":
        return load_tokenizer(self.path)

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.preparation.TokenizerSource`: by what it does, not by where it lies."""
        return describe(self._tokenizer)

    def load(self, documents: Iterable[Document], directory: Path) -> "PreTrainedTokenizerBase":  # noqa: ARG002 -- one interface with TrainedTokenizer
        """Load it; documents and directory are those of the prepared data, and not needed here."""
        return self._tokenizer


@dataclass(frozen=True, kw_only=True)
class TrainedTokenizer:
    """A byte-level BPE of ``vocab_size`` pieces, trained on the first documents and kept beside the shards."""

    vocab_size: int
    documents: int = 8000
    """How many documents it is trained on."""

    def describe(self) -> dict[str, Any]:
        """See `chatmusician.data.preparation.TokenizerSource`."""
        return {"vocab_size": self.vocab_size, "documents": self.documents}

    def load(self, documents: Iterable[Document], directory: Path) -> "PreTrainedTokenizerBase":
        """Load ``directory/tokenizer``, training it first if it is not there."""
        folder = directory / "tokenizer"
        if not folder.exists():
            texts = (document.text for document in islice(documents, self.documents))
            save_tokenizer(train_bpe(texts, vocab_size=self.vocab_size), folder)
        return load_tokenizer(folder)


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write a tokenizer under a temporary name and rename it: the folder is whole or not there.

    Raises:
        OSError: it cannot be written.
    """
    partial = folder.with_name(folder.name + ".partial")
    try:
        tokenizer.save_pretrained(partial)
        partial.replace(folder)
    except Exception as error:
        # What the library's own code cannot write it says in words alone: "File too large (os error 27)".
        number = re.search(r"\(os error (\d+)\)$", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def train_bpe(texts: Iterable[str], *, vocab_size: int) -> "PreTrainedTokenizerBase":
    """Train a byte-level BPE on texts; deterministic, any text can be encoded.

    Raises:
        UserError: ``vocab_size`` is below 259 (the 256 bytes and 3 special tokens).
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < len(alphabet) + 3:
        raise UserError(f"vocab_size={vocab_size} is too small for bytes and special tokens; use at least 259")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[BOS, EOS, PAD], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BOS, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def vocabulary_dtype(tokenizer: Any) -> np.dtype:
    """The smallest unsigned type that holds every id: uint16 up to 65,536 pieces."""
    return np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)


def describe(tokenizer: Any) -> dict[str, Any]:
    """What the manifest says of a tokenizer: its size, and a hash of everything that decides the ids."""
    backend = tokenizer.backend_tokenizer.to_str()
    return {"vocabulary": len(tokenizer), "fingerprint": hashlib.sha256(backend.encode()).hexdigest()[:16]}
