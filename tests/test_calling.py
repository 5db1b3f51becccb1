"""How functions are run: what kind each is, in threads that end by themselves, and in one private event loop."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest
import trio

from agentkit.calling import LoopThread, Outcome, Threads, finish, finish_async, hopper, kind_of, outcome_of, threads
from agentkit.errors import Cancelled

pytestmark = pytest.mark.anyio
who = contextvars.ContextVar[str]("who", default="nobody")


def plain() -> int:
    return 1


async def awaited() -> int:
    return 1


def generated() -> Iterator[int]:
    yield 1
    yield 2


def generated_with_a_result() -> Iterator[int]:
    yield 1
    return 5


async def generated_async() -> AsyncIterator[int]:
    yield 1
    yield 2


class Async:
    async def __call__(self) -> int:
        return 1

    async def method(self) -> int:
        return 1


class Generates:
    def __call__(self) -> Iterator[int]:
        yield 1


@functools.wraps(awaited)
def wrapped() -> Any:
    return awaited()


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (plain, "sync"),
        (awaited, "async"),
        (generated, "generator"),
        (generated_async, "async generator"),
        (functools.partial(awaited), "async"),
        (functools.partial(functools.partial(generated_async)), "async generator"),
        (Async(), "async"),
        (Async().method, "async"),
        (functools.partial(Async()), "async"),
        (Generates(), "generator"),
        (int, "sync"),
        (len, "sync"),
        (lambda: 1, "sync"),
    ],
)
def test_how_a_callable_has_to_be_run(function: Any, kind: str) -> None:
    assert kind_of(function) == kind


@pytest.mark.parametrize(
    ("function", "result", "told"),
    [
        (plain, 1, []),
        (lambda: None, None, []),
        (lambda: range(3), range(3), []),
        (generated, 2, [1, 2]),
        (generated_with_a_result, 5, [1]),
        (lambda: (number for number in ()), None, []),
    ],
    ids=["value", "none", "an iterable is a value", "generator", "with a result", "an empty generator"],
)
async def test_what_a_function_gave_is_run_to_its_end(
    function: Callable[[], Any], result: Any, told: list[int], anyio_backend: str
) -> None:
    heard: list[int] = []
    assert finish(function(), heard.append) == result
    assert await finish_async(function(), heard.append) == result
    assert heard == told * 2


async def test_what_an_async_function_gave_is_awaited(anyio_backend: str) -> None:
    heard: list[int] = []
    assert await finish_async(awaited(), heard.append) == 1
    assert await finish_async(wrapped(), heard.append) == 1
    assert heard == []
    assert await finish_async(generated_async(), heard.append) == 2
    assert heard == [1, 2]


async def test_a_generator_that_raises_is_closed(anyio_backend: str) -> None:
    closed: list[str] = []

    def fails() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append("sync")

    async def fails_async() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append("async")

    def refuse(value: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finish(fails(), refuse)
    with pytest.raises(ZeroDivisionError):
        await finish_async(fails_async(), refuse)
    assert closed == ["sync", "async"]


def test_an_outcome_gives_or_raises() -> None:
    assert outcome_of(plain).get() == 1
    with pytest.raises(KeyboardInterrupt):
        outcome_of(lambda: (_ for _ in ()).throw(KeyboardInterrupt)).get()
    assert Outcome(3).get() == 3


# Threads


def test_work_is_done_in_a_daemon_thread_with_the_callers_variables() -> None:
    done = threading.Event()
    seen: list[Any] = []

    def work() -> None:
        thread = threading.current_thread()
        seen.append((thread.daemon, thread.name, who.get()))
        done.set()

    token = who.set("Ada")
    threads.submit(work)
    who.reset(token)
    assert done.wait(20)
    assert seen == [(True, "agentkit tool", "Ada")]


def test_a_thread_is_used_again_and_ends_by_itself() -> None:
    pool = Threads()
    seen: list[threading.Thread] = []
    for _ in range(3):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            seen.append(threading.current_thread())
            done.set()

        pool.submit(work)
        assert done.wait(20)
        while not pool._idle:  # noqa: SLF001
            threading.Event().wait(0.001)
    assert len(set(seen)) == 1
    seen[0].join(20)
    assert not seen[0].is_alive()
    again = threading.Event()
    pool.submit(again.set)
    assert again.wait(20)


async def test_work_in_a_thread_is_awaited(anyio_backend: str) -> None:
    async with anyio.create_task_group() as group:
        meeting = threading.Barrier(3, timeout=20)
        for _ in range(3):
            group.start_soon(threads.run, meeting.wait)
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


async def test_work_that_is_no_longer_awaited_is_left_behind(anyio_backend: str) -> None:
    let_go, ended = threading.Event(), threading.Event()

    def work() -> None:
        let_go.wait(20)
        ended.set()

    with anyio.move_on_after(0.01) as scope:
        await threads.run(work)
    assert scope.cancelled_caught
    let_go.set()
    assert await threads.run(lambda: ended.wait(20))


@pytest.mark.parametrize("run", [lambda main: asyncio.run(main()), trio.run], ids=["asyncio", "trio"])
def test_a_call_into_a_loop_that_has_ended_is_dropped(run: Callable[[Any], Any]) -> None:
    async def main() -> Callable[..., None]:
        return hopper()

    hop = run(main)
    called: list[int] = []
    hop(called.append, 1)
    assert called == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    warm = threading.Event()
    threads.submit(warm.set)
    assert warm.wait(20)
    child = os.fork()
    if not child:
        done = threading.Event()
        threads.submit(done.set)
        os._exit(0 if done.wait(20) else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0


# The private loop


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


def test_a_coroutine_is_run_with_the_callers_variables(loop: LoopThread) -> None:
    async def tell() -> str:
        await asyncio.sleep(0)
        return who.get()

    token = who.set("Ada")
    assert loop.run(tell) == "Ada"
    who.reset(token)
    assert loop.run(tell) == "nobody"


def test_what_a_coroutine_raises_is_raised(loop: LoopThread) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run(fails)


def test_many_threads_share_one_loop(loop: LoopThread) -> None:
    seen: list[asyncio.AbstractEventLoop] = []
    meeting = threading.Barrier(8, timeout=20)

    async def tell() -> None:
        seen.append(asyncio.get_running_loop())

    def use() -> None:
        meeting.wait()
        loop.run(tell)

    users = [threading.Thread(target=use) for _ in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join(20)
    assert len(seen) == 8
    assert len(set(seen)) == 1


def nothing(value: object) -> None:
    """Hear of something and do nothing."""


def test_work_can_be_cancelled(loop: LoopThread) -> None:
    started, outcomes = threading.Event(), []

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    done = threading.Event()

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        done.set()

    cancel = loop.submit(hang, ended)
    assert started.wait(20)
    cancel()
    assert done.wait(20)
    assert isinstance(outcomes[0].raised, asyncio.CancelledError)


def test_closing_cancels_what_is_left() -> None:
    loop = LoopThread()
    started, done = threading.Event(), threading.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    loop.submit(hang, lambda _: done.set())
    assert started.wait(20)
    loop.close()
    assert done.wait(20)
    loop.close()


def test_nothing_is_run_once_it_is_closed() -> None:
    loop = LoopThread()
    loop.close()

    async def never() -> None:
        raise AssertionError

    with pytest.raises(Cancelled):
        loop.run(never)
    loop.submit(never, nothing)()


def test_work_that_is_cancelled_before_its_first_step_has_an_outcome(loop: LoopThread) -> None:
    begun, blocked, outcomes, done = threading.Event(), threading.Event(), list[Outcome](), threading.Event()

    async def block() -> None:
        begun.set()
        blocked.wait(20)

    async def never() -> None:
        raise AssertionError

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        done.set()

    loop.submit(block, nothing)
    assert begun.wait(20)
    cancel = loop.submit(never, ended)
    cancel()
    blocked.set()
    assert done.wait(20)
    assert isinstance(outcomes[0].raised, Cancelled)
    loop.close()
    cancel()


@pytest.mark.parametrize("before", [False, True])
def test_who_waits_can_be_woken(loop: LoopThread, before: bool) -> None:
    started = threading.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    def interrupt() -> None:
        assert started.wait(20)
        loop.interrupt()

    if before:
        loop.interrupt()
    else:
        threading.Thread(target=interrupt).start()
    with pytest.raises(Cancelled):
        loop.run(hang)


def test_it_is_made_on_first_need_only() -> None:
    before = threading.active_count()
    LoopThread().close()
    assert threading.active_count() <= before
