"""Tool calls for models and endpoints that have none: written as JSON, held to a schema by response_format.

In the transcript these are ordinary calls and results. The JSON form exists on the wire alone: `lowered` writes a
request in it, `lifted` reads a reply of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic_core import from_json

from agentkit._json import dumps, is_object, loads
from agentkit.chat.reader import ReplyReader
from agentkit.chat.request import Request, wire_arguments
from agentkit.events import Delta, TextDelta
from agentkit.messages import Choice, Message, Reply, ToolCall, ToolSpec, assistant, user
from agentkit.transcript import CallRecord, Entry, Transcript


TOOL: Final = "tool"
ARGUMENTS: Final = "arguments"
ANSWER: Final = "answer"
CALL_ID: Final = "call_json"


def lowered(request: Request) -> Request:
    """The same request without native tools: they are described in the instructions, the schema has an arm for each."""
    choice = request.settings.tool_choice
    tools = _offered(request.tools, choice)
    closed = not tools or _repeats(request.transcript)
    forced = choice is not None and choice not in ("auto", "none") and not closed
    schema = reply_schema([] if closed else tools, answer=not forced)
    settings = replace(
        request.settings,
        tool_choice=None,
        parallel_tool_calls=None,
        response_format={"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
    )
    texts = [text for text in (request.instructions, instructions(request.tools)) if text]
    return Request(_written(request.transcript), (), settings, "\n\n".join(texts), request.stream)


def instructions(tools: Sequence[ToolSpec]) -> str:
    """What the model is told of the tools and of the form of its replies."""
    listed = "\n".join(
        dumps({"name": tool.name, "description": tool.description, "parameters": tool.parameters}).decode()
        for tool in tools
    )
    return (
        f"You can use these tools:\n{listed}\n\n"
        f'To use a tool, reply {{"{TOOL}": its name, "{ARGUMENTS}": {{…}}}}. You are then given its result. '
        f'To answer, reply {{"{ANSWER}": "…"}}, and say in it what the results were.'
    )


def reply_schema(tools: Sequence[ToolSpec], *, answer: bool) -> dict[str, Any]:
    """The JSON Schema of a reply: a call of one of the tools, or an answer."""
    arms = [_closed({TOOL: {"const": tool.name}, ARGUMENTS: dict(tool.parameters)}) for tool in tools]
    if answer or not arms:
        arms.append(_closed({ANSWER: {"type": "string"}}))
    return arms[0] if len(arms) == 1 else {"anyOf": arms}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _offered(tools: Sequence[ToolSpec], choice: str | Mapping[str, Any] | None) -> list[ToolSpec]:
    if choice == "none":
        return []
    named = choice if isinstance(choice, str) else (choice or {}).get("function", {}).get("name")
    return [tool for tool in tools if tool.name == named] or list(tools)


def _repeats(transcript: Transcript) -> bool:
    """Whether the last call is the one before it again: the model is stuck, and has to answer."""
    calls: list[tuple[str, str]] = []
    for entry in reversed(transcript.entries):
        if entry.author == "caller":
            break
        calls += [(record.call.name, record.call.arguments) for record in reversed(entry.calls)]
    return len(calls) > 1 and calls[0] == calls[1]


def _written(transcript: Transcript) -> Transcript:
    entries: list[Entry] = []
    for entry in transcript:
        if not entry.calls:
            plain = entry.message.role == "assistant" and entry.message.text
            entries.append(replace(entry, message=assistant(answer_text(entry.message.text))) if plain else entry)
        for record in entry.calls:
            entries.append(Entry(assistant(call_text(record.call)), author="model"))
            entries.append(Entry(user(result_content(record)), author="loop"))
    return Transcript(entries)


def call_text(call: ToolCall) -> str:
    """A call as the model writes it."""
    return dumps({TOOL: call.name, ARGUMENTS: loads(wire_arguments(call))}).decode()


def answer_text(text: str) -> str:
    """An answer as the model writes it."""
    return dumps({ANSWER: text}).decode()


def result_content(record: CallRecord) -> Any:
    """A call's result as the model is told it."""
    result = record.result
    told = f"Result of {record.call.name}: {'' if result is None else result.content}"
    return told if result is None or not result.parts else [told, *result.parts]


def lifted(reply: Reply, request: Request) -> Reply:
    """The same reply with its calls as calls and its answer as text."""
    known = {tool.name: tool for tool in request.tools}
    choices: list[Choice] = []
    for choice in reply.choices:
        call, text = read(choice.text, cut=choice.finish_reason == "length")
        if call is not None and (call.name in known or text is None):
            data = {**choice.message.data, "content": None, "tool_calls": [call.data]}
            reason = choice.finish_reason if choice.finish_reason == "length" else "tool_calls"
            choices.append(replace(choice, message=Message(data), text="", tool_calls=(call,), finish_reason=reason))
        else:
            data = {**choice.message.data, "content": text}
            choices.append(replace(choice, message=Message(data), text=text or ""))
    return replace(reply, choices=tuple(choices))


class Reader(ReplyReader):
    """Reads a reply in the JSON form: an answer's text is told as text while it comes, a call as a call."""

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[int, _Written] = {}

    def feed(self, data: bytes) -> list[Delta]:
        """As ReplyReader's, with what the JSON says in place of the JSON."""
        return [told for delta in super().feed(data) for told in self._told(delta)]

    def finish(self) -> list[Delta]:
        """As ReplyReader's."""
        return [told for delta in super().finish() for told in self._told(delta)]

    def _told(self, delta: Delta) -> list[Delta]:
        if not isinstance(delta, TextDelta):
            return [delta]
        return self._written.setdefault(delta.choice, _Written(delta.choice)).add(delta.text)


class _Written:
    """The JSON of one choice as it comes."""

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._text = ""
        self._told = 0
        self._form: str | None = None
        self._name = ""

    def add(self, piece: str) -> list[Delta]:
        self._text += piece
        if self._form is None:
            self._begin()
        if self._form == "text":
            return self._tell_text(self._text)
        if self._form == ANSWER:
            return self._tell_text(_partial_string(self._text[self._start :]))
        return []

    def _begin(self) -> None:
        head = self._text.lstrip()
        if found := _OPENING.match(head):
            self._form = found[1]
            self._start = len(self._text) - len(head) + found.end()
        elif head and not _MAYBE.fullmatch(head):
            self._form = "text"

    def _tell_text(self, text: str) -> list[Delta]:
        new = text[self._told :]
        self._told = len(text)
        return [TextDelta(new, choice=self._choice)] if new else []


_OPENING: Final = re.compile(r'\{\s*"(tool|answer)"\s*:\s*"')
_MAYBE: Final = re.compile(r'\{\s*("([a-z]{0,6}("\s*(:\s*)?)?)?)?')


def _partial_string(text: str) -> str:
    """As much of a JSON string as has come, without its opening quote."""
    end = 0
    while end < len(text) and text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    for stop in range(min(end, len(text)), max(min(end, len(text)) - 12, -1), -1):
        # an escape, or a pair of them for one character, may have come in part
        try:
            value: str = from_json('"' + text[:stop] + '"')
        except ValueError:
            continue
        return value
    return ""


def read(text: str, *, cut: bool) -> tuple[ToolCall | None, str | None]:
    """The call that a text spells, or the answer. What is neither is the answer itself."""
    try:
        value = loads(text)
    except ValueError:
        return _read_cut(text) if cut else (None, text)
    if not is_object(value):
        return None, text
    if isinstance(value.get(TOOL), str):
        arguments = value.get(ARGUMENTS)
        return ToolCall(CALL_ID, value[TOOL], dumps({} if arguments is None else arguments).decode()), None
    answer = value.get(ANSWER)
    return None, answer if isinstance(answer, str) else text


def _read_cut(text: str) -> tuple[ToolCall | None, str | None]:
    head, found, rest = text.partition(f'"{ARGUMENTS}"')
    if found and f'"{TOOL}"' in head:
        name = head.partition(f'"{TOOL}"')[2].strip(' :,"\n')
        return ToolCall(CALL_ID, name, rest.lstrip(" :\n")), None
    opening, found, rest = text.partition(f'"{ANSWER}"')
    if found and not opening.strip(" {\n"):
        start = rest.partition('"')[2]
        for end in range(len(start), max(len(start) - 12, 0), -1):  # an escape may be cut in two
            try:
                return None, str(loads('"' + start[:end] + '"'))
            except ValueError:
                continue
    return None, text
