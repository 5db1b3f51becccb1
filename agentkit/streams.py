"""A run or a reply that is watched while it goes on.

Async, the work is done in a task of its own, so that no cancel scope and no task group is open in the task of whoever
listens: a generator around the loop may be dropped half-way. Sync, the loop of whoever listens drives the work.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from anyio import CancelScope, Event, get_cancelled_exc_class, move_on_after

from agentkit.calling import hopper, spawn
from agentkit.errors import Cancelled, UsageError
from agentkit.events import Restarted, StepFinished, TextDelta, ToolCallDelta
from agentkit.logs import log
from agentkit.output import MISSING, Growing, Missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
    from types import TracebackType

    from agentkit import events
    from agentkit.caller import Caller
    from agentkit.messages import Content, Reply
    from agentkit.output import Output
    from agentkit.run import Run
    from agentkit.transcript import Transcript

T = TypeVar("T")
P = TypeVar("P")

BACKLOG: Final = 4096
"""How many events may wait for a listener before reading goes on only as fast as it listens."""
LEAVING_S: Final = 1.0
"""How long leaving a stream waits for what it cancelled."""


class Stream(Generic[T]):
    """Events as they happen: `async with … as stream: async for event in stream`. Leaving it cancels the rest."""

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
        self._task = spawn(self._own, self._end)
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
            log.warning("a stream was left, and an async tool that does not heed its cancellation still runs")
            self._give_up()

    async def _own(self) -> None:
        try:
            with CancelScope() as self._scope:
                if self._is_cancelled:
                    self._scope.cancel()
                self._value.append(await self._work(self))
        except get_cancelled_exc_class():
            raise
        except BaseException as error:
            if self._error is None:
                self._error = error

    def _end(self) -> None:
        if not self._value and self._error is None:
            self._error = Cancelled("the stream was cancelled", transcript=self._transcript())
        self._entered().set()
        self._rouse()

    def _give_up(self) -> None:
        """What was cancelled goes on, and nobody waits for it."""
        self._error = Cancelled("the stream was cancelled")

    def tell(self, event: events.Event) -> None:
        """Hand an event to whoever listens."""
        self._outbox.append(event)
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def pace(self) -> bool:
        """Wait while the listener is far behind, or, going step by step, until it asks for more; whether it had to."""
        waited = False
        while len(self._outbox) > BACKLOG or (self._stepping and self._wake is None):
            self._room, waited = Event(), True
            await self._room.wait()
        return waited

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> events.Event:
        outbox, done = self._outbox, self._entered()
        while not outbox:
            if done.is_set():
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            if self._wake is None:
                self._wake = Event()
            if self._room is not None:
                self._room.set()
            await self._wake.wait()
        event = outbox.popleft()
        if self._room is not None and len(outbox) <= BACKLOG and not self._stepping:
            self._room.set()
            self._room = None
        return event

    def _transcript(self) -> Transcript | None:
        return None

    def text(self) -> AsyncIterator[str]:
        """The answer's text alone, piece by piece."""
        return _Picked(self, lambda event: event.text if isinstance(event, TextDelta) else MISSING)

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


class _Picked(Generic[P]):
    """What a function makes of a stream's events, where it makes something of them.

    No generator: one that is dropped half-way has to be closed, in the event loop that it ran in.
    """

    def __init__(self, stream: AsyncIterator[events.Event], pick: Callable[[events.Event], P | Missing]) -> None:
        self._stream = stream
        self._pick = pick

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> P:
        while True:
            picked = self._pick(await anext(self._stream))
            if not isinstance(picked, Missing):
                return picked


class Partials:
    """What is known of a run's typed answer, event by event."""

    def __init__(self, stream: OfRun) -> None:
        if stream.is_begun:
            stream.typed_output()
        self._stream = stream
        self._step = 0
        self._call: int | None = None
        self._growing: Growing | None = None
        self._last: Any = MISSING

    def after(self, event: events.Event) -> Any:
        """What is known after an event, if it is more than before; else MISSING."""
        if isinstance(event, Restarted):
            self._growing = None
        if not isinstance(event, TextDelta | ToolCallDelta) or event.choice:
            return MISSING
        if event.step != self._step:
            self._step, self._growing = event.step, None
        self._feed(event)
        known = MISSING if self._growing is None else self._growing.value
        if known is MISSING or (self._last is not MISSING and known == self._last):
            return MISSING
        self._last = known
        return known

    def _feed(self, event: TextDelta | ToolCallDelta) -> None:
        output = self._stream.typed_output()
        if isinstance(event, TextDelta):
            if self._growing is None:
                self._call, self._growing = None, output.growing()
            if self._call is None:
                self._growing.feed(event.text)
        elif output.handles(event.name):
            if self._growing is None or self._call is None:
                self._call, self._growing = event.position, output.growing(event.name)
            if self._call == event.position:
                self._growing.feed(event.arguments)


class StreamSync(Generic[T]):
    """Events as they happen: `with … as stream: for event in stream`. Leaving the block cancels the rest."""

    def __init__(self, work: Generator[events.Event, None, T], caller: Caller) -> None:
        self._work = work
        self._caller = caller
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._is_entered = False

    def __enter__(self) -> Self:
        if self._is_entered:
            raise UsageError("a stream is entered once: open another")
        self._is_entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._work.close()
        if not self._value and self._error is None:
            self._error = Cancelled("the stream was cancelled", transcript=self._transcript())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> events.Event:
        if not self._is_entered:
            raise UsageError("open the stream first: with … as stream")
        if self._error is not None:
            raise self._error
        try:
            return next(self._work)
        except StopIteration as stop:
            if not self._value:
                self._value.append(stop.value)
            raise
        except BaseException as error:
            self._error = error
            raise

    def _transcript(self) -> Transcript | None:
        return None

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
    """What a stream of a run has besides its events. The run of a kept conversation begins once that is open."""

    _run: Run | None = None

    @property
    def is_begun(self) -> bool:
        """Whether the run has begun."""
        return self._run is not None

    @property
    def run(self) -> Run:
        """The run. Raises UsageError before it has begun."""
        if self._run is None:
            raise UsageError("the conversation is opened with the first event: go through the events first")
        return self._run

    def begin(self, run: Run) -> None:
        """The run has begun."""
        self._run = run

    def typed_output(self) -> Output[Any]:
        """What the answer is to be. Raises UsageError if it is plain text."""
        output = self.run.state.plan.output
        if output is None:
            raise UsageError("there are no partial values of plain text: give the agent an output=, or use text()")
        return output

    @property
    def transcript(self) -> Transcript:
        """The conversation so far; once the stream has ended or was left, one to go on from."""
        return self.run.state.transcript

    def send(self, content: Content) -> None:
        """Say something more to the running run, from any thread: it goes in before the model is asked next."""
        self.run.send(content)


class RunStream(Stream[T], OfRun):
    """A run's events as they happen, async."""

    def __init__(self, work: Callable[[RunStream[T]], Awaitable[T]]) -> None:
        super().__init__(lambda _: work(self))

    @property
    def result(self) -> T:
        """What came of the run, after its last event. Raises what ended it, or UsageError before its end."""
        return self._get("result")

    def steps(self) -> AsyncIterator[StepFinished]:
        """The model's replies, one by one; the run goes on when the next is asked for."""
        self._stepping = True
        return _Picked(self, lambda event: event if isinstance(event, StepFinished) else MISSING)

    def partials(self) -> AsyncIterator[Any]:
        """The typed answer as far as it is known, each time that more is: of an object a dict, of a list a list.

        A correction, or a reply whose stream broke, begins it anew. Raises UsageError without a typed output.
        """
        return _Picked(self, Partials(self).after)

    def _transcript(self) -> Transcript | None:
        return self.transcript if self.is_begun else None

    def _give_up(self) -> None:
        super()._give_up()
        if self.is_begun:
            self.run.fail(Cancelled())


class RunStreamSync(StreamSync[T], OfRun):
    """A run's events as they happen."""

    @property
    def result(self) -> T:
        """What came of the run, after its last event. Raises what ended it, or UsageError before its end."""
        return self._get("result")

    def steps(self) -> Iterator[StepFinished]:
        """The model's replies, one by one; the run goes on when the next is asked for."""
        for event in self:
            if isinstance(event, StepFinished):
                yield event

    def partials(self) -> Iterator[Any]:
        """The typed answer as far as it is known, each time that more is: of an object a dict, of a list a list.

        A correction, or a reply whose stream broke, begins it anew. Raises UsageError without a typed output.
        """
        return self._grown(Partials(self))

    def _grown(self, partials: Partials) -> Iterator[Any]:
        for event in self:
            if (known := partials.after(event)) is not MISSING:
                yield known

    def _transcript(self) -> Transcript | None:
        return self.transcript if self.is_begun else None


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
