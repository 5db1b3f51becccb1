"""What a run tells while it goes on: flat dataclasses to `match` on. `step` counts the model's replies, from 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from agentkit.errors import EndpointError
    from agentkit.messages import Reply, ToolCall, ToolResult
    from agentkit.result import Result


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer's text. All of the text comes in these, the first piece too."""

    text: str
    step: int = 0
    choice: int = 0


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of the reasoning that the endpoint shows."""

    text: str
    step: int = 0
    choice: int = 0


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of a tool call: `position` is its place among the calls of the reply, `name` as far as it is known,
    `arguments` the new piece of their JSON text."""

    position: int
    name: str
    arguments: str
    step: int = 0
    choice: int = 0


@dataclass(slots=True)
class ToolStarted:
    """A call begins."""

    call: ToolCall
    step: int = 0


@dataclass(slots=True)
class ToolProgress:
    """What a running tool yielded, or told through its context."""

    call: ToolCall
    value: Any
    step: int = 0


@dataclass(slots=True)
class ToolFinished:
    """A call has its result."""

    call: ToolCall
    result: ToolResult
    step: int = 0


@dataclass(slots=True)
class Retrying:
    """The same request goes out again after `wait_s` seconds; `attempt` counts from 1 and is the one that failed."""

    error: EndpointError
    attempt: int
    wait_s: float
    step: int = 0


@dataclass(slots=True)
class Restarted:
    """The stream of the reply broke, and the reply begins anew: what was told of it so far does not count."""

    error: EndpointError
    step: int = 0


@dataclass(slots=True)
class ToolDropped:
    """A call that had started before its reply was whole did not come in the end; its result is not used."""

    call: ToolCall
    step: int = 0


@dataclass(slots=True)
class StepFinished:
    """The model's reply is whole and in the transcript."""

    reply: Reply
    step: int = 0


@dataclass(slots=True)
class RunFinished:
    """The run has its result; it may be one that waits for decisions (`result.status` is "paused")."""

    result: Result[Any]
    step: int = 0


@dataclass(slots=True)
class Compacted:
    """The conversation was summed up: from now on the summary is sent in place of its first `entries`."""

    entries: int
    step: int = 0


@dataclass(slots=True)
class HandedOff:
    """Another agent goes on with the conversation; `name` is the agent's."""

    name: str
    step: int = 0


@dataclass(slots=True)
class Nested:
    """An event of the agent that does a call."""

    call: ToolCall
    event: Event
    step: int = 0


Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta
Event: TypeAlias = (
    Delta
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ToolDropped
    | Retrying
    | Restarted
    | StepFinished
    | Compacted
    | HandedOff
    | Nested
    | RunFinished
)
