"""One model that answers several people at once: a thread that computes, and a fair queue in front of it.

    ask (any thread) -> queue -> slots of one batch -> tokens -> text, in the thread that asked

All that is being answered is computed together, one token each per step. A free slot goes to whoever has the fewest
answers in progress, and among these to whoever has waited longest, so that ten requests of one person do not hold up
another's first. A request for another LoRA adapter waits until the batch is empty, and then holds back what came after
it: nobody waits for ever behind a popular adapter.

Closing the iterator that `Service.ask` gave stops the computation of that answer at the next step.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Condition, Thread

from chatmusician.errors import UserError
from chatmusician.generation.backends.backend import Batch, Drawn, Row, check_adapter
from chatmusician.generation.decoding import Decoding
from chatmusician.generation.generator import Generator, Pieces
from chatmusician.generation.prompting import Prompt


class Busy(UserError):
    """A request is refused for now, since too many wait."""


class Withdrawn(UserError):
    """A request was withdrawn before its answer ended."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody asks."""

    prompt: Prompt
    decoding: Decoding
    adapter: str | None = None
    """See `chatmusician.generation.backends.backend.Backend.open`."""
    who: str = ""
    """Whose request it is, for fairness: the name of a session."""


@dataclass(eq=False)
class _Job:
    """A request in the queue or in the batch."""

    request: Request
    row: Row
    tokens: SimpleQueue[Drawn | Exception] = field(default_factory=SimpleQueue)
    given_up: bool = False

    @property
    def who(self) -> str:
        return self.request.who


class Service:
    """Answers requests of many threads with one generator, which nothing else may use meanwhile.

    Args:
        generator: who answers.
        slots: most answers in progress at once.
        queue: most requests that wait.
        each: most requests of one person, waiting or in progress.
    """

    def __init__(self, generator: Generator, *, slots: int = 8, queue: int = 64, each: int = 4) -> None:
        for name, value in (("slots", slots), ("queue", queue), ("each", each)):
            if value < 1:
                raise UserError(f"{name}={value} is out of range: it must be 1 or more")
        self.generator, self.slots, self.queue, self.each = generator, slots, queue, each
        self._changed = Condition()
        self._waiting: list[_Job] = []
        self._live: list[_Job] = []
        self._closed = False
        self._thread = Thread(target=self._work, name="generation", daemon=True)
        self._thread.start()

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the LoRA adapters that can be asked for."""
        return self.generator.adapters

    @property
    def live(self) -> int:
        """How many answers are in progress."""
        return len(self._live)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def ask(self, request: Request) -> Pieces:
        """The answer in pieces, see `chatmusician.generation.generator.Generator.stream`.

        The request joins the queue when the first piece is asked for, and leaves it or the batch when the iterator is
        closed.

        Raises:
            Busy: too many requests wait, or this person has too many already.
            Withdrawn: see `withdraw`.
            UserError: the prompt leaves no room in the window, the adapter is not loaded, or the model fails.
        """
        check_adapter(request.adapter, self.adapters)
        job = _Job(request, self.generator.row(request.prompt, request.decoding))
        self._admit(job)
        try:
            return (yield from self.generator.pieces(request.prompt, job.row, _tokens_of(job)))
        finally:
            with self._changed:
                job.given_up = True
                if job in self._waiting:
                    self._waiting.remove(job)

    def withdraw(self, who: str) -> None:
        """End all answers to somebody from any thread, those that are waited for and those that are written.

        Whoever takes their pieces gets `Withdrawn`.
        """
        with self._changed:
            for job in [job for job in self._waiting + self._live if job.who == who]:
                job.given_up = True
                if job in self._waiting:
                    self._waiting.remove(job)
                job.tokens.put(Withdrawn("the question was withdrawn"))

    def close(self) -> None:
        """Stop computing; requests that are not answered fail."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _admit(self, job: _Job) -> None:
        with self._changed:
            if self._closed:
                raise Busy("the model is being shut down: ask again later")
            own = sum(other.who == job.who for other in self._waiting + self._live)
            if own >= self.each:
                raise Busy(f"{own} of your requests are not answered yet: wait for them, or stop one")
            if len(self._waiting) >= self.queue:
                raise Busy(f"{len(self._waiting)} requests are waiting already: try again in a minute")
            self._waiting.append(job)
            self._changed.notify()

    def _work(self) -> None:
        while (job := self._next_after_idling()) is not None:
            try:
                with self.generator.backend.open(slots=self.slots, adapter=job.request.adapter) as batch:
                    self._serve(batch, adapter=job.request.adapter)
            except Exception as error:  # noqa: BLE001 -- whoever waits for an answer raises it
                self._fail(error, opening_for=job)
        self._fail(Busy("the model is being shut down: ask again later"))

    def _next_after_idling(self) -> _Job | None:
        """The request to go on with, once there is one; None when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return None if self._closed else self._next()

    def _next(self) -> _Job | None:
        """The waiting request whose turn it is."""
        busy = Counter(job.who for job in self._live)
        return min(self._waiting, key=lambda job: busy[job.who], default=None)  # the first of the least: the oldest

    def _serve(self, batch: Batch, *, adapter: str | None) -> None:
        """Answer with one adapter until nobody waits for it, or somebody's turn is with another."""
        while not self._closed:
            self._drop_given_up(batch)
            if joining := list(iter(lambda: self._take(adapter), None)):
                self._deliver(batch.join([job.row for job in joining]))
            if not self._live:
                return
            self._deliver(batch.step())

    def _drop_given_up(self, batch: Batch) -> None:
        with self._changed:
            given_up = [job for job in self._live if job.given_up]
            self._live = [job for job in self._live if not job.given_up]
        for job in given_up:
            batch.drop(job.row)

    def _take(self, adapter: str | None) -> _Job | None:
        """Move the request whose turn it is from the queue to the batch, if there is a slot and it has the adapter."""
        with self._changed:
            job = self._next() if len(self._live) < self.slots else None
            if job is None or job.request.adapter != adapter:
                return None
            self._waiting.remove(job)
            self._live.append(job)
            return job

    def _deliver(self, step: list[Drawn]) -> None:
        jobs = {id(job.row): job for job in self._live}
        for drawn in step:
            job = jobs[id(drawn.row)]
            job.tokens.put(drawn)
            if drawn.last:
                with self._changed:
                    self._live.remove(job)

    def _fail(self, error: Exception, *, opening_for: _Job | None = None) -> None:
        """Tell all in progress why they get no answer, and on closing all that wait.

        A batch that could not be opened for a job has nobody in progress yet: then it is told to that job.
        """
        with self._changed:
            failed = self._live + (self._waiting if self._closed else [])
            if not failed and opening_for in self._waiting:
                failed = [opening_for]
            self._live = []
            self._waiting = [job for job in self._waiting if job not in failed]
        for job in failed:
            job.tokens.put(error)


def _tokens_of(job: _Job) -> Iterator[Drawn]:
    while True:
        came = job.tokens.get()
        if isinstance(came, Exception):
            raise came
        yield came
        if came.last:
            return
