"""What a process answers when it was given a task and an item: the result, or the error, as bytes."""

import pickle
import traceback
from collections.abc import Callable
from typing import Any


def answer_of(task: Callable[[Any], Any], item: Any) -> bytes:
    """Do an item. What it raises is an answer too, with the place where it was raised as a note."""
    try:
        return pickle.dumps((task(item), None))
    except Exception as error:  # noqa: BLE001 -- raised where the answer is read
        return pickle.dumps((None, _that_can_be_copied(error)))


def result_in(answer: bytes) -> Any:
    """The result.

    Raises:
        Exception: what the task raised; a RuntimeError in place of an error that cannot be copied.
    """
    result, error = pickle.loads(answer)
    if error is not None:
        raise error
    return result


def _that_can_be_copied(error: Exception) -> Exception:
    place = traceback.format_exc()
    try:
        error.add_note(place)
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 -- whatever a class of errors does when it is copied
        substitute = RuntimeError(f"{type(error).__name__}: {error}")
        substitute.add_note(place)
        return substitute
    return error
