"""What the checkers see of messages, events and errors. Never run: mypy and pyright read it."""

from __future__ import annotations

from typing import Any, assert_type

from agentkit.errors import BadArguments, EndpointError, QuotaError, RateLimitError
from agentkit.events import Event, ReasoningDelta, Retrying, StepFinished, TextDelta
from agentkit.messages import Audio, Choice, Image, Message, Reply, ToolCall, Usage, assistant, tool, user


def messages(call: ToolCall) -> None:
    assert_type(user("Hello"), Message)
    assert_type(user(["Look", Image("data:,"), Audio(b""), {"type": "text", "text": "and answer"}]), Message)
    assert_type(assistant(tool_calls=[call]), Message)
    assert_type(tool("20", tool_call_id=call.id), Message)
    assert_type(user("Hello").data, dict[str, Any])


def replies(reply: Reply) -> None:
    assert_type(reply.text, str)
    assert_type(reply.refusal, str | None)
    assert_type(reply.tool_calls, tuple[ToolCall, ...])
    assert_type(reply.choices[0], Choice)
    assert_type(reply.usage, Usage | None)
    assert_type(Usage() + Usage(), Usage)


def events(event: Event) -> str:
    match event:
        case TextDelta(text) | ReasoningDelta(text):
            return assert_type(text, str)
        case Retrying(error, wait_s=wait_s):
            assert_type(error, EndpointError)
            assert_type(wait_s, float)
        case StepFinished(reply):
            assert_type(reply, Reply)
        case _:
            pass
    return ""


def errors() -> None:
    try:
        raise QuotaError
    except RateLimitError as error:
        assert_type(error.retry_after_s, float | None)
    except BadArguments as error:
        assert_type(error.problems, tuple[str, ...])
