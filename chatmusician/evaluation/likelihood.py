"""How well a model predicts documents: bits per byte."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from chatmusician.data.documents import Document
from chatmusician.data.packing import IGNORED, positions, targets
from chatmusician.data.tokenizers import DocumentTokenizer
from chatmusician.modeling.loss import summed_loss
from chatmusician.modeling.metrics import BitsPerByte


@torch.inference_mode()
def bits_per_byte(model: Any, tokenizer: Any, documents: Sequence[Document], *, window: int, batch_size: int) -> float:
    """Bits per byte of the documents, each read alone; longer ones than ``window`` tokens are split there.

    The end of a document, an EOS token, is predicted too: it costs bits and adds no byte.
    """
    tokenize = DocumentTokenizer(tokenizer=tokenizer, seq_len=window, overlong="split", bos=False, eos=True)
    pieces = sorted((piece for parts in tokenize(documents)[0] for piece in parts), key=lambda piece: len(piece.ids))
    metric = BitsPerByte()
    model.eval()
    for start in range(0, len(pieces), batch_size):
        batch = pieces[start : start + batch_size]
        longest = max(len(piece.ids) for piece in batch)
        ids = np.zeros((len(batch), longest), dtype=np.int64)  # [B, T]
        goals = np.full((len(batch), longest), IGNORED, dtype=np.int64)  # [B, T]
        for row, piece in enumerate(batch):
            length = len(piece.ids)
            ids[row, :length] = piece.ids
            goals[row, :length] = targets(piece.ids, piece.loss_mask)
        restarts = np.stack([positions([len(piece.ids)], seq_len=longest) for piece in batch])  # [B, T]
        nats, _ = summed_loss(
            model,
            {
                "input_ids": torch.from_numpy(ids),
                "targets": torch.from_numpy(goals),
                "position_ids": torch.from_numpy(restarts),
            },
        )
        metric.update(nats, torch.tensor(sum(piece.trained_bytes for piece in batch)))
    return float(metric.compute())
