"""Every way to ask a model one question and to run an agent, as a table, and what became of it in replay's words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from agentkit import Agent, ChatModel, Model, Reply, Result, Timeouts, Tool, Transcript, drive, drive_async, tool
from agentkit.calling import LoopThread
from agentkit.chat.request import Request
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
from agentkit.flow import Steps
from agentkit.messages import user
from agentkit.run import Wire
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
    """One way to call a model, and the same for a whole run."""

    name: str
    streamed: bool
    call: Callable[[ChatModel, list[Tool]], Asked]
    run: Callable[[Agent, str], Result]


class StreamedModel(Model):
    """Asks another model for a stream."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    def flow(self, request: Request) -> Steps[Reply]:
        return (yield from self.inner.flow(request.with_(stream=True)))


def call_sync(model: ChatModel, tools: list[Tool]) -> Asked:
    try:
        return Asked(model.reply_sync(PROMPT, tools=tools), None)
    except EndpointError as error:
        return Asked(error, None)


def call_in_asyncio(model: ChatModel, tools: list[Tool]) -> Asked:
    async def main() -> Asked:
        try:
            return Asked(await model.reply(PROMPT, tools=tools), None)
        except EndpointError as error:
            return Asked(error, None)

    return asyncio.run(main())


def stream_sync(model: ChatModel, tools: list[Tool]) -> Asked:
    told: list[Event] = []
    loop = LoopThread()
    outcome: Reply | EndpointError
    try:
        sender = drive.Sender(Wire(clock.get(), emit=told.append), loop)
        outcome = drive.perform(model.flow(_streamed(tools)), sender)
    except EndpointError as error:
        outcome = error
    finally:
        loop.close()
    return Asked(outcome, _text(told))


def stream_in_asyncio(model: ChatModel, tools: list[Tool]) -> Asked:
    async def main() -> Asked:
        told: list[Event] = []
        outcome: Reply | EndpointError
        try:
            sender = drive_async.Sender(Wire(clock.get(), emit=told.append))
            outcome = await drive_async.perform(model.flow(_streamed(tools)), sender)
        except EndpointError as error:
            outcome = error
        return Asked(outcome, _text(told))

    return asyncio.run(main())


def _streamed(tools: list[Tool]) -> Request:
    return Request(Transcript.load([user(PROMPT)]), tuple(made.spec for made in tools), stream=True)


def _text(told: list[Event]) -> str:
    return "".join(event.text for event in told if isinstance(event, TextDelta) and event.choice == 0)


def run_in_asyncio(agent: Agent, prompt: str) -> Result:
    return asyncio.run(agent.run(prompt))


def streamed_run_sync(agent: Agent, prompt: str) -> Result:
    return agent.with_(model=StreamedModel(agent.model)).run_sync(prompt)


def streamed_run_in_asyncio(agent: Agent, prompt: str) -> Result:
    return run_in_asyncio(agent.with_(model=StreamedModel(agent.model)), prompt)


WAYS = (
    Way("sync", streamed=False, call=call_sync, run=Agent.run_sync),
    Way("asyncio", streamed=False, call=call_in_asyncio, run=run_in_asyncio),
    Way("streamed sync", streamed=True, call=stream_sync, run=streamed_run_sync),
    Way("streamed asyncio", streamed=True, call=stream_in_asyncio, run=streamed_run_in_asyncio),
)


# What is asked, and by whom


class PatientClock(Clock):
    """The real clock, but its waits are only counted."""

    def __init__(self) -> None:
        self.waited_s = 0.0

    def wait_sync(self, seconds: float) -> None:
        self.waited_s += seconds

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

    @tool
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
