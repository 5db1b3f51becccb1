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

from anyio import Event
from anyio.lowlevel import current_token
from sniffio import current_async_library

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
Kind: TypeAlias = Literal["sync", "async", "generator", "async generator"]
IDLE_S: Final = 0.5
"""How long a thread waits for more work before it ends."""


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


def spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> object:
    """Start a coroutine function, which must not raise, in a task of its own beside all others, on asyncio or trio.

    Returns what has to be held on to until it is done. The event loop's shutdown cancels it.
    """
    if current_async_library() == "trio":
        import trio

        return trio.lowlevel.spawn_system_task(work, context=copy_context())
    import asyncio

    return asyncio.get_running_loop().create_task(work())


class _Worker:
    __slots__ = ("work",)

    def __init__(self) -> None:
        self.work: SimpleQueue[Callable[[], None]] = SimpleQueue()


class Threads:
    """Daemon threads, made when there is work and gone soon after. The caller's context variables go with the work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
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

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread and await its value, on asyncio or trio. Cancelled, it leaves the thread behind."""
        outcome: list[Outcome] = []
        done = Event()
        hop = hopper()

        def run() -> None:
            outcome.append(outcome_of(work))
            hop(done.set)

        self.submit(run)
        await done.wait()
        value: T = outcome[0].get()
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

    def submit(
        self, work: Callable[[], Coroutine[Any, Any, Any]], done: Callable[[Outcome], None]
    ) -> Callable[[], None]:
        """Run a coroutine function there and hand its outcome to `done`. Returns a function that cancels it."""
        loop = self._started()
        context = copy_context()
        task: list[asyncio.Task[None]] = []

        async def run() -> None:
            try:
                outcome = Outcome(await work())
            except BaseException as error:  # it is raised again where it is waited for
                outcome = Outcome(raised=error)
            done(outcome)

        def begin() -> None:
            task.append(loop.create_task(run(), context=context))

        def cancel() -> None:
            if task:
                task[0].cancel()

        def cancel_soon() -> None:
            loop.call_soon_threadsafe(cancel)

        loop.call_soon_threadsafe(begin)
        return cancel_soon

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine function there and wait for its value."""
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        cancel = self.submit(work, outcomes.put)
        try:
            value: T = outcomes.get().get()
        except BaseException:
            cancel()
            raise
        return value

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            import asyncio  # a purely sync program never needs it

            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(self._loop,), daemon=True, name="agentkit loop").start()
        return self._loop

    def close(self) -> None:
        """Cancel what is left there and end the thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
