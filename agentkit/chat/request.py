"""A conversation and its settings → the body of a request.

Each message is encoded once per dialect: the transcript carries a growing buffer of what was sent before, a request
adds what is new, and its body is that buffer between a head (model, settings, tools, instructions) and a bracket.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from agentkit._json import dumps, is_array, is_object, loads
from agentkit.chat.control import unsteering, unsteering_part
from agentkit.chat.settings import FIELDS, Settings
from agentkit.entries import entry_messages, opens_turn
from agentkit.errors import UsageError
from agentkit.messages import Message, ToolCall, ToolSpec, text_of, user
from agentkit.schema.keywords import without_keywords

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.chat.dialects import Dialect, Echo
    from agentkit.messages import ToolResult
    from agentkit.output import Output
    from agentkit.transcript import Entry, Transcript

STANDARD: Final = frozenset({"role", "content", "name", "tool_calls"})
"""The fields of an assistant's message that every endpoint takes."""

_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME: Final = 64
MAX_TOOLS: Final = 1024
"""How many tools a request may offer. Endpoints refuse far fewer (OpenAI 128), in their own words."""
_NO_NUMBER: Final = re.compile("NaN|Infinity")
_NUMBERS_ONLY: Final = json.JSONDecoder(parse_constant=lambda _: None)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# One escape at a time, so that an escaped backslash before a "u" is none: a pair, a lone surrogate, any other.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


@dataclass(slots=True)
class Request:
    """What a model is asked: the conversation, the tools that it may call, and how to answer.

    `instructions` go in front of the conversation, as one system message; `context`, what is to be known at this moment
    alone, before the caller's last message, so that what stands before it stays as it was. `output` is what the answer
    is to be, where it is not plain text.
    """

    transcript: Transcript
    tools: tuple[ToolSpec, ...] = ()
    settings: Settings = field(default_factory=Settings)
    instructions: str = ""
    stream: bool = False
    context: str = ""
    output: Output[Any] | None = None

    def with_(self, **changes: Any) -> Request:
        """A copy with some fields changed."""
        return replace(self, **changes)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation as a plain list, the instructions first."""
        head = [{"role": "system", "content": self.instructions}] if self.instructions else []
        if not self.context:
            return head + self.transcript.messages
        turn = _turn(self.transcript.entries)
        for index, entry in enumerate(self.transcript.entries):
            if index == turn:
                head.append({"role": "system", "content": self.context})
            head += entry_messages(entry)
        return head

    @property
    def digest(self) -> str:
        """A name for all that is asked: equal for equal requests, streamed or not."""
        tools = [spec.data() for spec in self.tools]
        settings = {name: value for name in FIELDS if (value := getattr(self.settings, name)) is not None}
        output = None if self.output is None else [spec.data() for spec in self.output.specs] + [self.output.mode]
        return _sha256(json.dumps([self.messages, tools, settings, output], sort_keys=True, default=str).encode())


class Body:
    """A request's body. It holds on to the shared buffer and a length in place of a copy.

    `fields` are those beside the messages and tools, as they are sent.
    """

    __slots__ = ("_buffer", "_end", "_head", "_length", "fields")

    def __init__(self, head: bytes, buffer: bytearray, end: bytes, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self._head = head
        self._buffer = buffer
        self._length = len(buffer)
        self._end = end

    def __bytes__(self) -> bytes:
        with memoryview(self._buffer) as view, view[: self._length] as sent:
            return b"".join((self._head, sent, self._end))

    def __len__(self) -> int:
        return len(self._head) + self._length + len(self._end)

    def since(self, earlier: Body | None = None) -> tuple[bytes, bytes] | None:
        """What an earlier body did not have: all before the messages if that has changed, and the messages that are
        new, joined by commas. None if this one does not go on from there; all without an earlier one.
        """
        start, head = 0, self._head
        if earlier is not None:
            buffer, start, its_head = earlier._buffer, earlier._length, earlier._head  # noqa: SLF001  # of this class
            if buffer is not self._buffer or start > self._length:
                return None
            head = b"" if its_head == head else head
        with memoryview(self._buffer) as view, view[start : self._length] as sent:
            return head, bytes(sent)


def encode(request: Request, model: str, dialect: Dialect, source: str) -> Body:
    """The body of a request to the endpoint `source`.

    Raises:
        UsageError: a call in the conversation has no result, there are too many tools, or a setting does not go with
            the dialect.
    """
    if len(request.tools) > MAX_TOOLS:
        raise UsageError(
            f"{len(request.tools)} tools are more than the {MAX_TOOLS} that a request may offer: offer fewer"
        )
    fields: dict[str, Any] = {"model": model, **request.settings.body(dialect)}
    if dialect.schema_without and is_object(form := fields.get("response_format")):
        fields["response_format"] = _format_without(form, dialect)
    if not request.tools:  # endpoints refuse both without tools
        fields.pop("tool_choice", None)
        fields.pop("parallel_tool_calls", None)
    if request.stream:
        fields["stream"] = True
        if dialect.include_usage:
            fields.setdefault("stream_options", {"include_usage": True})
    head = [dumps(fields)[:-1]]
    if request.tools:
        head += [b',"tools":[', b",".join([_tool(spec, dialect) for spec in request.tools]), b"]"]
    head.append(b',"messages":[')
    if request.instructions:
        head.append(_clean(dumps({"role": dialect.system_role, "content": request.instructions})))
    buffer = _spliced(request.transcript, Wire(dialect, source), request.context)
    if request.instructions and buffer:
        head.append(b",")
    return Body(b"".join(head), buffer, b"]}", fields)


def _tool(spec: ToolSpec, dialect: Dialect) -> bytes:
    if not dialect.schema_without:
        return spec.json(strict=dialect.strict)
    data = spec.data(strict=dialect.strict)
    data["function"]["parameters"] = without_keywords(dict(spec.parameters), dialect.schema_without)
    return dumps(data)


def _format_without(form: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    described = form.get("json_schema")
    if not is_object(described) or "schema" not in described:
        return form
    schema = without_keywords(described["schema"], dialect.schema_without)
    return {**form, "json_schema": {**described, "schema": schema}}


@dataclass(slots=True)
class _Spliced:
    """The messages of a transcript's first `done` entries, encoded. `turn` is where the last turn began, and
    `expires` is true if something in the buffer may only be sent within that turn. `context` stands in it."""

    dialect: Dialect
    buffer: bytearray = field(default_factory=bytearray)
    done: int = 0
    expires: bool = False
    context: str = ""


def _spliced(transcript: Transcript, wire: Wire, context: str) -> bytearray:
    entries = transcript.entries
    if waiting := transcript.pending:
        names = ", ".join(f"{pending.call.name} ({pending.call.id})" for pending in waiting)
        raise UsageError(f"calls without a result cannot be sent: {names}; run them, or load the list as untrusted")
    key = (id(wire.dialect), wire.source)  # what is kept holds the dialect, and so the id
    spliced: _Spliced | None = transcript.spliced.get(key)
    if (
        spliced is None
        or spliced.context != context
        or (spliced.expires and any(opens_turn(entry) for entry in entries[spliced.done :]))
    ):
        spliced = transcript.spliced[key] = _Spliced(wire.dialect, context=context)
    if spliced.done < len(entries):
        turn = _turn(entries)
        for index in range(spliced.done, len(entries)):
            if entries[index].guarded is False:
                continue
            if spliced.buffer:
                spliced.buffer += b","
            if context and index == turn:
                spliced.buffer += _clean(dumps({"role": "system", "content": context})) + b","
                spliced.expires = True
            text, expires = wire.entry(entries[index], in_turn=index >= turn)
            spliced.buffer += text
            spliced.expires = spliced.expires or expires
        spliced.done = len(entries)
    return spliced.buffer


def _turn(entries: Sequence[Entry]) -> int:
    for index in range(len(entries) - 1, -1, -1):
        if opens_turn(entries[index]):
            return index
    return 0


class Wire:
    """How messages are written for one endpoint."""

    __slots__ = ("dialect", "source")

    def __init__(self, dialect: Dialect, source: str) -> None:
        self.dialect = dialect
        self.source = source

    def entry(self, entry: Entry, *, in_turn: bool) -> tuple[bytes, bool]:
        """An entry's messages, joined by commas; and whether something in it may be sent within this turn alone."""
        if entry.message.role != "assistant":
            return self._plain(entry.message), False
        text, expires = self._assistant(entry, in_turn=in_turn)
        if not entry.calls:
            return text, expires
        pieces, parts = [text], list[dict[str, Any]]()
        for record in entry.calls:
            result = cast("ToolResult", record.result)  # with one that is missing it does not come so far
            content = unsteering(result.content)
            told = {"role": "tool", "tool_call_id": self._id(record.call.id), "content": content}
            pieces.append(_clean(dumps(told)))
            parts += map(unsteering_part, result.parts)
        if parts:
            pieces.append(_clean(user(parts).json))
        return b",".join(pieces), expires

    def _plain(self, message: Message) -> bytes:
        if message.role == "developer" and not self.dialect.developer:
            return _clean(dumps({**message.data, "role": "system"}))
        return _clean(message.json)

    def _assistant(self, entry: Entry, *, in_turn: bool) -> tuple[bytes, bool]:
        data, expires = entry.message.data, False
        sent: dict[str, Any] = {}
        for name, value in data.items():
            if name in STANDARD:
                sent[name] = value
                continue
            rule = self._rule(name, value, entry)
            expires = expires or (rule == "turn" and in_turn)
            if rule == "always" or (rule == "turn" and in_turn):
                sent[name] = value
            elif rule == "id" and is_object(value) and "id" in value:
                sent[name] = {"id": value["id"]}
        if isinstance(sent.get("content"), list) and entry.source not in (None, self.source):
            sent["content"] = text_of(sent["content"])
        if sent.get("content") is None:
            sent["content"] = None if entry.calls else ""
        if entry.calls:
            sent["tool_calls"] = self._calls(entry, data.get("tool_calls"))
        else:
            sent.pop("tool_calls", None)
        return _clean(entry.message.json if sent == data else dumps(sent)), expires

    def _rule(self, name: str, value: object, entry: Entry) -> Echo:
        if value is None or name == "function_call":
            return "never"
        if entry.source == self.source:
            return self.dialect.echoes(name)
        # what the caller wrote goes where the dialect knows the field by name; what another endpoint said stays there
        return self.dialect.echo.get(name, "never") if entry.source is None else "never"

    def _calls(self, entry: Entry, came: Any) -> list[dict[str, Any]]:
        written = came if is_array(came) and len(came) == len(entry.calls) else [None] * len(entry.calls)
        own = entry.source == self.source
        calls: list[dict[str, Any]] = []
        for record, item in zip(entry.calls, written, strict=True):
            call = record.call
            extra = item if own and is_object(item) else {}
            spec = extra.get("function")
            data = {
                name: value
                for name, value in extra.items()
                if name in ("id", "type", "function")
                or (name != "index" and self._rule(name, value, entry) == "always")
            }
            data |= {"id": self._id(call.id), "type": "function"}
            data["function"] = {**spec} if is_object(spec) else {}
            data["function"] |= {"name": wire_name(call.name), "arguments": wire_arguments(call)}
            calls.append(data)
        return calls

    def _id(self, call_id: str) -> str:
        form = self.dialect.tool_call_id
        if form is None or re.fullmatch(form[0], call_id):
            return call_id
        return _sha256(call_id.encode("utf-8", "surrogatepass"))[: form[1]]


def _sha256(data: bytes) -> str:
    from hashlib import sha256  # 7 ms, which most programs do not need

    return sha256(data).hexdigest()


def wire_name(name: str) -> str:
    """A tool's name in the letters that endpoints take."""
    return _NOT_IN_A_NAME.sub("_", name)[:_LONGEST_NAME] or "unknown"


def wire_arguments(call: ToolCall) -> str:
    """A call's arguments as they came if they are a JSON object, else the object in them, else an empty one.

    What endpoints refuse in them is mended: NaN and infinity become null, lone surrogates U+FFFD.
    """
    text = call.arguments.encode("utf-16", "surrogatepass").decode("utf-16", "replace") or "{}"
    try:
        value = loads(text)
        if isinstance(value, str):
            text, value = value, loads(value)
        if not is_object(value):
            return "{}"
        if _NO_NUMBER.search(text):
            text = dumps(_NUMBERS_ONLY.decode(text)).decode()
    except (ValueError, RecursionError):
        text = _first_object(text)
    return _clean(text.encode()).decode()


def _first_object(text: str) -> str:
    try:
        value, _ = _NUMBERS_ONLY.raw_decode(text.lstrip())
        return dumps(value).decode() if is_object(value) else "{}"
    except (ValueError, RecursionError):
        return "{}"


def _clean(text: bytes) -> bytes:
    """JSON without lone surrogates; an escape is the only way in which its bytes can spell one."""
    if _SURROGATE.search(text) is None:
        return text
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], text)
