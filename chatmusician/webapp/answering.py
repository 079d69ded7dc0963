"""An answer that a thread writes and the event loop watches.

The pieces of an answer come when the model has them: a thread waits for them, so that a thousand idle seconds cost the
server nothing and a stop is seen at once, even by a question that still waits for its turn. The page is told of new
text at most every `PAUSE_S` seconds, however fast the pieces come.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future

from chatmusician.generation.generator import Answer, Pieces

PAUSE_S = 0.1
"""Between two looks at the text."""


class Answering:
    """One answer, written from the moment this is made, in the running event loop.

    Args:
        ask: begins the answer; called in the thread, as is everything of what it returns.
        withdraw: ends it, from another thread: also while it waits for its turn.
    """

    def __init__(self, ask: Callable[[], Pieces], *, withdraw: Callable[[], None]) -> None:
        self.text = ""
        """What has been written."""
        self.stopped = False
        self._ask, self._withdraw = ask, withdraw
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._outcome: Future[Answer | None] = Future()
        threading.Thread(target=self._write, name="answering", daemon=True).start()

    async def texts(self) -> AsyncIterator[str]:
        """The text so far, each time that it has grown, until the answer ends or is stopped.

        Raises:
            UserError: the question was refused, or the model failed.
        """
        shown = ""
        while True:
            await self._news.wait()
            self._news.clear()
            if self.stopped:  # its outcome is that it was withdrawn
                return
            ended = self._outcome.done()
            if self.text != shown:
                shown = self.text
                yield shown
            if ended and not self.stopped:
                self._outcome.result()
                return
            await asyncio.sleep(PAUSE_S)

    @property
    def answer(self) -> Answer | None:
        """The whole answer once it is there; None while it is written, and if it was stopped or failed."""
        if not self._outcome.done() or self._outcome.exception() is not None:
            return None
        return self._outcome.result()

    def stop(self) -> None:
        """Stop the computation before its next token, or before its first. To be called in the event loop."""
        self.stopped = True
        self._withdraw()
        self._news.set()

    def stop_unless_ended(self) -> None:
        """What whoever stops watching calls."""
        if not self._outcome.done():
            self.stop()

    def _write(self) -> None:
        try:
            self._outcome.set_result(self._take_pieces())
        except BaseException as error:  # noqa: BLE001 (it is raised where the texts are awaited)
            self._outcome.set_exception(error)
        self._tell()

    def _take_pieces(self) -> Answer | None:
        pieces = self._ask()
        try:
            while not self.stopped:
                try:
                    self.text += next(pieces)
                except StopIteration as end:
                    return end.value
                self._tell()
        finally:
            pieces.close()
        return None

    def _tell(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)
