"""Which side of the split something is on: by a hash of what makes it the same, so that more data move nothing."""

import hashlib

from chatmusician.errors import UserError


def check_held_out(held_out: float) -> None:
    """Refuse a share that leaves nothing to hold out or nothing to train on.

    Raises:
        UserError: it is not above 0 and below 0.5.
    """
    if not 0 < held_out < 0.5:
        raise UserError(f"corpus.held_out={held_out}: use a share above 0 and below 0.5")


def is_of(split: str, identity: str, held_out: float) -> bool:
    """True if what has this identity belongs to ``train``, ``validation`` or ``test``.

    Args:
        split: the name.
        identity: a text that is equal for what must not be on two sides.
        held_out: share for validation, and again for test.
    """
    share = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) / 2**64
    bounds = {"validation": (0, held_out), "test": (held_out, 2 * held_out)}
    low, high = bounds.get(split, (2 * held_out, 1.0))
    return low <= share < high
