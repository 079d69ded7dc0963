"""What makes a resumed run the same as one that was never stopped, bit for bit.

Checkpoints hold neither the state of random generators nor that of a data loader. The rows of a step are a function of
its number (`chatmusician.data.sampler`), and so is the randomness of dropout: every micro-batch starts from
`micro_batch_seed`. What is left is Lightning's count of micro-batches, which `realign` moves to the start of an
optimizer step, in the micro-batches of the run that goes on. Stopped in step 2 of an epoch, after 5 micro-batches at
2 a step, and resumed at 4 a step::

    saved    m0 m1 | m2 m3 | m4 .          5 micro-batches: 2 whole steps, and half of one, whose gradient is lost
    resumed  m0 m1 m2 m3 | m4 m5 m6 m7 |   8 micro-batches: the same 2 steps; the third starts over

A checkpoint that is made before the validation of its step, or in the middle of it, says so (`owe_validation`), and the
run that goes on begins with it.
"""

from typing import Any

import numpy as np


def micro_batch_seed(seed: int, *, step: int, micro_batch: int, rank: int) -> int:
    """The seed of the random numbers that one rank draws in one micro-batch (counted in its optimizer step)."""
    return int(np.random.SeedSequence([seed, step, micro_batch, rank]).generate_state(1, np.uint64)[0])


def realign(progress: dict[str, Any], *, saved: int, now: int) -> None:
    """Count the micro-batches of whole optimizer steps of ``saved`` micro-batches each in steps of ``now``, in place.

    ``progress`` is Lightning's record of a loop: how many batches are ready, started, processed and completed, in the
    current epoch and in total. They may differ by one, which tells where the checkpoint was made, and go on doing so.
    """
    for counts in (progress["current"], progress["total"]):
        shift = counts["ready"] // saved * now - counts["ready"]
        for stage in counts:
            counts[stage] += shift


def owe_validation(fit_loop: dict[str, Any], *, owed: bool) -> None:
    """Say in Lightning's record of its loops whether a validation that is due at this step is still to be done.

    Lightning goes back to a validation whose record shows a batch that was begun and not finished; nothing is kept of
    those that were, so it starts with the first.
    """
    progress = fit_loop["epoch_loop.val_loop.batch_progress"]
    total = progress["total"]
    total.update(processed=total["completed"], started=total["completed"] + owed, ready=total["completed"] + owed)
    if owed:
        progress["current"].update(ready=0, started=0, processed=0, completed=0)
