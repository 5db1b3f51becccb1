"""Every way to ask a model one question and to run an agent, as a table, and what became of it in replay's words."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from agentkit import Agent, ChatModel, Reply, Result, Timeouts, Tool
from agentkit.clock import Clock, clock
from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailed,
    ContentFilterError,
    ContextLengthError,
    EndpointError,
    ModelError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    TimedOut,
)
from agentkit.events import Event, TextDelta
from agentkit.tools import as_tool
from tests.wire import replay

PROMPT = "What is the weather?"

# The most particular first.
CLASSES: dict[type[Exception], str] = {
    AuthenticationError: "auth",
    PermissionDeniedError: "permission",
    NotFoundError: "not_found",
    ContextLengthError: "context_length",
    ContentFilterError: "content_filter",
    BadRequestError: "bad_request",
    RateLimitError: "rate_limit",
    OverloadedError: "overloaded",
    ServerError: "server",
    ConnectionFailed: "connection",
    TimedOut: "timeout",
    ProtocolError: "protocol",
    ModelError: "protocol",
}
CAUGHT = (EndpointError, ModelError)
"""What a failure may come out as. Anything else is a crash, and fails the test as itself."""


# The verbs


class Asked(NamedTuple):
    """One model call: how it ended, and the text that was streamed (None where nothing was)."""

    outcome: Reply | EndpointError
    streamed: str | None


class Way(NamedTuple):
    """One way to call a model, and the same for a whole run. One more verb is one more of these."""

    name: str
    streamed: bool
    call: Callable[[ChatModel, list[Tool]], Asked]
    run: Callable[[Agent[Any], str], Result]


def call_sync(model: ChatModel, tools: list[Tool]) -> Asked:
    return _asked(lambda: model.reply_sync(PROMPT, tools=tools))


def call_in_asyncio(model: ChatModel, tools: list[Tool]) -> Asked:
    return _asked(lambda: asyncio.run(model.reply(PROMPT, tools=tools)))


def stream_sync(model: ChatModel, tools: list[Tool]) -> Asked:
    told: list[Event] = []

    def work() -> Reply:
        with model.stream_sync(PROMPT, tools=tools) as stream:
            told.extend(stream)
        return stream.reply

    return _asked(work, told)


def stream_in_asyncio(model: ChatModel, tools: list[Tool]) -> Asked:
    told: list[Event] = []

    async def work() -> Reply:
        async with model.stream(PROMPT, tools=tools) as stream:
            async for event in stream:
                told.append(event)  # noqa: PERF401  # an error must leave what was told before it
        return stream.reply

    return _asked(lambda: asyncio.run(work()), told)


def _asked(work: Callable[[], Reply], told: list[Event] | None = None) -> Asked:
    outcome: Reply | EndpointError
    try:
        outcome = work()
    except EndpointError as error:
        outcome = error
    return Asked(outcome, None if told is None else _text(told))


def _text(told: list[Event]) -> str:
    return "".join(event.text for event in told if isinstance(event, TextDelta) and event.choice == 0)


def run_in_asyncio(agent: Agent[Any], prompt: str) -> Result:
    return asyncio.run(agent.run(prompt))


def streamed_run_sync(agent: Agent[Any], prompt: str) -> Result:
    with agent.stream_sync(prompt) as run:
        return run.finish()


def streamed_run_in_asyncio(agent: Agent[Any], prompt: str) -> Result:
    async def main() -> Result:
        async with agent.stream(prompt) as run:
            return await run.finish()

    return asyncio.run(main())


WAYS = (
    Way("reply_sync", streamed=False, call=call_sync, run=lambda agent, prompt: agent.run_sync(prompt)),
    Way("reply", streamed=False, call=call_in_asyncio, run=run_in_asyncio),
    Way("stream_sync", streamed=True, call=stream_sync, run=streamed_run_sync),
    Way("stream", streamed=True, call=stream_in_asyncio, run=streamed_run_in_asyncio),
)


# What is asked, and by whom


class PatientClock(Clock):
    """The real clock, but its waits are only counted."""

    def __init__(self) -> None:
        self.waited_s = 0.0

    def wait_sync(self, seconds: float, unless: threading.Event) -> bool:
        self.waited_s += seconds
        return unless.is_set()

    async def wait(self, seconds: float) -> None:
        self.waited_s += seconds


def tools_told(executed: list[tuple[str, dict[str, Any]]]) -> list[Tool]:
    """replay.TOOLS as functions that note that they ran."""

    def get_weather(city: str) -> str:
        executed.append(("get_weather", {"city": city}))
        return "sunny"

    def add(a: int, b: int) -> int:
        executed.append(("add", {"a": a, "b": b}))
        return a + b

    def ping() -> str:
        executed.append(("ping", {}))
        return "pong"

    def tag(labels: list[str]) -> str:
        executed.append(("tag", {"labels": labels}))
        return "tagged"

    def write_file(path: str, content: str) -> str:
        executed.append(("write_file", {"path": path, "content": content}))
        return "written"

    return [as_tool(function) for function in (get_weather, add, ping, tag, write_file)]


def model_of(case: dict[str, Any], server: replay.Server, **options: Any) -> ChatModel:
    allowed_s = case.get("client", {}).get("read_timeout_s")
    timeouts = Timeouts() if allowed_s is None else Timeouts(first_byte_s=allowed_s, read_s=allowed_s)
    return ChatModel("m", base_url=server.base_url, api_key=server.api_key, timeouts=timeouts, **options)


# What became of it


def observed_call(case: dict[str, Any], server: replay.Server, way: Way) -> dict[str, Any]:
    """One model call without retries, for compare_client."""
    asked = way.call(model_of(case, server, retries=0), tools_told([]))
    reply = asked.outcome
    if isinstance(reply, EndpointError):
        return {"streamed_text": asked.streamed, "error": _error(reply)}
    usage = reply.usage
    return {
        "streamed_text": asked.streamed,
        "text": reply.text,
        "reasoning": reply.reasoning,
        "refusal": reply.refusal,
        "finish_reason": reply.finish_reason,
        "usage": usage
        and {
            "input": usage.prompt_tokens,
            "output": usage.completion_tokens,
            "total": usage.total_tokens,
            "cached": usage.cached_tokens,
            "reasoning": usage.reasoning_tokens,
        },
        "tool_calls": [{"id": call.id, "name": call.name, "arguments": _parsed(call)} for call in reply.tool_calls],
    }


def observed_run(case: dict[str, Any], server: replay.Server, way: Way) -> dict[str, Any]:
    """A run with the retries that it has by default, for compare_loop."""
    executed: list[tuple[str, dict[str, Any]]] = []
    agent = Agent(model_of(case, server), tools=tools_told(executed))
    patient = PatientClock()
    token = clock.set(patient)
    started = time.monotonic()
    seen: dict[str, Any] = {"executed": executed}
    try:
        seen["final_text"] = way.run(agent, PROMPT).output
    except CAUGHT as error:
        seen["error"] = _error(error)
        seen["transcript"] = error.transcript
    finally:
        clock.reset(token)
    seen["seconds"] = time.monotonic() - started + patient.waited_s
    return seen


def _error(error: EndpointError | ModelError) -> dict[str, Any]:
    return {
        "class": next(name for kind, name in CLASSES.items() if isinstance(error, kind)),
        "retryable": getattr(error, "retryable", False),
        "retry_after": getattr(error, "retry_after_s", None),
        "message": str(error),
    }


def _parsed(call: Any) -> Any:
    try:
        return call.parsed
    except ValueError:
        return ValueError
