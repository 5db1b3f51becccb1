"""How long a stream is waited for, in each of its phases and in all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import pytest

from agentkit import Agent, ChatModel, Context, Limits, Timeouts
from agentkit.errors import LimitReached, TimedOut
from agentkit.events import TextDelta
from agentkit.testing import FakeEndpoint, call, calls, say
from agentkit.testing.script import Item, Pause, Response, drip, hang, stall
from tests.tiers import SOON_S
from tests.watching import DONE, SSE, STOP, WATCHERS, agent_for, chunk, text_of, told

watchers = pytest.mark.parametrize(
    "watch",
    [pytest.param(watch, id=way, marks=pytest.mark.slow if way == "trio" else ()) for way, watch in WATCHERS.items()],
)
SHORT_S = 0.4
RUN_S = 1.0  # the way to the endpoint is part of it
LONG_S = 20.0
ROLE = chunk({"role": "assistant", "content": ""})


def alive(*head: bytes) -> Item:
    """A stream that begins with these events, and then is kept open by comments for a long time."""
    beats: list[Any] = [Pause(0.02), b": keep-alive\n\n"] * int(LONG_S / 0.02)
    return Item("alive", lambda _: Response(200, SSE, [*head, *beats, STOP, DONE], chunked=True))


STALLED = stall(say(["It ", "is", " fine."]), after_events=2)
TIMES: dict[str, tuple[Any, Timeouts, str, str]] = {
    "no head": (hang(), Timeouts(first_byte_s=SHORT_S), "first_byte_s", ""),
    "a stall": (STALLED, Timeouts(read_s=SHORT_S), "read_s", "It "),
    "a stall after the head": (stall(say("x"), after_bytes=1), Timeouts(read_s=SHORT_S), "read_s", ""),
    "comments after a text": (alive(told("It ")), Timeouts(read_s=SHORT_S), "kept the line open for 0.4 s", "It "),
    "comments alone": (alive(), Timeouts(first_byte_s=SHORT_S), "kept the line open for 0.4 s", ""),
    "comments after the role": (alive(ROLE), Timeouts(read_s=SHORT_S), "kept the line open for 0.4 s", ""),
    "a slow drip": (drip(say("It " * 999), 0.02), Timeouts(total_s=SHORT_S), "total_s", None),
    "comments for too long in all": (alive(told("It ")), Timeouts(total_s=SHORT_S), "total_s", "It "),
}


@pytest.mark.sampled(12, each="item watch")
@watchers
@pytest.mark.parametrize(("item", "timeouts", "said", "text"), TIMES.values(), ids=TIMES)
def test_a_stream_is_waited_for_only_so_long(watch, item, timeouts, said, text):
    with FakeEndpoint([item]) as fake:
        began = time.monotonic()
        seen = watch(agent_for(fake, model={"timeouts": timeouts, "retries": 0}), "x")
        assert SHORT_S * 0.9 < time.monotonic() - began < SHORT_S + SOON_S
        fake.wait_until(lambda: fake.connections == 0)
    assert isinstance(seen.ended, TimedOut)
    assert said in str(seen.ended)
    assert seen.ended.partial_text == seen.text
    assert text is None or seen.text == text
    assert seen.ended.transcript is seen.transcript


@contextmanager
def unanswered() -> Iterator[int]:
    """A port that takes no connection: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@watchers
def test_no_connection(watch):
    with unanswered() as port:
        timeouts = Timeouts(connect_s=SHORT_S)
        model = ChatModel("m", base_url=f"http://127.0.0.1:{port}/v1", api_key="k", timeouts=timeouts, retries=0)
        began = time.monotonic()
        seen = watch(Agent(model), "x")
    assert time.monotonic() - began < SHORT_S + SOON_S
    assert isinstance(seen.ended, TimedOut)
    assert "connect_s" in str(seen.ended)


@watchers
def test_all_attempts_share_the_time_in_all(watch):
    with FakeEndpoint([hang()] * 9) as fake:
        began = time.monotonic()
        timeouts = Timeouts(first_byte_s=0.3, total_s=0.8)
        seen = watch(agent_for(fake, model={"timeouts": timeouts, "retries": 8, "wait": lambda _: 0.0}), "x")
        assert time.monotonic() - began < 0.8 + SOON_S
        assert 2 <= len(fake.requests) <= 3
    assert isinstance(seen.ended, TimedOut)


@pytest.mark.slow
@watchers
def test_a_stream_that_moves_is_not_given_up(watch):
    with FakeEndpoint([drip(say(["a"] * 6), 0.2)]) as fake:
        seen = watch(agent_for(fake, model={"timeouts": Timeouts(first_byte_s=1.0, read_s=1.0), "retries": 0}), "x")
    assert seen.result.output == "a" * 6


RUN_TIMES: dict[str, Any] = {
    "no head": hang(),
    "a stall": STALLED,
    "comments": alive(told("It ")),
    "a slow drip": drip(say("It " * 999), 0.02),
}


@pytest.mark.slow
@pytest.mark.sampled(6, each="item watch")
@watchers
@pytest.mark.parametrize("item", RUN_TIMES.values(), ids=RUN_TIMES)
def test_the_time_of_a_whole_run(watch, item):
    with FakeEndpoint([item]) as fake:
        began = time.monotonic()
        seen = watch(agent_for(fake, limits=Limits(seconds=RUN_S)), "x")
        assert time.monotonic() - began < RUN_S + SOON_S
        assert len(fake.requests) == 1
        fake.wait_until(lambda: fake.connections == 0)
    assert isinstance(seen.ended, LimitReached)
    assert seen.ended.limit == "seconds"
    assert isinstance(seen.ended.__cause__, TimedOut)
    assert seen.ended.__cause__.partial_text == seen.text
    assert seen.ended.transcript is seen.transcript


@pytest.mark.slow
@pytest.mark.sampled(7, each="watch+kind many")
@watchers
@pytest.mark.parametrize("many", [False, True], ids=["one call", "two calls"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_time_of_a_whole_run_while_its_tools_work(watch, kind, many):
    ended = threading.Event()

    def work(context: Context[None], n: int) -> str:
        """Work until told to stop."""
        while not context.cancelled:
            time.sleep(0.005)
        ended.set()
        return "late"

    async def work_async(n: int) -> str:
        """Work for ever, awaited."""
        try:
            await anyio.sleep(LONG_S)
        finally:
            ended.set()
        return "late"

    if watch is WATCHERS["sync"] and kind == "sync" and not many:
        pytest.skip("a function in the caller's own thread cannot be left")
    asked = [call("work" if kind == "sync" else "work_async", n=n) for n in range(1 + many)]
    with FakeEndpoint([calls(*asked)]) as fake:
        began = time.monotonic()
        seen = watch(agent_for(fake, [work, work_async], limits=Limits(seconds=RUN_S)), "x")
        assert time.monotonic() - began < RUN_S + SOON_S
    assert isinstance(seen.ended, LimitReached)
    assert ended.wait(SOON_S)
    results = [record.result for record in seen.transcript.entries[1].calls]
    assert [result.status for result in results] == ["failed"] * len(asked)
    assert all("given up" in result.content for result in results)


@pytest.mark.slow
async def test_a_listener_that_pauses_is_not_the_endpoints_fault(anyio_backend):
    pieces = [told("It ")] * 6000
    rest = [b": keep-alive\n\n", told("is."), STOP, DONE]
    item = Item("much", lambda _: Response(200, SSE, [b"".join(pieces), Pause(0.05), *rest], chunked=True))
    with FakeEndpoint([item]) as fake:
        model = {"timeouts": Timeouts(read_s=1.0), "retries": 0}
        async with agent_for(fake, model=model).stream("x") as run:
            first = await anext(run)
            await anyio.sleep(1.2)
            events = [first, *[event async for event in run]]
        assert text_of(events) == "It " * 6000 + "is."
        assert isinstance(first, TextDelta)
