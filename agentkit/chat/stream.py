"""The deltas of a stream → the same Reply as from a whole body.

The assembler makes the body that the endpoint would have sent without streaming, and `read_reply` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit._json import is_array, is_object
from agentkit.chat.calls import Call, CallPieces, read_piece
from agentkit.chat.merge import add_parts, merged, place_of, plain
from agentkit.chat.reply import (
    call_entries,
    is_error,
    read_reply,
    reasoning_in,
    transcript_in,
    with_ids,
)
from agentkit.events import Delta, ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.messages import text_of

if TYPE_CHECKING:
    from agentkit.messages import Reply, ToolCall


class Assembler:
    """Puts a stream's chunks together. `error` is what a choice said under "error", if one did."""

    def __init__(self) -> None:
        self.error: Any = None
        self._choices: dict[int, _Answer] = {}
        self._extra: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        # The fields beside the delta that the last chunk had. Most chunks have the same, and nothing to tell by them.
        self._frame: dict[str, Any] = {}
        self._idle: dict[str, Any] | None = None
        self._idle_answer = _Answer(0)

    def feed(self, chunk: dict[str, Any]) -> list[Delta]:
        """Add a chunk, which belongs to the assembler from then on; returns what it says anew.

        Raises:
            ProtocolError: a tool's name is beyond all measure.
        """
        choices: list[Any] | None = chunk.pop("choices", None)
        if chunk != self._frame:
            self._absorb(chunk)
        if type(choices) is list and len(choices) == 1 and is_object(choice := choices[0]):
            delta: dict[str, Any] | None = choice.pop("delta", None)
            if choice == self._idle and type(delta) is dict and len(delta) == 1:
                answer = self._idle_answer
                text: str | None = delta.get("content")
                if type(text) is str:
                    if text or not answer.texts:
                        answer.texts.append(text)
                    return [TextDelta(text, 0, answer.index)] if text else []
                calls: Any = delta.get("tool_calls")
                if is_array(calls) and calls:
                    return list[Delta](answer.calls.take(call_entries(calls), answer.index))
            return self._take(choice, delta, place_of(choice.get("index"), 0))
        return self._take_all(choices)

    @property
    def partial_text(self) -> str:
        """The text of the first choice so far."""
        first = self._choices.get(0)
        return first.text if first else ""

    @property
    def finished(self) -> bool:
        """Whether there is a choice, and every one has said why it ended."""
        return bool(self._choices) and all(answer.finish is not None for answer in self._choices.values())

    @property
    def sealed(self) -> int:
        """How many tool calls of the first choice nothing can change any more, since a later one has begun."""
        first = self._choices.get(0)
        return first.calls.sealed if first else 0

    def sealed_calls(self) -> list[ToolCall]:
        """Those calls."""
        first = self._choices.get(0)
        return list(with_ids(first.calls.sealed_calls())) if first else []

    def reply(self) -> Reply:
        """The Reply.

        Raises:
            ProtocolError: the stream had no choice.
        """
        answers = sorted(self._choices.items())
        body: dict[str, Any] = {
            "choices": [answer.data() for _, answer in answers],
            "usage": self._usage,
            **self._extra,
        }
        reply = read_reply(body)
        for choice, (_, answer) in zip(reply.choices, answers, strict=True):
            choice.text, choice.reasoning = answer.text, "".join(answer.reasoning)
        return reply

    def _absorb(self, chunk: dict[str, Any]) -> None:
        for name, value in chunk.items():
            old = self._extra.get(name)
            if name == "usage":
                _count_up(self._usage, value)
            elif is_object(value):
                if is_object(old):
                    old.update(value)
                else:
                    self._extra[name] = dict(value)
            elif value or name not in self._extra:
                self._extra[name] = value
        self._frame = chunk

    def _take_all(self, choices: Any) -> list[Delta]:
        deltas: list[Delta] = []
        seen: set[int] = set()
        for position, choice in enumerate(choices if is_array(choices) else [choices]):
            if is_object(choice):
                index = place_of(choice.get("index"), position)
                if index in seen:
                    index = position
                seen.add(index)
                deltas += self._take(choice, choice.pop("delta", None), index)
        return deltas

    def _take(self, choice: dict[str, Any], delta: Any, index: int) -> list[Delta]:
        answer = self._choices.get(index)
        if answer is None:
            answer = self._choices[index] = _Answer(index)
        deltas: list[Delta] = []
        if is_object(delta):
            deltas += answer.take(delta)
        message = choice.pop("message", None)
        if is_object(message):
            deltas += answer.take(answer.missing(message))
        answer.take_frame(choice)
        if self.error is None and is_error(choice.get("error")):
            self.error = choice["error"]
        if not answer.parts and all(value is None for name, value in choice.items() if name != "index"):
            self._idle, self._idle_answer = choice, answer
        else:
            self._idle = None
        return deltas


class _Answer:
    """One choice that is being put together."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish: Any = None
        self.texts: list[str] = []
        self.null = False  # `content` came, as null
        self.heard: list[str] = []
        self.reasoning: list[str] = []
        self.parts: list[Any] = []
        self.fields: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.calls = CallPieces()
        self._reasoned = ""  # the field that reasoning came in last
        self._reasoned_size = 0
        self._legacy: Call | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts) or "".join(self.heard)

    def take(self, delta: dict[str, Any]) -> list[Delta]:
        deltas: list[Delta] = []
        source, said = reasoning_in(delta)
        if said and (source == self._reasoned or not self._was_said(said)):
            self._reasoned = source
            self._reasoned_size += len(said)
            self.reasoning.append(said)
            deltas.append(ReasoningDelta(said, choice=self.index))
        for name, value in delta.items():
            if name == "content":
                deltas += self._take_content(value)
            elif name == "tool_calls":
                deltas += self.calls.take(call_entries(value), self.index)
            elif name == "function_call":
                deltas += self._take_legacy(value)
            elif name != "role":
                self.fields[name] = merged(self.fields.get(name), value, name)
        if "audio" in delta and (heard := transcript_in(delta)) and not any(self.texts):
            self.heard.append(heard)
            deltas.append(TextDelta(heard, choice=self.index))
        return deltas

    def _was_said(self, text: str) -> bool:
        """Whether this is all of the reasoning so far, once more under another name."""
        return len(text) == self._reasoned_size and text == "".join(self.reasoning)

    def missing(self, message: dict[str, Any]) -> dict[str, Any]:
        """What of a whole message was not told in deltas: some endpoints send all of it once more at the end."""
        told = {name for name, value in self.fields.items() if value is not None}
        if any(self.texts) or self.parts:
            told.add("content")
        if self.calls.calls or self._legacy is not None:
            told |= {"tool_calls", "function_call"}
        return {name: value for name, value in message.items() if name not in told}

    def take_frame(self, choice: dict[str, Any]) -> None:
        for name, value in choice.items():
            if name == "finish_reason":
                if value is not None and value != "":
                    self.finish = value
            elif name != "index":
                self.extra[name] = merged(self.extra.get(name), value, name, join=False)

    def data(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"}
        if self.parts:
            message["content"] = plain(self.parts)
        elif self.texts:
            message["content"] = "".join(self.texts)
        elif self.null:
            message["content"] = None
        message |= {name: plain(value) for name, value in self.fields.items()}
        if calls := self.calls.data():
            message["tool_calls"] = calls
        if self._legacy is not None and not self._legacy.blank:
            message["function_call"] = self._legacy.data()["function"]
        extra = {name: plain(value) for name, value in self.extra.items()}
        return {"index": self.index, "message": message, "finish_reason": self.finish, **extra}

    def _take_content(self, content: Any) -> list[Delta]:
        if content is None:
            self.null = True
            return []
        text = text_of(content)
        if (is_object(content) or is_array(content)) or self.parts:
            if not self.parts and any(self.texts):
                add_parts(self.parts, [{"type": "text", "text": "".join(self.texts)}])
            if isinstance(content, str):
                content = [{"type": "text", "text": content}] if content else []
            add_parts(self.parts, content if is_array(content) else [content])
        if text or not self.texts:
            self.texts.append(text)
        return [TextDelta(text, choice=self.index)] if text else []

    def _take_legacy(self, call: Any) -> list[Delta]:
        if not is_object(call):
            return []
        if self._legacy is None:
            self._legacy = Call(0, 0)
        known = self._legacy.name
        text = self._legacy.take(read_piece({"index": 0, "function": call}))
        if self.calls.calls or not (text or self._legacy.name != known):
            return []
        return [ToolCallDelta(0, self._legacy.name.strip(), text, choice=self.index)]


def _count_up(usage: dict[str, Any], told: Any) -> None:
    """Counts are told anew, not in pieces: the later one holds, but for null and 0."""
    if is_object(told):
        for name, value in told.items():
            if is_object(value):
                inner = usage.get(name)
                usage[name] = inner = inner if is_object(inner) else {}
                _count_up(inner, value)
            elif value or name not in usage:
                usage[name] = value


def deltas_of(reply: Reply) -> list[Delta]:
    """A whole Reply as the deltas that a stream would have told, each text in one piece."""
    deltas: list[Delta] = []
    for choice in reply.choices:
        if choice.reasoning:
            deltas.append(ReasoningDelta(choice.reasoning, choice=choice.index))
        if choice.text:
            deltas.append(TextDelta(choice.text, choice=choice.index))
        for position, call in enumerate(choice.tool_calls):
            deltas.append(ToolCallDelta(position, call.name, call.arguments, choice=choice.index))
    return deltas
