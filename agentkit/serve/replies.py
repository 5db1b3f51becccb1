"""Answers as the endpoint gives them: whole, or in chunks. Every field of the reference is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import dumps
from agentkit.messages import Usage, is_cut
from agentkit.serve.fields import STATE, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PING: Final = b": ping\n\n"
DONE: Final = b"data: [DONE]\n\n"
FINISH_REASONS: Final = ("stop", "length", "tool_calls", "content_filter")


@dataclass(slots=True)
class Piece:
    """A piece of an answer's text, of its reasoning, or of what the agent did meanwhile."""

    content: str = ""
    reasoning: str = ""
    noted: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@dataclass(slots=True)
class Outcome:
    """What came of one run. `calls` are the client's, as they stand in a message; `state` is what it sends back.

    `noted` is what the agent did, for a client that asked for it. A run that was ended before it was done has no
    finish_reason; `acted` says whether a tool ran in it.
    """

    content: str = ""
    reasoning: str = ""
    refusal: str | None = None
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    audio: Any = None
    state: str | None = None
    finish_reason: str | None = "stop"
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    noted: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    acted: bool = False


def reason_of(finish_reason: str | None) -> str:
    """A model's finish_reason in the endpoint's own words."""
    if is_cut(finish_reason):
        return "length"
    return "content_filter" if finish_reason == "content_filter" else "stop"


def usage_data(usage: Usage) -> dict[str, Any]:
    """Usage with all its details."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens or usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "text_tokens": usage.prompt_text_tokens,
            "audio_tokens": usage.prompt_audio_tokens,
            "image_tokens": usage.prompt_image_tokens,
        },
        "completion_tokens_details": {
            "text_tokens": usage.completion_text_tokens,
            "audio_tokens": usage.completion_audio_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        },
    }


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in every part of an answer."""

    id: str
    created: int
    model: str
    fingerprint: str

    def completion(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """The whole answer."""
        return {
            **self.common("chat.completion"),
            "choices": choices_of(outcomes),
            "usage": usage_data(sum((outcome.usage for outcome in outcomes), Usage())),
        }

    def common(self, kind: str) -> dict[str, Any]:
        """What every part has."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


class Chunks:
    """An answer in chunks, as server-sent events."""

    def __init__(self, head: Head, *, include_usage: bool) -> None:
        self._common = head.common("chat.completion.chunk")
        self._include_usage = include_usage

    def _event(self, choices: list[dict[str, Any]], usage: Usage | None = None) -> bytes:
        data: dict[str, Any] = {**self._common, "choices": choices}
        if self._include_usage:
            data["usage"] = None if usage is None else usage_data(usage)
        return b"data: %s\n\n" % dumps(data)

    def _delta(self, index: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return self._event([{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])

    def begin(self, index: int) -> bytes:
        """The first chunk of a choice."""
        return self._delta(index, {"role": "assistant", "content": "", "refusal": None})

    def piece(self, index: int, piece: Piece) -> bytes:
        """A piece of a choice."""
        delta: dict[str, Any] = {}
        if piece.reasoning:
            delta["reasoning_content"] = piece.reasoning
        if piece.content:
            delta["content"] = piece.content
        if piece.noted:
            delta[STEPS] = piece.noted
        return self._delta(index, delta)

    def end(self, index: int, outcome: Outcome) -> Iterator[bytes]:
        """What a choice ends in: all that is not told in pieces, and why it ended."""
        if outcome.refusal is not None:
            yield self._delta(index, {"refusal": outcome.refusal})
        for position, call in enumerate(outcome.calls):
            function = call["function"]
            opened = {"name": function["name"], "arguments": ""}
            yield self._delta(index, {"tool_calls": [{"index": position, **call, "function": opened}]})
            told = {"index": position, "function": {"arguments": function["arguments"]}}
            yield self._delta(index, {"tool_calls": [told]})
        if outcome.audio is not None:
            yield self._delta(index, {"audio": outcome.audio})
        if outcome.state is not None:
            yield self._delta(index, {STATE: outcome.state})
        if outcome.finish_reason is not None:
            yield self._delta(index, {}, outcome.finish_reason)

    def usage(self, usage: Usage) -> bytes:
        """The last chunk, where it is asked for."""
        return self._event([], usage)


def error_event(body: dict[str, Any]) -> bytes:
    """An error in the middle of a stream."""
    return b"data: %s\n\n" % dumps(body)


def choices_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The choices of a whole answer."""
    return [
        {"index": index, "message": _message(outcome), "logprobs": None, "finish_reason": outcome.finish_reason}
        for index, outcome in enumerate(outcomes)
    ]


def _message(outcome: Outcome) -> dict[str, Any]:
    silent = not outcome.content and (outcome.calls or outcome.refusal is not None or outcome.audio is not None)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if silent else outcome.content,
        "refusal": outcome.refusal,
    }
    if outcome.reasoning:
        message["reasoning_content"] = outcome.reasoning
    if outcome.calls:
        message["tool_calls"] = outcome.calls
    if outcome.audio is not None:
        message["audio"] = outcome.audio
    if outcome.noted:
        message[STEPS] = outcome.noted
    if outcome.state is not None:
        message[STATE] = outcome.state
    return message


def visible(outcome: Outcome) -> dict[str, Any]:
    """What of an answer's message counts for the hash of the conversation."""
    return {
        "role": "assistant",
        "content": outcome.content,
        "refusal": outcome.refusal,
        "tool_calls": outcome.calls,
    }
