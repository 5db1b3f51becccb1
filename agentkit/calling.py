"""How a function is run: at once, awaited, as a generator, in a thread.

Threads are daemons: a tool that hangs must not hold up the interpreter's exit, and the standard pools join theirs.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from anyio import Event, move_on_after
from anyio.lowlevel import current_token
from sniffio import current_async_library

from agentkit.errors import Cancelled
from agentkit.logs import log

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
Kind: TypeAlias = Literal["sync", "async", "generator", "async generator"]
IDLE_S: Final = 0.5
"""How long a thread waits for more work before it ends."""
HEED_S: Final = 0.5
"""How long a function in a thread has to heed its cancellation before it is reported and left behind."""


def kind_of(function: Callable[..., Any]) -> Kind:
    """How a callable has to be run."""
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = getattr(function, "__call__", function)  # a callable object's method tells its kind  # noqa: B004
    if inspect.iscoroutinefunction(function):
        return "async"
    if inspect.isasyncgenfunction(function):
        return "async generator"
    return "generator" if inspect.isgeneratorfunction(function) else "sync"


def unfold(value: Any) -> Generator[Any, None, Any]:
    """What a sync function gave, as a generator of the values on the way that returns the result.

    A tool's generator has what it returns as its result, or its last value where it returns None.
    """
    if not isinstance(value, Generator):
        return value
    values: Generator[Any, Any, Any] = value  # pyright: ignore[reportUnknownVariableType]  # whatever a tool yields
    last = None
    try:
        while True:
            last = next(values)
            yield last
    except StopIteration as stop:
        return last if stop.value is None else stop.value
    finally:
        values.close()


def finish(value: Any, progress: Callable[[Any], None]) -> Any:
    """The result of what a sync function gave; each value on the way is told as progress."""
    values = unfold(value)
    try:
        while True:
            progress(next(values))
    except StopIteration as stop:
        return stop.value
    finally:
        values.close()


async def finish_async(value: Any, progress: Callable[[Any], None]) -> Any:
    """The same of what an async function or an async generator function gave."""
    if isinstance(value, AsyncGenerator):
        values: AsyncGenerator[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]  # whatever a tool yields
        last = None
        try:
            async for last in values:
                progress(last)
        finally:
            await values.aclose()
        return last
    if inspect.isawaitable(value):
        value = await value
    return finish(value, progress)


def hopper() -> Callable[..., None]:
    """A function that, called from any thread, calls another in the event loop that runs now (asyncio's or trio's)."""
    native: Any = current_token().native_token
    call_soon = native.call_soon_threadsafe if hasattr(native, "call_soon_threadsafe") else native.run_sync_soon

    def hop(function: Callable[..., Any], *args: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            call_soon(function, *args)

    return hop


def spawn(work: Callable[[], Coroutine[Any, Any, None]], ended: Callable[[], None]) -> object:
    """Start a coroutine function, which must not raise, in a task of its own beside all others, on asyncio or trio.

    Returns what has to be held on to until it is done. The event loop's shutdown cancels it. Then `ended` is called,
    also if it was cancelled before it began.
    """
    if current_async_library() == "trio":
        import trio

        async def run() -> None:
            try:
                await work()
            finally:
                ended()

        return trio.lowlevel.spawn_system_task(run, context=copy_context())
    import asyncio

    task = asyncio.get_running_loop().create_task(work())
    task.add_done_callback(lambda _: ended())
    return task


class Working:
    """A piece of work in a thread, for async code to wait for: `done` is set when there is an outcome."""

    __slots__ = ("_outcome", "done")

    def __init__(self) -> None:
        self.done = Event()
        self._outcome: Outcome | None = None

    def end(self, outcome: Outcome, hop: Callable[..., None]) -> None:
        """To be called in the thread."""
        self._outcome = outcome
        hop(self.done.set)

    def get(self) -> Any:
        """The work's value, or raise what it raised."""
        assert self._outcome is not None  # done is set
        return self._outcome.get()

    async def leave(self, name: str) -> None:
        """Give the work, which was told that it is not wanted any more, a moment to end; report it if it goes on."""
        with move_on_after(HEED_S, shield=True):
            await self.done.wait()
        if self._outcome is None:
            report(name)


def report(name: str) -> None:
    """Say that a function does not heed its cancellation."""
    log.warning("%s was cancelled and does not heed it: its thread goes on until the function returns", name)


class _Worker:
    __slots__ = ("work",)

    def __init__(self) -> None:
        self.work: SimpleQueue[Callable[[], None]] = SimpleQueue()


class Threads:
    """Daemon threads, made when there is work and gone soon after. The caller's context variables go with the work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._forget)

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work`, which must not raise, in a thread."""
        bound = partial(copy_context().run, work)
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = _Worker()
            threading.Thread(target=self._run, args=(worker,), daemon=True, name="agentkit tool").start()
        worker.work.put(bound)

    def begin(self, work: Callable[[], Any]) -> Working:
        """Run `work` in a thread; what is returned can be awaited, on asyncio or trio."""
        working, hop = Working(), hopper()
        self.submit(lambda: working.end(outcome_of(work), hop))
        return working

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread and await its value, on asyncio or trio. Cancelled, it leaves the thread behind."""
        working = self.begin(work)
        await working.done.wait()
        value: T = working.get()
        return value

    def _run(self, worker: _Worker) -> None:
        while True:
            try:
                work = worker.work.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    if worker in self._idle:
                        self._idle.remove(worker)
                        return
                continue  # it was taken from the idle ones just now: its work is on the way
            work()
            del work
            with self._lock:
                self._idle.append(worker)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._idle = []


threads: Final = Threads()


class Outcome:
    """What became of a piece of work: a value, or what it raised."""

    __slots__ = ("raised", "value")

    def __init__(self, value: Any = None, raised: BaseException | None = None) -> None:
        self.value = value
        self.raised = raised

    def get(self) -> Any:
        """The value, or raise what was raised."""
        if self.raised is not None:
            raise self.raised
        return self.value


def outcome_of(work: Callable[[], Any]) -> Outcome:
    """Run it and keep what it gave or raised."""
    try:
        return Outcome(work())
    except BaseException as error:  # it is raised again where it is waited for
        return Outcome(raised=error)


class LoopThread:
    """An event loop in a daemon thread, made on first need, for async code that sync code waits for."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._waiting: set[SimpleQueue[Outcome]] = set()
        self._interrupted = self._closed = False

    def submit(
        self, work: Callable[[], Coroutine[Any, Any, Any]], done: Callable[[Outcome], None]
    ) -> Callable[[], None]:
        """Run a coroutine function there and hand its outcome to `done`. Returns a function that cancels it."""
        context = copy_context()
        task: list[asyncio.Task[None]] = []
        outcomes: list[Outcome] = []

        async def run() -> None:
            try:
                outcomes.append(Outcome(await work()))
            except BaseException as error:  # it is raised again where it is waited for
                outcomes.append(Outcome(raised=error))

        def begin() -> None:
            task.append(loop.create_task(run(), context=context))
            # told by the task's end: one that is cancelled before its first step runs none of its code
            task[0].add_done_callback(lambda _: done(outcomes[0] if outcomes else _closed()))

        def cancel() -> None:
            if task:
                task[0].cancel()

        def cancel_soon() -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(cancel)

        with self._lock:
            if self._closed:
                done(_closed())
                return lambda: None
            loop = self._started()
            loop.call_soon_threadsafe(begin)
        return cancel_soon

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function there and wait for its value."""
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._waiting.add(outcomes)
        cancel = self.submit(work, outcomes.put)
        if self._interrupted:
            self.interrupt()
        try:
            value: T = outcomes.get().get()
        except BaseException:
            cancel()
            raise
        finally:
            self._waiting.discard(outcomes)
        return value

    def interrupt(self) -> None:
        """Let whoever waits in `run`, now or later, wake with Cancelled. From any thread."""
        self._interrupted = True
        for outcomes in tuple(self._waiting):
            outcomes.put(_closed())

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            import asyncio  # a purely sync program never needs it

            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(self._loop,), daemon=True, name="agentkit loop").start()
        return self._loop

    def close(self) -> None:
        """Cancel what is left there and end the thread; nothing is run there any more."""
        with self._lock:
            self._closed = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None


def _closed() -> Outcome:
    return Outcome(raised=Cancelled("it was cancelled by its caller"))


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        while left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=HEED_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
