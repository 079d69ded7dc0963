"""How well a model predicts documents: bits per byte."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from chatmusician.data.documents import Document
from chatmusician.data.packing import IGNORED, TokenDocument, targets
from chatmusician.data.tokenizing import DocumentTokenizer
from chatmusician.generation.backends.transformers_backend import evaluating
from chatmusician.modeling.loss import hidden_states


@dataclass(frozen=True, kw_only=True)
class DocumentBits:
    """What it takes to predict one document."""

    bits: float
    bytes: int


@torch.inference_mode()
def document_bits(
    model: Any, tokenizer: Any, documents: Sequence[Document], *, window: int, batch_size: int
) -> list[DocumentBits]:
    """Bits and bytes of each document, in their order, each read alone; longer ones than ``window`` tokens are split.

    The end of a document, an EOS token, is predicted too: it costs bits and adds no byte. Letters: B pieces, T tokens
    of the longest, N trained positions, V vocabulary entries.
    """
    tokenize = DocumentTokenizer(tokenizer=tokenizer, seq_len=window, overlong="split", bos=False, eos=True)
    tokenized, _ = tokenize(documents)
    pieces = list(zip(tokenized.texts.tolist(), tokenized, strict=True))
    pieces.sort(key=lambda pair: len(pair[1].ids))
    nats = np.zeros(len(documents))
    with evaluating(model):
        for start in range(0, len(pieces), batch_size):
            numbers, batch = zip(*pieces[start : start + batch_size], strict=True)
            np.add.at(nats, list(numbers), _nats(model, batch))
    return [
        DocumentBits(bits=float(cost) / math.log(2), bytes=document.trained_bytes)
        for cost, document in zip(nats, documents, strict=True)
    ]


def _nats(model: Any, batch: Sequence[TokenDocument]) -> np.ndarray:
    """Summed negative log likelihood of each piece, [B]."""
    longest = max(len(piece.ids) for piece in batch)
    ids = np.zeros((len(batch), longest), dtype=np.int64)  # [B, T]
    goals = np.full((len(batch), longest), IGNORED, dtype=np.int64)  # [B, T]
    for row, piece in enumerate(batch):
        ids[row, : len(piece.ids)] = piece.ids
        goals[row, : len(piece.ids)] = targets(piece.ids.astype(np.int64), piece.loss_mask)
    positions = np.broadcast_to(np.arange(longest), ids.shape).copy()  # [B, T]; what is behind a piece is not looked at
    tensors = {"input_ids": ids, "position_ids": positions}
    inputs = {name: torch.from_numpy(value).to(model.device) for name, value in tensors.items()}
    wanted = torch.from_numpy(goals).to(model.device)
    trained = wanted != IGNORED  # [B, T]
    logits = model.get_output_embeddings()(hidden_states(model, inputs)[trained])  # [N, V]
    losses = F.cross_entropy(logits.float(), wanted[trained], reduction="none").double()  # [N]
    summed = torch.zeros(len(batch), dtype=torch.float64, device=model.device)
    return summed.index_add_(0, trained.nonzero()[:, 0], losses).cpu().numpy()
