"""Tool calls for models and endpoints that have none: a request written so that they can be made in JSON.

In the transcript these are ordinary calls and results; the JSON form exists on the wire alone. `lowered` writes a
request in it: the tools are described in the instructions, a few examples stand before the conversation, and the reply
is held to a schema with an arm for each tool and one for an answer. jsonreply.py reads what comes back.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_array, is_object, loads
from agentkit.chat.control import unsteering, unsteering_part
from agentkit.chat.request import Request, wire_arguments
from agentkit.messages import Message, ToolSpec, assistant, user
from agentkit.transcript import Entry, Transcript

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from agentkit.transcript import CallRecord

QUESTION: Final = "question"
TOOL: Final = "tool"
ARGUMENTS: Final = "arguments"
ANSWER: Final = "answer"
LONGEST_QUESTION: Final = 300
"""Up to so many characters, a reply repeats the question: small models copy arguments from what stands near."""

_EXAMPLES: Final = (
    (
        "Who wrote the book Dune?",
        "book_author",
        {"title": "Dune"},
        "Frank Herbert",
        "Dune was written by Frank Herbert.",
    ),
    (
        "How many people live in Chile?",
        "population",
        {"country": "Chile"},
        "19600000",
        "19600000 people live in Chile.",
    ),
    ("Multiply 6 by 7.", "multiply", {"x": 6, "y": 7}, "42", "6 times 7 is 42."),
    (
        "How many lines are in /home/eva/a.txt?",
        "line_count",
        {"file": "/home/eva/a.txt"},
        "310",
        "There are 310 lines in /home/eva/a.txt.",
    ),
)
"""Made-up tools: the schema does not let the model call them. Measured on a model of 135M parameters, 42 questions:
right calls with one tool 33, of three 29; without examples and question 11 to 28, and 3 to 10."""


def lowered(request: Request, *, quoted: bool = False, answers: Collection[str] = ()) -> Request:
    """The same request, with its tools in JSON. `answers` names those tools whose call is the answer.

    `quoted` is for the smallest models: text in the arguments is held to words of the question, and as long as nothing
    was called for it, the examples end with their calls. Of ten questions it took a model of 135M parameters from 5
    right calls to 8.
    """
    settings = request.settings
    tools = _offered(request.tools, settings.tool_choice)
    if _repeats(request.transcript):
        tools = [tool for tool in tools if tool.name in answers]
    forced = settings.forced is not None and bool(tools)
    schema = reply_schema(
        tools,
        question=_question(request.transcript),
        answer=None if forced else _answer_schema(settings.response_format),
        quoted=quoted,
        answers=answers,
    )
    lowered_settings = replace(
        settings,
        tool_choice=None,
        parallel_tool_calls=None,
        response_format={"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
    )
    texts = [text for text in (request.instructions, instructions(request.tools)) if text]
    last = request.transcript.last
    examples = _examples(calls_alone=quoted and last is not None and _is_question(last))
    transcript = Transcript([*examples, *_written(request.transcript)])
    return Request(transcript, (), lowered_settings, "\n\n".join(texts), request.stream)


def instructions(tools: Sequence[ToolSpec]) -> str:
    """What the model is told of the tools."""
    listed = [
        f"- {tool.name}({', '.join(tool.parameters.get('properties', ()))}): {tool.description}".rstrip(": ")
        for tool in tools
    ]
    return "\n".join(["You can call these functions:", *listed])


def reply_schema(
    tools: Sequence[ToolSpec],
    *,
    question: str | None = None,
    answer: Mapping[str, Any] | None = None,
    quoted: bool = False,
    answers: Collection[str] = (),
) -> dict[str, Any]:
    """The JSON Schema of a reply: a call of one of the tools, or an answer, by its own schema; None for no answer."""
    definitions: dict[str, Any] = {}
    words = spans(question) if quoted and question else []
    arms: list[dict[str, Any]] = []
    for tool in tools:
        held = bool(words) and tool.name not in answers
        arguments = _hoisted(_held(tool.parameters, words) if held else tool.parameters, tool.name, definitions)
        arms.append(_arm(question, {TOOL: {"const": tool.name}, ARGUMENTS: arguments}))
    if answer is not None or not arms:
        arms.append(_arm(question, {ANSWER: _hoisted(answer or {"type": "string"}, ANSWER, definitions)}))
    schema = arms[0] if len(arms) == 1 else {"anyOf": arms}
    return {**schema, "$defs": definitions} if definitions else schema


def _arm(question: str | None, properties: dict[str, Any]) -> dict[str, Any]:
    if question is not None:
        properties = {QUESTION: {"const": question}, **properties}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _held(parameters: Mapping[str, Any], words: list[str]) -> dict[str, Any]:
    """The parameters with each that is free text held to one of the spans of words."""
    held = {
        name: {"enum": words} if _is_free_text(schema) else schema
        for name, schema in parameters.get("properties", {}).items()
    }
    return {**parameters, "properties": held}


def _is_free_text(schema: Any) -> bool:
    return is_object(schema) and schema.get("type") == "string" and not schema.keys() & _NOT_FREE


_NOT_FREE: Final = frozenset({"enum", "const", "format", "pattern", "contentEncoding"})
_LONGEST_SPAN: Final = 6
_PUNCTUATION: Final = ".,;:!?\"'()"


def spans(text: str) -> list[str]:
    """What a text says word for word: its runs of up to six words, none of which cuts a name of several in two."""
    words = [word for word in (each.strip(_PUNCTUATION) for each in text.split()) if word]
    named = [index > 0 and word[:1].isupper() for index, word in enumerate(words)]
    found = dict.fromkeys(
        " ".join(words[start:end])
        for length in range(1, _LONGEST_SPAN + 1)
        for start, end in zip(range(len(words)), range(length, len(words) + 1), strict=False)
        if not (start and named[start] and named[start - 1])
        and not (end < len(words) and named[end - 1] and named[end])
    )
    return list(found)


def _hoisted(schema: Any, owner: str, definitions: dict[str, Any]) -> Any:
    """A schema that stands inside another: its $defs move to the outer one, under names of their own."""
    if is_array(schema):
        return [_hoisted(item, owner, definitions) for item in schema]
    if not is_object(schema):
        return schema
    moved: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "$defs" and is_object(value):
            definitions.update({f"{owner}.{key}": _hoisted(item, owner, definitions) for key, item in value.items()})
        elif name == "$ref" and isinstance(value, str):
            moved[name] = value.replace("#/$defs/", f"#/$defs/{owner}.", 1)
        else:
            moved[name] = _hoisted(value, owner, definitions)
    return moved


def _answer_schema(response_format: Mapping[str, Any] | None) -> Mapping[str, Any]:
    match response_format or {}:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return dict(schema)
        case {"type": "json_object"}:
            return {"type": "object"}
        case _:
            return {"type": "string"}


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


def _question(transcript: Transcript) -> str | None:
    asked = [entry for entry in transcript if _is_question(entry)]
    return _repeated(asked[-1].message) if asked else None


def _is_question(entry: Entry) -> bool:
    return entry.message.role == "user" and entry.author == "caller"


def _repeated(message: Message) -> str | None:
    text = message.text
    return text if 0 < len(text) <= LONGEST_QUESTION else None


def _examples(*, calls_alone: bool) -> list[Entry]:
    messages: list[Message] = []
    for question, name, arguments, result, answer in _EXAMPLES:
        messages += [user(question), assistant(_call_text(question, name, arguments))]
        if not calls_alone:
            messages += [user(_result_text(name, result)), assistant(_answer_text(question, answer))]
    return [Entry(message) for message in messages]


def _written(transcript: Transcript) -> list[Entry]:
    entries: list[Entry] = []
    question: str | None = None
    for entry in transcript:
        text = entry.message.text if entry.message.role == "assistant" else ""
        if _is_question(entry):
            question = _repeated(entry.message)
        if text:
            entries.append(Entry(assistant(_answer_text(question, text)), "model"))
        elif not entry.calls:
            entries.append(entry)
        for record in entry.calls:
            arguments = loads(wire_arguments(record.call))
            entries.append(Entry(assistant(_call_text(question, record.call.name, arguments)), "model"))
            entries.append(Entry(user(_told(record)), "loop"))
    return entries


def _call_text(question: str | None, name: str, arguments: Mapping[str, Any]) -> str:
    return _spelt(question, {TOOL: name, ARGUMENTS: arguments})


def _answer_text(question: str | None, answer: str) -> str:
    return _spelt(question, {ANSWER: answer})


def _spelt(question: str | None, reply: Mapping[str, Any]) -> str:
    # spaced, as models write JSON themselves
    return json.dumps(reply if question is None else {QUESTION: question, **reply}, ensure_ascii=False)


def _told(record: CallRecord) -> Any:
    result = record.result
    told = _result_text(record.call.name, "" if result is None else unsteering(result.content))
    return told if result is None or not result.parts else [told, *map(unsteering_part, result.parts)]


def _result_text(name: str, content: str) -> str:
    return f"Result of {name}: {content}"
