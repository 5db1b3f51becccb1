"""Who waits in sync code: the caller's thread, with what it takes to wake it; and generators, gone through there."""

from __future__ import annotations

from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Event as Signal
from threading import Timer
from typing import TYPE_CHECKING, Any, TypeVar

from agentkit._http import Aborter
from agentkit.calling import HEED_S, LoopThread
from agentkit.errors import Cancelled

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Generator

    from agentkit.clock import Clock
    from agentkit.context import Context
    from agentkit.events import Event
    from agentkit.run import Begun, Run
    from agentkit.toolcalls import Delegate
    from agentkit.wire import Wire

R = TypeVar("R")


def perform(
    steps: Generator[Any, Any, R], handle: Callable[[Any], Generator[Event, None, Any]]
) -> Generator[Event, None, R]:
    """Run a generator of effects to its end. An error of the handler goes into the generator, which decides."""
    try:
        effect = next(steps)
        while True:
            try:
                outcome = yield from handle(effect)
            except Exception as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(outcome)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        steps.close()


def last_of(events: Generator[Event, None, R], told: Callable[[Event], None] | None = None) -> R:
    """Go through to the end, for what is returned there."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: R = stop.value
            return result
        if told is not None:
            told(event)


class Caller:
    """Who waits: the caller's thread, with what it takes to wake it from another one."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        self.aborter = Aborter()
        self.told: SimpleQueue[Event | Begun | Errand | None] = SimpleQueue()
        self._inner: set[Caller] = set()
        self.run: Run | None = None
        self._cancelled: Signal | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Wake the caller's thread, wherever it waits, with Cancelled. From any thread."""
        self.is_cancelled = True
        for inner in tuple(self._inner):
            inner.cancel()
        if self.run is not None:
            self.run.cancel()
        self.aborter.abort()
        self.loop.interrupt()
        self.told.put(None)
        if self._cancelled is not None:
            self._cancelled.set()

    @contextmanager
    def another(self, within_s: float | None = None) -> Generator[Caller, None, None]:
        """One that can be cancelled by itself, and is when this one is, or after so many seconds."""
        inner = Caller()
        timer = None if within_s is None else Timer(within_s, inner.cancel)
        if timer is not None:
            timer.daemon = True
            timer.start()
        self._inner.add(inner)
        if self.is_cancelled:
            inner.cancel()
        try:
            yield inner
        finally:
            if timer is not None:
                timer.cancel()
            self._inner.discard(inner)
            inner.loop.close()

    def check(self) -> None:
        """Raise Cancelled if that was called."""
        if self.is_cancelled:
            raise Cancelled("the run was cancelled by its caller")

    def serve(self, run: Run) -> None:
        """Wait for this run."""
        self.run = run
        if self.is_cancelled:
            run.cancel()

    def signal(self) -> Signal:
        """What `wait_until` waits for; `cancel` sets it."""
        self._cancelled = Signal()
        return self._cancelled

    def wait_until(self, signal: Signal, clock: Clock, seconds: float | None) -> None:
        """Wait until the signal is set, or for so long. Raises Cancelled."""
        if seconds is None:
            signal.wait()
        else:
            clock.wait_sync(seconds, signal)
        signal.clear()
        self.check()

    def wait(self, wire: Wire, seconds: float) -> None:
        """Let time pass. Raises Cancelled."""
        self._cancelled = Signal()
        if self.is_cancelled or wire.clock.wait_sync(seconds, self._cancelled):
            raise Cancelled("the run was cancelled while it waited to try again")


class Errand:
    """What a thread asks of the caller's, which alone changes the run's state: the run that does a call."""

    def __init__(self, effect: Delegate) -> None:
        self.effect = effect
        self._runs: SimpleQueue[Run] = SimpleQueue()
        self.give = self._runs.put

    def wait(self, context: Context[Any]) -> Run:
        """To be called in the thread."""
        while True:
            try:
                return self._runs.get(timeout=HEED_S)
            except Empty:
                if context.cancelled:
                    raise Cancelled("the run was cancelled by its caller") from None


def drained(outbox: deque[Event]) -> Generator[Event, None, None]:
    """Yield what waits to be told."""
    while outbox:
        yield outbox.popleft()
