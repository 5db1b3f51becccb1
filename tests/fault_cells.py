"""A run of five turns with eight tools, and what can go wrong at each of its effects."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio
import trio
import trio.testing

from agentkit import Agent, ChatModel, Context, Limits, Result, Timeouts, Tool
from agentkit.clock import Clock, clock
from agentkit.errors import (
    AgentKitError,
    ConnectionFailed,
    LimitReached,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    TimedOut,
    ToolFailed,
)
from agentkit.testing import FakeEndpoint, call, calls, cut, drip, error_event, garbled, raw, reset, say, stall, status
from agentkit.testing.script import Item
from tests.tiers import SOON_S

ALLOWED_S = 5.0 + SOON_S
"""No cell may take longer."""
TIMEOUTS = Timeouts(connect_s=10.0, first_byte_s=10.0, read_s=10.0)
SHORT = Timeouts(connect_s=10.0, first_byte_s=0.8, read_s=0.8)
HTML = raw(200, {"content-type": "text/html"}, b"<html><title>Gateway</title></html>")
NAMES = "one two three four five six seven eight".split()
TURNS: list[Item] = [
    *(calls(call(first), call(second)) for first, second in zip(NAMES[::2], NAMES[1::2], strict=True)),
    say("done"),
]


class Fault(NamedTuple):
    """What is made of the answer of a turn, the error that it means, and whether a second try mends it."""

    spoil: Callable[[Item], Item]
    kind: type[AgentKitError] | None
    mended: bool = True


WIRE: dict[str, Fault] = {
    "refused": Fault(lambda item: item, ConnectionFailed),
    "reset before headers": Fault(lambda _: reset(), ConnectionFailed),
    "reset after headers": Fault(lambda item: reset(item, after_bytes=1), ConnectionFailed),
    "cut": Fault(cut, ConnectionFailed),
    "stall": Fault(stall, TimedOut),
    "slow drip": Fault(lambda item: drip(item, 0.01, size=100), None),
    "408": Fault(lambda _: status(408), TimedOut),
    "409": Fault(lambda _: status(409), OverloadedError),
    "429": Fault(lambda _: status(429, headers={"retry-after": "1"}), RateLimitError),
    "500": Fault(lambda _: status(500), ServerError),
    "503": Fault(lambda _: status(503), OverloadedError),
    "HTML": Fault(lambda _: HTML, ProtocolError, mended=False),
    "error in a stream": Fault(error_event, ServerError),
    "bad JSON": Fault(garbled, ProtocolError),
}
TOOLS: dict[str, type[AgentKitError] | None] = {
    "raises, told": None,
    "raises, ends the run": ToolFailed,
    "hangs, timeout": None,
    "hangs, run's time": LimitReached,
}


class Cell(NamedTuple):
    """A driver, an effect of the run, what goes wrong there, and whether it does so every time."""

    driver: str
    place: str
    fault: str
    always: bool = False

    @property
    def label(self) -> str:
        return f"{self.driver}, {self.place}: {self.fault}{' always' if self.always else ''}"


class Patient(Clock):
    """A clock with which waiting for a retry takes no time; then what was refused is let in again."""

    def __init__(self, waited: Callable[[], None]) -> None:
        self.waited = waited

    def wait_sync(self, seconds: float, unless: threading.Event) -> bool:
        self.waited()
        return unless.is_set()

    async def wait(self, seconds: float) -> None:
        await anyio.to_thread.run_sync(self.waited)


@dataclass
class Trouble:
    """What a tool does at one place; and how many tools are at work."""

    name: str = ""
    fault: str = ""
    inside: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def enter(self, change: int) -> None:
        with self.changed:
            self.inside += change
            self.changed.notify_all()

    def quiet(self) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: not self.inside, SOON_S)

    def meet(self, context: Context[Any]) -> bool:
        """Raise if that is what is to go wrong here; whether to hang."""
        if context.call.name != self.name:
            return False
        if self.fault.startswith("raises"):
            raise RuntimeError("boom")
        return True

    def work(self, context: Context[Any]) -> str:
        self.enter(1)
        try:
            if self.meet(context):
                ends = time.monotonic() + 30 if context.deadline is None else context.deadline
                while not context.cancelled and time.monotonic() < ends:
                    time.sleep(0.002)  # it is what hangs
            return "fine"
        finally:
            self.enter(-1)

    async def wait(self, context: Context[Any]) -> str:
        self.enter(1)
        try:
            if self.meet(context):
                await anyio.sleep(30)
            return "fine"
        finally:
            self.enter(-1)


def in_thread(context: Context[Trouble]) -> str:
    return context.deps.work(context)


async def in_loop(context: Context[Trouble]) -> str:
    return await context.deps.wait(context)


def piece_by_piece(context: Context[Trouble]) -> Generator[str]:
    yield "begun"
    yield context.deps.work(context)


async def piece_by_piece_in_loop(context: Context[Trouble]) -> AsyncGenerator[str]:
    yield "begun"
    yield await context.deps.wait(context)


FUNCTIONS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (in_thread, {}),
    (in_loop, {}),
    (in_thread, {"read_only": True}),
    (in_loop, {"read_only": True}),
    (in_thread, {"exclusive": True}),
    (piece_by_piece, {}),
    (piece_by_piece_in_loop, {}),
    (in_thread, {"exclusive": "door"}),
]


def tools(timeout_s: float | None) -> list[Tool]:
    """The eight tools."""
    return [
        Tool(function, name=name, description="Do it.", timeout_s=timeout_s, **options)
        for name, (function, options) in zip(NAMES, FUNCTIONS, strict=True)
    ]


class Turns:
    """Answers turn by turn, as far as the conversation is; what goes wrong at one of them goes wrong once or always."""

    def __init__(self, fake: FakeEndpoint, cell: Cell) -> None:
        self.fake = fake
        self.cell = cell
        self.turn = int(cell.place[-1]) if cell.place.startswith("turn") else 0
        self.left = 1_000 if cell.always else 1
        if self.turn == 1 and cell.fault == "refused":
            fake.refuse()

    def __call__(self, request: Any) -> Item:
        turn = 1 + sum(message["role"] == "assistant" for message in request.messages)
        item = TURNS[turn - 1]
        if turn == self.turn and self.left and self.cell.fault != "refused":
            self.left -= 1
            return WIRE[self.cell.fault].spoil(item)
        if turn + 1 == self.turn and self.cell.fault == "refused":
            self.fake.refuse()
        return item

    def waited(self) -> None:
        if self.cell.fault == "refused" and not self.cell.always:
            self.fake.accept()


Ended = Result | AgentKitError


def _sync(agent: Agent[Any], args: dict[str, Any]) -> Ended:
    try:
        return agent.run_sync("go", **args)
    except AgentKitError as error:
        return error


def _stream_sync(agent: Agent[Any], args: dict[str, Any]) -> Ended:
    with agent.stream_sync("go", **args) as run:
        try:
            return run.finish()
        except AgentKitError as error:
            return error


async def _run(agent: Agent[Any], args: dict[str, Any]) -> Ended:
    try:
        return await agent.run("go", **args)
    except AgentKitError as error:
        return error


async def _stream(agent: Agent[Any], args: dict[str, Any]) -> Ended:
    async with agent.stream("go", **args) as run:
        try:
            return await run.finish()
        except AgentKitError as error:
            return error


def _on_asyncio(work: Callable[..., Any]) -> Callable[..., Ended]:
    async def main(agent: Agent[Any], args: dict[str, Any]) -> Ended:
        ended: Ended = await work(agent, args)
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still running: {left}"
        return ended

    return lambda agent, args: asyncio.run(main(agent, args))


def _on_trio(work: Callable[..., Any]) -> Callable[..., Ended]:
    async def main(agent: Agent[Any], args: dict[str, Any]) -> Ended:
        before = trio.lowlevel.current_statistics().tasks_living
        ended: Ended = await work(agent, args)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before
        return ended

    return lambda agent, args: trio.run(main, agent, args)


DRIVERS: dict[str, Callable[[Agent[Any], dict[str, Any]], Ended]] = {
    "sync": _sync,
    "asyncio": _on_asyncio(_run),
    "trio": _on_trio(_run),
    "stream sync": _stream_sync,
    "stream asyncio": _on_asyncio(_stream),
    "stream trio": _on_trio(_stream),
}
CELLS = [
    *(
        Cell(driver, f"turn {turn}", fault, always)
        for driver in DRIVERS
        for turn in range(1, 6)
        for fault in WIRE
        for always in (False, True)
    ),
    *(Cell(driver, f"tool {name}", fault) for driver in DRIVERS for name in NAMES for fault in TOOLS),
]


def play(cell: Cell, fake: FakeEndpoint) -> tuple[Ended, Trouble]:
    """Run a cell against an endpoint; returns how it ended."""
    turns = Turns(fake, cell)
    fake.play(turns)
    trouble = Trouble(cell.place.removeprefix("tool "), cell.fault)
    model = ChatModel(
        "m",
        base_url=fake.base_url,
        api_key=fake.api_key,
        retries=1,
        timeouts=SHORT if cell.fault == "stall" else TIMEOUTS,
    )
    agent = Agent[Any](
        model,
        tools=tools(0.1 if cell.fault == "hangs, timeout" else None),
        on_tool_error="raise" if cell.fault == "raises, ends the run" else "tell",
    )
    limits = Limits(seconds=0.3) if cell.fault == "hangs, run's time" else None
    token = clock.set(Patient(turns.waited))
    try:
        return DRIVERS[cell.driver](agent, {"deps": trouble, "limits": limits}), trouble
    finally:
        clock.reset(token)
        model.endpoint.close()


def resumed(transcript: Any, fake: FakeEndpoint) -> Result:
    """The run gone on with, with nothing wrong any more."""
    fake.accept()
    fake.play(Turns(fake, Cell("sync", "none", "none")))
    model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
    try:
        return Agent[Any](model, tools=tools(None)).run_sync(transcript=transcript, deps=Trouble())
    finally:
        model.endpoint.close()
