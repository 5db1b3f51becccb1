"""Entries: a message, what is never sent beside it, and what became of its calls.

The result of a call belongs to the call, in the entry of the message that asked for it: there are no entries for tool
messages, so that a result can land in any order, and none can be lost, doubled or orphaned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from agentkit._json import is_array
from agentkit.messages import Message, ToolCall, ToolResult, Usage, calls_of, text_of, user

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.approval import Decision
    from agentkit.transcript import Transcript


Author: TypeAlias = Literal["caller", "model", "loop"]
Hold: TypeAlias = Literal["ask", "approval", "answer", "unknown", "output"]
"""Why a call does not simply run: it is to be found out what it waits for; it needs an approval; its caller answers it;
it was started by a process that died, and nobody knows how far it came; it is the answer, and no call of a tool."""


@dataclass(slots=True)
class CallRecord:
    """A tool call and what became of it. It is replaced, never changed.

    `call.id` is unique in the transcript and is what is sent, also where the model gave none or gave one twice.
    `started_at` (Unix time) is set before the tool's function runs. `hold` says what it waits for, until `decision` has
    come. `transcript` is the conversation of the agent that does the call, where one does.
    """

    call: ToolCall
    started_at: float | None = None
    result: ToolResult | None = None
    hold: Hold | None = None
    decision: Decision | None = None
    transcript: Transcript | None = None


@dataclass(slots=True)
class Entry:
    """A message, exactly as it was sent or received, and what is known of it. It is replaced, never changed.

    `run` names the run that added it ('' if it was loaded from a plain list), `step` counts that run's replies so far,
    `author` tells the loop's own corrections and hints from the caller's messages, `at` is Unix time, `elapsed_s` how
    long the run had been at work, `agent` the active agent, `source` and `model` what was asked for a reply.
    `instructions` are those of the moment, by the agent that they are for: first what stands in front of the
    conversation, then what stands before this message. `guarded` says whether the input guards let this message pass:
    None where they were not asked, False where they refused it, and it is never sent. `covers`, how many entries from
    the conversation's first on this one sums up.
    """

    message: Message
    author: Author = "caller"
    run: str = ""
    step: int = 0
    at: float = 0.0
    elapsed_s: float = 0.0
    agent: str | None = None
    source: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    calls: tuple[CallRecord, ...] = ()
    model: str | None = None
    instructions: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    guarded: bool | None = None
    covers: int = 0


class Pending:
    """Where a call without a result stands: the entry's index, and the call's place in it.

    `arguments` are those that whoever approved the call put in place of the model's.
    """

    __slots__ = ("arguments", "call", "entry", "key", "position")

    def __init__(self, entry: int, position: int, call: ToolCall, key: str, arguments: str | None = None) -> None:
        self.entry = entry
        self.position = position
        self.call = call
        self.key = key
        self.arguments = arguments

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pending) and (self.entry, self.position) == (other.entry, other.position)

    def __hash__(self) -> int:
        return hash((self.entry, self.position))

    def __repr__(self) -> str:
        return f"Pending({self.call.name} {self.call.id})"


def opens_turn(entry: Entry) -> bool:
    """Whether an entry is a message of the caller that stands."""
    return entry.author == "caller" and entry.message.role == "user" and entry.guarded is not False


def entry_messages(entry: Entry) -> list[dict[str, Any]]:
    """An entry as Chat Completions messages: its own, one tool message per result in call order, then their parts.

    One that a guard refused is none.
    """
    if entry.guarded is False:
        return []
    data = entry.message.data
    if not entry.calls:
        return [data]
    listed = data.get("tool_calls")
    if not is_array(listed) or [record.call.id for record in entry.calls] != [call.id for call in calls_of(data)]:
        data.pop("function_call", None)
        data["tool_calls"] = [record.call.data for record in entry.calls]
    messages, parts = [data], list[dict[str, Any]]()
    for record in entry.calls:
        if record.result is not None:
            messages.append({"role": "tool", "tool_call_id": record.call.id, "content": record.result.content})
            parts += record.result.parts
    if parts:
        messages.append(user(parts).data)
    return messages


def _mapped_result(
    record: CallRecord, text: str | None, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> str | None:
    if text is None:
        return None
    told = change({"role": "tool", "tool_call_id": record.call.id, "content": text})
    return text_of(told["content"])


def mapped_entry(entry: Entry, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Entry:
    """An entry whose message, and results as tool messages, went through a function."""
    message = Message(change(entry.message.data))
    calls: list[CallRecord] = []
    for record, call in zip(entry.calls, calls_of(message.data), strict=True):
        result = record.result
        if result is not None:
            shown, whole = (_mapped_result(record, text, change) for text in (result.content, result.whole))
            result = replace(result, content=shown or "", whole=whole)
        calls.append(replace(record, call=replace(record.call, arguments=call.arguments), result=result))
    return replace(entry, message=message, calls=tuple(calls))
