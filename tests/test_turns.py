"""Requests that wait their turn: over runs, threads and event loops, with an endpoint that counts."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import anyio
import pytest
import trio

from agentkit import Agent, ChatModel, Limits, Pacing
from agentkit.chat.dialects import DIALECTS
from agentkit.endpoint import Endpoint
from agentkit.errors import Cancelled, LimitReached, OverloadedError, RateLimitError
from agentkit.testing import FakeEndpoint, delayed, fixed_clock, say, status
from tests.drivers import DRIVERS, outcome

drivers = pytest.mark.parametrize("driver", DRIVERS)


def paced(fake: FakeEndpoint, pacing: Pacing, **options: Any) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, pacing=pacing, **options)


def test_it_is_the_endpoints():
    with FakeEndpoint() as fake:
        plain = ChatModel("a", base_url=fake.base_url, api_key=fake.api_key)
        assert plain.endpoint.turns is None
        model = paced(fake, Pacing(concurrent=2))
        assert plain.endpoint is model.endpoint
        assert plain.endpoint.turns is not None and plain.endpoint.turns.pacing == Pacing(concurrent=2)
        paced(fake, Pacing(concurrent=3))  # the last one counts
        assert plain.endpoint.turns.pacing == Pacing(concurrent=3)


async def _many(model: ChatModel, count: int) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(model.reply, "hi")


def test_threads_and_loops_share_the_limit():
    release, seen = threading.Event(), threading.Semaphore(0)

    def answer(_: Any) -> Any:
        seen.release()
        return delayed(say("ok"), until=release)

    with FakeEndpoint(answer) as fake:
        model = paced(fake, Pacing(concurrent=3))
        runs = [partial(asyncio.run, _many(model, 5)), partial(trio.run, _many, model, 5)]
        runs += [partial(model.reply_sync, "hi")] * 5
        threads = [threading.Thread(target=run) for run in runs]
        for thread in threads:
            thread.start()
        assert all(seen.acquire(timeout=20) for _ in range(3))
        assert not seen.acquire(timeout=0.1)  # a fourth would be here by now
        release.set()
        for thread in threads:
            thread.join()
        assert len(fake.requests) == 15


@drivers
def test_requests_a_minute(driver):
    with FakeEndpoint() as fake, fixed_clock() as clock:
        agent = Agent(paced(fake, Pacing(requests_per_minute=2)))
        for _ in range(5):
            DRIVERS[driver](agent, "hi")
        assert clock.waits == [60.0, 60.0]


@drivers
def test_tokens_a_minute(driver):
    used = say("ok", usage=(600, 100))
    with FakeEndpoint(lambda _: used) as fake, fixed_clock() as clock:
        agent = Agent(paced(fake, Pacing(tokens_per_minute=1000)))
        for _ in range(4):
            DRIVERS[driver](agent, "hi")
        # 700 + a guess of some 20 go in one minute; 1,400 + that do not
        assert clock.waits == [60.0]


@drivers
def test_what_is_left_is_heeded_before_the_429(driver):
    used_up = say("ok")
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12s"}

    def answer(request: Any) -> Any:
        response = used_up.respond(request)
        response.headers.update(headers)
        return type(used_up)("used up", lambda _: response)

    with FakeEndpoint(answer) as fake, fixed_clock() as clock:
        agent = Agent(paced(fake, Pacing()))
        DRIVERS[driver](agent, "hi")
        assert clock.waits == []
        DRIVERS[driver](agent, "hi")
        assert clock.waits == [12.0]


@drivers
def test_a_429_holds_up_the_others_too(driver):
    slow = status(429, headers={"retry-after": "8"})
    with FakeEndpoint([slow, say("ok")]) as fake, fixed_clock() as clock:
        first = outcome(DRIVERS[driver], Agent(paced(fake, Pacing(), retries=0)), "hi")
        assert isinstance(first, RateLimitError)
        assert DRIVERS[driver](Agent(paced(fake, Pacing(), retries=0)), "hi").output == "ok"
        assert clock.waits == [8.0]


@drivers
def test_the_place_is_given_back_while_a_retry_is_waited_for(driver):
    with FakeEndpoint([status(503), status(503), say("ok")]) as fake, fixed_clock():
        assert DRIVERS[driver](Agent(paced(fake, Pacing(concurrent=1))), "hi").output == "ok"


@drivers
def test_a_run_whose_time_does_not_last_ends(driver):
    with FakeEndpoint([say("ok")]) as fake, fixed_clock() as clock:
        agent = Agent(paced(fake, Pacing(requests_per_minute=1)))
        DRIVERS[driver](agent, "hi")
        seen = outcome(DRIVERS[driver], agent, "hi", limits=Limits(seconds=30))
        assert isinstance(seen, LimitReached) and seen.limit == "seconds"
        assert clock.waits == []
        assert len(fake.requests) == 1


def test_cancelled_in_the_line_sync():
    release = threading.Event()
    with FakeEndpoint(lambda _: delayed(say("ok"), until=release)) as fake:
        model = paced(fake, Pacing(concurrent=1))
        holder = threading.Thread(target=model.reply_sync, args=("hi",))
        holder.start()
        fake.wait_until(lambda: len(fake.requests) == 1)
        with model.stream_sync("hi") as stream:
            threading.Timer(0.05, stream.cancel).start()
            with pytest.raises(Cancelled):
                list(stream)
        release.set()
        holder.join()
        assert model.reply_sync("hi").text == "ok"  # nothing holds the place
        assert len(fake.requests) == 2


def test_cancelled_in_the_line_async(anyio_backend):
    release = threading.Event()
    with FakeEndpoint(lambda _: delayed(say("ok"), until=release)) as fake:
        model = paced(fake, Pacing(concurrent=1))

        async def main() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(model.reply, "hi")
                await anyio.to_thread.run_sync(lambda: fake.wait_until(lambda: len(fake.requests) == 1))
                with anyio.move_on_after(0.05) as scope:
                    await model.reply("hi")
                assert scope.cancelled_caught
                release.set()
            assert (await model.reply("hi")).text == "ok"

        anyio.run(main, backend=anyio_backend)
        assert len(fake.requests) == 2


def test_first_come_first_served(anyio_backend):
    order: list[int] = []
    with FakeEndpoint(lambda _: delayed(say("ok"), 0.002)) as fake:
        model = paced(fake, Pacing(concurrent=1))

        async def one(number: int) -> None:
            await model.reply("hi")
            order.append(number)

        async def main() -> None:
            async with anyio.create_task_group() as group:
                for number in range(8):
                    group.start_soon(one, number)
                    await anyio.lowlevel.checkpoint()
                    await anyio.sleep(0.001)

        anyio.run(main, backend=anyio_backend)
    assert order == sorted(order)


def test_other_limits_wake_whoever_waits():
    release = threading.Event()
    with FakeEndpoint(lambda _: delayed(say("ok"), until=release)) as fake:
        model = paced(fake, Pacing(concurrent=1))
        threads = [threading.Thread(target=model.reply_sync, args=("hi",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        fake.wait_until(lambda: len(fake.requests) == 1)
        paced(fake, Pacing(concurrent=2))
        fake.wait_until(lambda: len(fake.requests) == 2)
        release.set()
        for thread in threads:
            thread.join()


def test_a_forked_child_does_not_wait_for_its_parent():
    endpoint = Endpoint("http://127.0.0.1:9/v1", DIALECTS["generic"])
    endpoint.pace(Pacing(concurrent=1))
    turns = endpoint.turns
    assert turns is not None
    assert turns.look(turns.ask(0, lambda: None), 0.0) == 0
    endpoint.forget()
    assert turns.look(turns.ask(0, lambda: None), 0.0) == 0


@drivers
def test_errors_give_the_place_back(driver):
    with FakeEndpoint([status(503), say("ok")]) as fake, fixed_clock():
        model = paced(fake, Pacing(concurrent=1), retries=0)
        assert isinstance(outcome(DRIVERS[driver], Agent(model), "hi"), OverloadedError)
        assert DRIVERS[driver](Agent(model), "hi").output == "ok"
