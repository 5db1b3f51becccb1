"""The values of Chat Completions: messages, their parts, tool calls, replies, usage."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypeAlias

from agentkit._json import dumps, is_array, is_list, is_object, loads
from agentkit.errors import UsageError

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})


class Message:
    """One message, as it was sent or received. It never changes.

    What is kept is its JSON; `data` parses it anew at each access, so the caller may change what it gets.
    """

    __slots__ = ("_data", "_json", "role")

    def __init__(self, data: Mapping[str, Any]) -> None:
        role = data.get("role")
        if role not in ROLES:
            raise UsageError(f"a message's role is one of {', '.join(sorted(ROLES))}, not {role!r}")
        self.role: Role = role
        self._data: Mapping[str, Any] | None = data
        self._json: bytes | None = None

    @classmethod
    def from_json(cls, text: bytes) -> Message:
        """The message that a JSON object spells. Raises UsageError if it is none."""
        data = loads(text)
        if not is_object(data):
            raise UsageError(f"a message is a JSON object, not {text[:40]!r}")
        message = cls(data)
        message._json, message._data = text, None
        return message

    @property
    def json(self) -> bytes:
        """The message as JSON."""
        if self._json is None:
            self._json, self._data = dumps(self._data), None
        return self._json

    @property
    def data(self) -> dict[str, Any]:
        """The message as a new dict."""
        value: dict[str, Any] = loads(self.json)
        return value

    @property
    def text(self) -> str:
        """The text of its content, parts joined."""
        return text_of(self.data.get("content"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.data == other.data

    def __hash__(self) -> int:
        return hash(self.json)

    def __repr__(self) -> str:
        text = self.json.decode("utf-8", "replace")
        return f"Message({text if len(text) <= 200 else text[:200] + '…'})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Message.from_json, (self.json,))


def text_of(content: object) -> str:
    """The text of a message's content: a string as it is, the text parts of a list joined, else ''."""
    if isinstance(content, str):
        return content
    if is_object(content):
        content = [content]
    return "".join([_text_of_part(part) for part in content]) if is_list(content) else ""


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if is_object(part) and part.get("type") in ("text", "output_text", None):
        text = part.get("text")
        return text if isinstance(text, str) else ""
    return ""


def is_cut(finish_reason: str | None) -> bool:
    """Whether a finish_reason says that the reply was cut off at a token limit, in whichever endpoint's words."""
    return finish_reason is not None and finish_reason.lower() in ("length", "max_tokens", "model_length")


# Parts of a user's message


@dataclass(frozen=True, slots=True)
class Image:
    """An image: an http(s) or data URL, or its bytes with their media type. `detail` is "auto", "low" or "high"."""

    source: str | bytes = field(repr=False)
    media_type: str = "image/png"
    detail: str | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The content part as it is sent."""
        url = self.source if isinstance(self.source, str) else data_url(self.source, self.media_type)
        image: dict[str, Any] = {"url": url}
        if self.detail is not None:
            image["detail"] = self.detail
        return {"type": "image_url", "image_url": image}


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound for the model to hear: its bytes, and their format ("wav", "mp3")."""

    source: bytes = field(repr=False)
    format: str = "wav"

    @property
    def data(self) -> dict[str, Any]:
        """The content part as it is sent."""
        return {"type": "input_audio", "input_audio": {"data": b64encode(self.source).decode(), "format": self.format}}


@dataclass(frozen=True, slots=True)
class File:
    """A file: the id that the endpoint gave it on upload, or its bytes with name and media type."""

    source: str | bytes = field(repr=False)
    filename: str | None = None
    media_type: str = "application/pdf"

    @property
    def data(self) -> dict[str, Any]:
        """The content part as it is sent."""
        if isinstance(self.source, str):
            file: dict[str, Any] = {"file_id": self.source}
        else:
            file = {"file_data": data_url(self.source, self.media_type)}
        if self.filename is not None:
            file["filename"] = self.filename
        return {"type": "file", "file": file}


Part: TypeAlias = Image | Audio | File
Content: TypeAlias = str | Sequence[str | Part | dict[str, Any]]
"""What a message says: text, or a list or tuple of parts. A dict is a content part as it is sent."""


def data_url(source: bytes, media_type: str) -> str:
    """The data: URL of some bytes."""
    return f"data:{media_type};base64,{b64encode(source).decode()}"


def part_data(part: object) -> dict[str, Any]:
    """The content part that is sent for a string, Image, Audio, File or mapping. Raises UsageError."""
    match part:
        case str():
            return {"type": "text", "text": part}
        case Image() | Audio() | File():
            return part.data
        case _ if is_object(part) and isinstance(part.get("type"), str):
            return dict(part)
        case _:
            raise UsageError(
                f"a content part is a string, Image, Audio, File or a dict with a 'type', not {type(part).__name__}"
            )


def content_data(content: Any) -> str | list[dict[str, Any]]:
    """A message's `content` as it is sent. Raises UsageError."""
    if isinstance(content, str):
        return content
    if not is_list(content):
        raise UsageError(f"content is text or a list of parts, not {type(content).__name__}")
    return [part_data(part) for part in content]


def system(text: str) -> Message:
    """A system message."""
    return Message({"role": "system", "content": text})


def developer(text: str) -> Message:
    """A developer message: what newer OpenAI models take in place of a system message."""
    return Message({"role": "developer", "content": text})


def user(content: Content) -> Message:
    """A user's message.

    Examples:
        >>> user(["Who painted this?", Image("https://example.com/sunflowers.jpg")]).text
        'Who painted this?'
    """
    return Message({"role": "user", "content": content_data(content)})


def assistant(content: Content | None = None, *, tool_calls: Sequence[ToolCall] = ()) -> Message:
    """A message of the model: what it said, the calls it asked for, or both."""
    data: dict[str, Any] = {"role": "assistant", "content": None if content is None else content_data(content)}
    if tool_calls:
        data["tool_calls"] = [call.data for call in tool_calls]
    return Message(data)


def tool(content: Content, *, tool_call_id: str) -> Message:
    """The result of one tool call."""
    return Message({"role": "tool", "tool_call_id": tool_call_id, "content": content_data(content)})


@dataclass(slots=True)
class ToolCall:
    """A call that a model asked for. `arguments` is the JSON text as it came."""

    id: str
    name: str
    arguments: str = "{}"

    @property
    def parsed(self) -> Any:
        """The arguments as a value: normally a dict, {} where there are none, unwrapped where they are JSON in JSON.

        Raises:
            ValueError: they are no JSON.
        """
        value = loads(self.arguments) if self.arguments.strip() else None
        if isinstance(value, str) and value.lstrip().startswith("{"):
            with suppress(ValueError):
                value = loads(value)
        return {} if value is None else value

    @property
    def data(self) -> dict[str, Any]:
        """The call as it stands in a message."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


def calls_of(message: Mapping[str, Any]) -> list[ToolCall]:
    """The calls in an assistant message, however it spells them. An id or a name that is missing is ''."""
    found = message.get("tool_calls")
    listed = [found] if is_object(found) else found if is_array(found) else []
    calls = [_call_of(item.get("id"), item.get("function")) for item in listed if is_object(item)]
    if not calls and is_object(legacy := message.get("function_call")):
        calls.append(_call_of(None, legacy))
    return calls


def _call_of(call_id: object, function: object) -> ToolCall:
    spec = function if is_object(function) else {}
    name, arguments = spec.get("name"), spec.get("arguments")
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else dumps(arguments).decode()
    known = "" if call_id is None or isinstance(call_id, bool) else str(call_id)
    return ToolCall(known, name.strip() if isinstance(name, str) else "", arguments)


class ToolSpec:
    """What a model is told of a tool: name, description, and the JSON Schema of its parameters.

    `strict` asks the endpoint to hold the model to the schema; the schema then has to be in the strict form.
    """

    __slots__ = ("_json", "description", "name", "parameters", "strict")

    def __init__(
        self, name: str, description: str = "", parameters: Mapping[str, Any] | None = None, *, strict: bool = False
    ) -> None:
        self.name = name
        self.description = description
        self.parameters: Mapping[str, Any] = {"type": "object", "properties": {}} if parameters is None else parameters
        self.strict = strict
        self._json: dict[bool, bytes] = {}

    def data(self, *, strict: bool = True) -> dict[str, Any]:
        """The tool as it stands in a request; without `strict` for an endpoint that does not know the field."""
        function: dict[str, Any] = {"name": self.name, "description": self.description, "parameters": self.parameters}
        if self.strict and strict:
            function["strict"] = True
        return {"type": "function", "function": function}

    def json(self, *, strict: bool = True) -> bytes:
        """The same as JSON, encoded once."""
        if strict not in self._json:
            self._json[strict] = dumps(self.data(strict=strict))
        return self._json[strict]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToolSpec) and self.data() == other.data()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"ToolSpec({self.name!r})"


ResultStatus: TypeAlias = Literal["ok", "failed", "denied", "not_run", "cancelled"]


@dataclass(slots=True)
class ToolResult:
    """What came of one call. `content` is what the model is told, `parts` the images and files that go with it.

    `status` is "ok"; "failed" (the function raised, or took too long); "denied" (by a decision or a guard); "not_run"
    (no tool has that name, the arguments did not fit, or the reply was cut off in the call); "cancelled". `error` says
    for the caller what was raised. `handoff` is the agent that goes on, after a hand-off. `whole` is the text that was
    too long for `content`, of a tool that keeps its output; it is not sent. `value` is what the function returned and
    `raised` what it raised, while the run goes on; they are no part of a dump.
    """

    content: str
    status: ResultStatus = "ok"
    parts: tuple[dict[str, Any], ...] = ()
    error: str | None = None
    handoff: str | None = None
    whole: str | None = field(default=None, repr=False)
    value: Any = field(default=None, compare=False, repr=False)
    raised: BaseException | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class Usage:
    """Tokens used, by the names of the wire; a detail stands under its own name, prefixed where the name is used twice.

    A count that the endpoint did not give is 0. `extra` has every field that has no place here, as it came.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    prompt_text_tokens: int = 0
    prompt_audio_tokens: int = 0
    prompt_image_tokens: int = 0
    completion_text_tokens: int = 0
    completion_audio_tokens: int = 0
    reasoning_tokens: int = 0
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.total_tokens + other.total_tokens,
            self.cached_tokens + other.cached_tokens,
            self.prompt_text_tokens + other.prompt_text_tokens,
            self.prompt_audio_tokens + other.prompt_audio_tokens,
            self.prompt_image_tokens + other.prompt_image_tokens,
            self.completion_text_tokens + other.completion_text_tokens,
            self.completion_audio_tokens + other.completion_audio_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def data(self) -> dict[str, Any]:
        """As a dict, without the counts that are 0."""
        data: dict[str, Any] = {name: count for name in _COUNTS if (count := getattr(self, name))}
        if self.extra:
            data["extra"] = self.extra
        return data


_COUNTS: Final = tuple(f.name for f in fields(Usage) if f.name != "extra")


@dataclass(slots=True)
class Choice:
    """One of the answers in a reply.

    `message` is the message as it came, every field kept. `extra` has the choice's other fields (logprobs, …).
    """

    message: Message
    text: str = ""
    reasoning: str = ""
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    index: int = 0
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class Reply:
    """A model's reply: at least one choice, and what stands beside them.

    `text`, `reasoning`, `refusal`, `tool_calls`, `finish_reason` and `message` are those of the first choice.
    `extra` has the body's other fields as they came (id, model, created, system_fingerprint, …). `source` is the base
    URL of the endpoint that gave it.
    """

    choices: tuple[Choice, ...]
    usage: Usage | None = None
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    source: str | None = None

    @property
    def message(self) -> Message:
        """The message as it came."""
        return self.choices[0].message

    @property
    def text(self) -> str:
        """The text of the answer, '' if there is none."""
        return self.choices[0].text

    @property
    def reasoning(self) -> str:
        """The reasoning that the endpoint showed, '' if none."""
        return self.choices[0].reasoning

    @property
    def refusal(self) -> str | None:
        """Why the model refuses, if it does."""
        return self.choices[0].refusal

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that the model asks for."""
        return self.choices[0].tool_calls

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, in the endpoint's word: "stop", "length", "tool_calls", "content_filter", …"""
        return self.choices[0].finish_reason

    @property
    def model(self) -> str | None:
        """The model that answered, as the endpoint names it."""
        return self.extra.get("model")

    @property
    def id(self) -> str | None:
        """The endpoint's id of this reply."""
        return self.extra.get("id")
