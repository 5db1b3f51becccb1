"""How a model is asked to answer: one value with every field of a request that is not the conversation itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, cast

from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentkit.chat.dialects import Dialect


@dataclass(slots=True, kw_only=True)
class Settings:
    """The settings of a request, each by its name on the wire. None is unset. A value is never changed.

    Of max_tokens and max_completion_tokens, which mean the same to most endpoints, one may be set; it is sent by the
    name that the endpoint takes. `tool_choice` is "none", "auto", "required", the name of a tool, or the object of the
    wire. `extra_body` is sent as it is, beside or over the rest; `extra_headers` go with the request.

    Raises:
        UsageError: a value has the wrong type, or a number is out of its range.
    """

    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | Sequence[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[str | int, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: Mapping[str, Any] | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: Sequence[str] | None = None
    audio: Mapping[str, Any] | None = None
    prediction: Mapping[str, Any] | None = None
    web_search_options: Mapping[str, Any] | None = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: Mapping[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    extra_body: Mapping[str, Any] | None = None
    extra_headers: Mapping[str, str] | None = None
    _given: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._given = tuple([name for name in FIELDS if getattr(self, name) is not None])
        for name in self._given:
            setattr(self, name, _checked(name, getattr(self, name)))
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            both = f"max_tokens is {self.max_tokens} and max_completion_tokens is {self.max_completion_tokens}"
            raise UsageError(f"{both}: set one of them, it is sent by the name that the endpoint takes")

    @classmethod
    def of(cls, value: Settings | Mapping[str, Any] | None) -> Settings:
        """The settings in a mapping, or the value itself if it is one. Raises UsageError for a name that is unknown."""
        if isinstance(value, Settings):
            return value
        if value is None:
            return _NONE
        if not isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not be checked
            raise UsageError(f"settings are a Settings or a mapping, not {type(value).__name__}")
        for name in value:
            if name not in FIELDS:
                raise UsageError(f"unknown setting {name!r}: {_remedy(name)}")
        return cls(**value)

    @property
    def forced(self) -> str | None:
        """What `tool_choice` makes the model call: a tool's name, "" for any of the tools, None where it is free."""
        choice = self.tool_choice
        if choice is None or isinstance(choice, str):
            return {None: None, "none": None, "auto": None, "required": ""}.get(choice, choice)
        kind = choice["type"]
        given = choice.get(kind)
        detail: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
        if kind == "allowed_tools":
            return "" if detail.get("mode") == "required" else None
        name = detail.get("name")
        return name if isinstance(name, str) else ""

    def merged(self, other: Settings | None) -> Settings:
        """These settings with those over them, field by field; `extra_body` and `extra_headers` key by key."""
        given = () if other is None else other._given  # noqa: SLF001  # of this class
        if other is None or not given:
            return self
        if not self._given:
            return other
        values: dict[str, Any] = {name: getattr(self, name) for name in self._given}
        for name in given:
            value = getattr(other, name)
            if name in _SAME:
                values = {key: kept for key, kept in values.items() if key not in _SAME}
            values[name] = {**values.get(name, {}), **value} if name in _MERGED else value
        return Settings(**values)

    def body(self, dialect: Dialect) -> dict[str, Any]:
        """The fields of a request body. Those that the dialect's endpoint refuses are left out."""
        body: dict[str, Any] = {}
        for name in self._given:
            value = getattr(self, name)
            if name in _MERGED or name in dialect.unsupported:
                continue
            if name == "parallel_tool_calls" and not dialect.parallel_tool_calls:
                continue
            if name == "response_format" and f"response_format:{value.get('type')}" in dialect.unsupported:
                continue
            if name == "tool_choice" and f"tool_choice:{value}" in dialect.unsupported:
                continue
            if name in _SAME and dialect.max_tokens != "either":
                name = dialect.max_tokens  # noqa: PLW2901
            if name == "tool_choice" and isinstance(value, str) and value not in TOOL_CHOICES:
                value = {"type": "function", "function": {"name": value}}
            body[dialect.renamed.get(name, name)] = value
        return {**body, **(self.extra_body or {})}


FIELDS: Final = tuple(field.name for field in fields(Settings) if field.init)
TOOL_CHOICES: Final = frozenset({"none", "auto", "required"})

_SAME: Final = frozenset({"max_tokens", "max_completion_tokens"})
_MERGED: Final = frozenset({"extra_body", "extra_headers"})
# What is the conversation's or the agent's own, and where it is given.
_ELSEWHERE: Final = {
    "model": "it is named where the model is made",
    "messages": "the conversation is an argument of its own",
    "tools": "they are an argument of their own",
    "stream": "the verb says whether the answer is streamed",
    "stream_options": "a stream is asked for its usage where the endpoint takes that; else use extra_body",
}
_NOT_EXTRA: Final = frozenset({"messages", "model", "stream", "tools"})

# Source of the ranges: the reference of Chat Completions; OpenAI's for top_logprobs and logit_bias.
_NUMBERS: Final[Mapping[str, tuple[float | None, float | None, bool]]] = {
    "temperature": (0, 2, False),
    "top_p": (0, 1, False),
    "presence_penalty": (-2, 2, False),
    "frequency_penalty": (-2, 2, False),
    "n": (1, None, True),
    "max_tokens": (1, None, True),
    "max_completion_tokens": (1, None, True),
    "top_logprobs": (0, 20, True),
    "seed": (None, None, True),
}
_FLAGS: Final = frozenset({"logprobs", "parallel_tool_calls", "store"})


_NONE: Final = Settings()


def _checked(name: str, value: object) -> object:
    """The value as it is sent. Raises UsageError."""
    if name in _NUMBERS:
        low, high, whole = _NUMBERS[name]
        check_number(name, value, low=low, high=high, whole=whole)
        return value
    if name in _FLAGS:
        if not isinstance(value, bool):
            raise UsageError(f"{name} is True or False, not {value!r}")
        return value
    match name:
        case "stop" | "modalities":
            if name == "stop" and isinstance(value, str):
                return value
            return _texts(name, value)
        case "tool_choice" if isinstance(value, str):
            return _nonempty(name, value)
        case "logit_bias":
            return _biases(value)
        case "tool_choice" | "response_format":
            return _typed(name, value)
        case "extra_headers":
            return _headers(value)
        case "extra_body":
            return _extra(value)
        case "audio" | "prediction" | "web_search_options" | "metadata":
            return _mapping(name, value)
        case _:
            return _nonempty(name, value)


def check_number(
    name: str, value: object, *, low: float | None = None, high: float | None = None, whole: bool = False
) -> None:
    """See that a value is a number in its range, both ends within it. Raises UsageError."""
    right = isinstance(value, int) or (isinstance(value, float) and isfinite(value) and not whole)
    if (
        isinstance(value, bool)
        or not right
        or (low is not None and cast("float", value) < low)
        or (high is not None and cast("float", value) > high)
    ):
        ends = ""
        if low is not None:
            ends = f" of at least {low}" if high is None else f" from {low} to {high}"
        raise UsageError(f"{name} is {'an integer' if whole else 'a number'}{ends}, not {value!r}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one is most like, if one is."""
    from difflib import get_close_matches  # 5 ms, for an error alone

    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def _remedy(name: object) -> str:
    if not isinstance(name, str):
        return "names are strings"
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    near = nearest(name, FIELDS)
    hint = f"did you mean {near!r}? Else " if near else ""
    return f"{hint}send it by extra_body={{{name!r}: …}}"


def _nonempty(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} is a string that is not empty, not {value!r}")
    return value


def _texts(name: str, value: object) -> list[str]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        texts = list(cast("Sequence[object]", value))
        if all(isinstance(text, str) for text in texts):
            return cast("list[str]", texts)
    also = "a string or " if name == "stop" else ""
    raise UsageError(f"{name} is {also}a list of strings, not {value!r}")


def _mapping(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = dict(cast("Mapping[object, Any]", value))
        if all(isinstance(key, str) for key in items):
            return cast("dict[str, Any]", items)
    raise UsageError(f"{name} is a mapping whose keys are strings, not {value!r}")


def _typed(name: str, value: object) -> dict[str, Any]:
    items = _mapping(name, value)
    if not isinstance(items.get("type"), str):
        raise UsageError(f"{name} is an object with a 'type', as on the wire, not {value!r}")
    return items


def _biases(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise UsageError(f"logit_bias maps ids of tokens to numbers, not {value!r}")
    biases: dict[str, float] = {}
    for token, bias in cast("Mapping[object, Any]", value).items():
        if isinstance(token, bool) or not isinstance(token, str | int):
            raise UsageError(f"a key of logit_bias is the id of a token, not {token!r}")
        check_number(f"logit_bias[{token!r}]", bias, low=-100, high=100)
        biases[str(token)] = bias
    return biases


def _headers(value: object) -> dict[str, str]:
    headers = _mapping("extra_headers", value)
    for name, text in headers.items():
        # The value may be a secret, so that it is not shown.
        if not isinstance(text, str) or not name or {"\r", "\n"} & {*name, *text}:
            raise UsageError(f"extra_headers[{name!r}] is a string of one line, not {type(text).__name__}")
    return headers


def _extra(value: object) -> dict[str, Any]:
    extra = _mapping("extra_body", value)
    for name in sorted(_NOT_EXTRA & extra.keys()):
        raise UsageError(f"extra_body cannot set {name!r}: {_ELSEWHERE[name]}")
    return extra
