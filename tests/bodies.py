"""Conversations to write, and the body that they become, read by the strictest parser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentkit import Message, ToolCall, ToolResult, ToolSpec, Transcript
from agentkit.chat.dialects import DIALECTS, Dialect
from agentkit.chat.request import Request, encode
from agentkit.messages import calls_of
from agentkit.testing.strict import parse
from agentkit.transcript import CallRecord, Entry

HERE = "https://here/v1"
THERE = "https://there/v1"
ECHO = Dialect(
    name="echo",
    echo={"kept": "always", "thought": "turn", "secret": "never", "audio": "id"},
    echo_default="never",
)
EMPTY = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
ADD = ToolSpec("add", "Add.", {"type": "object", "properties": {"a": {"type": "integer"}}})


def model_said(data: dict[str, Any], source: str | None = HERE, results: Sequence[ToolResult] = ()) -> Entry:
    """An entry of the model's, its calls answered."""
    message = Message({"role": "assistant", **data})
    made = calls_of(message.data)
    told = [*results, *[ToolResult(f"result {number}") for number in range(len(results), len(made))]]
    records = [CallRecord(call, result=result) for call, result in zip(made, told, strict=True)]
    return Entry(message, "model", source=source, calls=tuple(records))


def sent(
    *entries: Entry | Message, dialect: Dialect | str = "generic", source: str = HERE, **request: Any
) -> dict[str, Any]:
    """The body that these entries become, parsed."""
    listed = [Entry(each) if isinstance(each, Message) else each for each in entries]
    known = DIALECTS[dialect] if isinstance(dialect, str) else dialect
    body = encode(Request(Transcript(listed), **request), "m", known, source)
    value: dict[str, Any] = parse(bytes(body))
    assert len(body) == len(bytes(body))
    return value


def one_call(arguments: str = '{"a":1}', *, call_id: str = "c1", name: str = "add", **fields: Any) -> dict[str, Any]:
    return {"content": None, "tool_calls": [{**ToolCall(call_id, name, arguments).data, **fields}]}
