"""A completion taken apart into the events of a stream, as an endpoint would send it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_array, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CREATED: Final = 1764000000
"""The time that fake answers bear, so that two runs are alike."""

_TEXT_FIELDS: Final = ("reasoning_content", "reasoning", "content", "refusal")
_ARGUMENT_CHARS: Final = 6


@dataclass(slots=True)
class EventPieces:
    """How to take a completion apart: the pieces of its text (None: word by word), and whether usage is told."""

    text: Sequence[str] | None = None
    include_usage: bool = False


def sse(data: bytes) -> bytes:
    """One event."""
    return b"data: " + data + b"\n\n"


def completion_events(body: Mapping[str, Any], pieces: EventPieces) -> Iterator[bytes]:
    """The events of a completion: for each choice its role, its parts, its end; then usage if wanted, then [DONE]."""
    top = {name: value for name, value in body.items() if name not in ("choices", "usage")}
    top["object"] = "chat.completion.chunk"
    silent = {"usage": None} if pieces.include_usage else {}
    choices = body.get("choices")
    if is_array(choices) and all(is_object(choice) for choice in choices):
        parts = (part for choice in choices for part in _choice_parts(choice, pieces.text))
        for part in parts:
            yield _event({**top, "choices": [part], **silent})
    else:
        yield _event({**top, "choices": choices, **silent})
    if pieces.include_usage and "usage" in body:
        yield _event({**top, "choices": [], "usage": body["usage"]})
    yield sse(b"[DONE]")


def _event(chunk: Mapping[str, Any]) -> bytes:
    return sse(json.dumps(chunk, separators=(",", ":")).encode())


def _choice_parts(choice: Mapping[str, Any], text: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    own = {name: value for name, value in choice.items() if name not in ("message", "finish_reason")}
    message = choice.get("message")
    deltas = _deltas(message, text) if is_object(message) else iter([message])
    for delta in deltas:
        yield {**own, "delta": delta, "finish_reason": None}
    yield {**own, "delta": {}, "finish_reason": choice.get("finish_reason")}


def _deltas(message: Mapping[str, Any], text: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """The role, then the texts in pieces, then the calls in pieces; whatever else there is goes out whole."""
    first = {"role": message.get("role", "assistant"), "content": None if message.get("content") is None else ""}
    yield first
    for name in _TEXT_FIELDS:
        value = message.get(name)
        if isinstance(value, str):
            for piece in text if name == "content" and text is not None else _words(value):
                yield {name: piece}
        elif value is not None:
            yield {name: value}
    handled = {"role", "tool_calls", *_TEXT_FIELDS}
    if rest := {name: value for name, value in message.items() if name not in handled}:
        yield rest
    tool_calls = message.get("tool_calls")
    if not is_array(tool_calls):
        if tool_calls is not None:
            yield {"tool_calls": tool_calls}
        return
    for index, call in enumerate(tool_calls):
        for delta in _call_deltas(call):
            yield {"tool_calls": [{"index": index, **delta} if is_object(delta) else delta]}


def _call_deltas(call: Any) -> Iterator[Any]:
    """A call: first its id and name with empty arguments, then the arguments piece by piece."""
    function = call.get("function") if is_object(call) else None
    arguments = function.get("arguments") if is_object(function) else None
    if not isinstance(arguments, str) or not is_object(function):
        yield call
        return
    yield {**call, "function": {**function, "arguments": ""}}
    for start in range(0, len(arguments), _ARGUMENT_CHARS):
        yield {"function": {"arguments": arguments[start : start + _ARGUMENT_CHARS]}}


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)
