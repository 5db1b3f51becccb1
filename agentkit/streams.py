"""A run or a reply that is watched while it goes on.

Async, the work is done in a task of its own, so that no cancel scope and no task group is open in the task of whoever
listens: a generator around the loop may be dropped half-way. Sync, the loop of whoever listens drives the work.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from anyio import CancelScope, Event, get_cancelled_exc_class, move_on_after

from agentkit.calling import hopper, spawn
from agentkit.drive import Caller
from agentkit.errors import Cancelled, UsageError
from agentkit.events import StepFinished, TextDelta

if TYPE_CHECKING:
    from types import TracebackType

    from agentkit import events
    from agentkit.messages import Content, Reply
    from agentkit.run import Run
    from agentkit.transcript import Transcript

T = TypeVar("T")
log: Final = logging.getLogger("agentkit")
BACKLOG: Final = 4096
"""How many events may wait for a listener before reading goes on only as fast as it listens."""
LEAVING_S: Final = 1.0
"""How long leaving a stream waits for what it cancelled."""


class Stream(Generic[T]):
    """Events as they happen: `async with … as stream: async for event in stream`. Leaving the block cancels the rest."""

    def __init__(self, work: Callable[[Stream[T]], Awaitable[T]]) -> None:
        self._work = work
        self._outbox: deque[events.Event] = deque()
        self._wake: Event | None = None
        self._room: Event | None = None
        self._stepping = False
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._scope: CancelScope | None = None
        self._done: Event | None = None
        self._is_cancelled = False
        self._hop: Callable[..., None] | None = None
        self._task: object = None

    async def __aenter__(self) -> Self:
        if self._done is not None:
            raise UsageError("a stream is entered once: open another")
        self._done = Event()
        self._hop = hopper()
        self._task = spawn(self._own)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        done = self._entered()
        if done.is_set():
            return
        self._cancel()
        with move_on_after(LEAVING_S, shield=True):
            await done.wait()
        if not done.is_set():
            log.warning("a stream was left, and a tool that does not heed its cancellation still runs")

    async def _own(self) -> None:
        done = self._entered()
        try:
            with CancelScope() as self._scope:
                if self._is_cancelled:
                    self._scope.cancel()
                self._value.append(await self._work(self))
        except get_cancelled_exc_class():
            self._is_cancelled = True
            raise
        except BaseException as error:
            self._error = error
        finally:
            done.set()
            self._rouse()

    def tell(self, event: events.Event) -> None:
        """Hand an event to whoever listens."""
        self._outbox.append(event)
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def pace(self) -> None:
        """Wait while the listener is far behind, or, going step by step, until it asks for more."""
        while len(self._outbox) > BACKLOG or (self._stepping and self._wake is None):
            self._room = Event()
            await self._room.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> events.Event:
        outbox, done = self._outbox, self._entered()
        while not outbox:
            if done.is_set():
                self._raise()
                raise StopAsyncIteration
            self._wake = Event()
            if self._room is not None:
                self._room.set()
            await self._wake.wait()
        event = outbox.popleft()
        if self._room is not None and len(outbox) <= BACKLOG and not self._stepping:
            self._room.set()
            self._room = None
        return event

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._value:
            raise Cancelled("the stream was cancelled", transcript=self._transcript())

    def _transcript(self) -> Transcript | None:
        return None

    async def text(self) -> AsyncIterator[str]:
        """The answer's text alone, piece by piece."""
        async for event in self:
            if isinstance(event, TextDelta):
                yield event.text

    async def finish(self) -> T:
        """Go through the rest, and return what came of it."""
        async for _ in self:
            pass
        return self._value[0]

    def cancel(self) -> None:
        """Cancel, from any thread; who listens gets Cancelled."""
        self._is_cancelled = True
        if self._hop is not None:
            self._hop(self._cancel)

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def _entered(self) -> Event:
        if self._done is None:
            raise UsageError("open the stream first: async with … as stream")
        return self._done

    def _get(self, name: str) -> T:
        if self._value:
            return self._value[0]
        if self._error is not None:
            raise self._error
        raise UsageError(f"there is no {name} before the stream's end: go through its events, or await finish()")


class StreamSync(Generic[T]):
    """Events as they happen: `with … as stream: for event in stream`. Leaving the block cancels the rest."""

    def __init__(self, work: Generator[events.Event, None, T], caller: Caller) -> None:
        self._work = work
        self._caller = caller
        self._value: list[T] = []
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._work.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> events.Event:
        try:
            return next(self._work)
        except StopIteration as stop:
            if not self._value and self._error is None and stop.value is not None:
                self._value.append(stop.value)
            raise
        except BaseException as error:
            self._error = error
            raise

    def text(self) -> Iterator[str]:
        """The answer's text alone, piece by piece."""
        for event in self:
            if isinstance(event, TextDelta):
                yield event.text

    def finish(self) -> T:
        """Go through the rest, and return what came of it."""
        for _ in self:
            pass
        return self._get("result")

    def cancel(self) -> None:
        """Cancel, from any thread; the thread that listens gets Cancelled."""
        self._caller.cancel()

    def _get(self, name: str) -> T:
        if self._value:
            return self._value[0]
        if self._error is not None:
            raise self._error
        raise UsageError(f"there is no {name} before the stream's end: go through its events, or call finish()")


class OfRun:
    """What a stream of a run has besides its events."""

    run: Run

    @property
    def transcript(self) -> Transcript:
        """The conversation so far; once the stream has ended or was left, one to go on from."""
        return self.run.state.transcript

    def send(self, content: Content) -> None:
        """Say something more to the running run, from any thread: it goes in before the model is asked next."""
        self.run.inbox.append(content)


class RunStream(Stream[T], OfRun):
    """A run's events as they happen, async."""

    def __init__(self, run: Run, work: Callable[[Stream[T]], Awaitable[T]]) -> None:
        super().__init__(work)
        self.run = run

    @property
    def result(self) -> T:
        """What came of the run, after its last event. Raises what ended it, or UsageError before its end."""
        return self._get("result")

    async def steps(self) -> AsyncIterator[StepFinished]:
        """The model's replies, one by one; the run goes on when the next is asked for."""
        self._stepping = True
        async for event in self:
            if isinstance(event, StepFinished):
                yield event

    def _transcript(self) -> Transcript:
        return self.transcript


class RunStreamSync(StreamSync[T], OfRun):
    """A run's events as they happen."""

    def __init__(self, run: Run, work: Generator[events.Event, None, T], caller: Caller) -> None:
        super().__init__(work, caller)
        self.run = run

    @property
    def result(self) -> T:
        """What came of the run, after its last event. Raises what ended it, or UsageError before its end."""
        return self._get("result")

    def steps(self) -> Iterator[StepFinished]:
        """The model's replies, one by one; the run goes on when the next is asked for."""
        for event in self:
            if isinstance(event, StepFinished):
                yield event


class ReplyStream(Stream["Reply"]):
    """A reply's pieces as they come, async."""

    @property
    def reply(self) -> Reply:
        """The whole reply, after its last piece. Raises what ended it, or UsageError before its end."""
        return self._get("reply")


class ReplyStreamSync(StreamSync["Reply"]):
    """A reply's pieces as they come."""

    @property
    def reply(self) -> Reply:
        """The whole reply, after its last piece. Raises what ended it, or UsageError before its end."""
        return self._get("reply")
