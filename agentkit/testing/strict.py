"""What the strictest endpoint would refuse in a Chat Completions request, in OpenAI's words.

The rules are those of OpenAI's endpoint, and beyond them what others are known to refuse: ids used twice in a
conversation, arguments that are no JSON object, two tools of one name, unknown fields, numbers that are no JSON.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentkit._json import is_array, is_object
from agentkit.messages import text_of
from agentkit.testing.strict_schema import schema_problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


class Refusal(NamedTuple):
    """Why a request is refused."""

    message: str
    param: str | None = None
    code: str | None = None


def refusals(body: Any, *, extra_fields: Collection[str] = ()) -> Iterator[Refusal]:
    """All that is wrong with a request's body. `extra_fields` may stand in it beside the known ones."""
    if not is_object(body):
        yield _type("body", "an object", body)
        return
    yield from _fields(body, extra_fields)
    names: set[str] = set()
    yield from _tools(body.get("tools"), names)
    yield from _tool_choice(body, names)
    yield from _response_format(body.get("response_format"), body.get("messages"))
    yield from _messages(body.get("messages"))


def parse(data: bytes) -> Any:
    """The value of a JSON text as the strictest parser takes it. Raises ValueError.

    NaN, Infinity, names that stand twice in an object, and text that is not Unicode (lone surrogates) are refused.
    """
    text = data.decode("utf-8")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return value


_ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
_RANGES: Final[dict[str, tuple[float, float | None]]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "n": (1, 128),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
    "top_logprobs": (0, 20),
    "seed": (-(2**63), 2**63 - 1),
}
_DECIMALS: Final = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
_TYPES: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    "model": (str, "a string"),
    "messages": (list, "an array of objects"),
    "stream": (bool, "a boolean"),
    "stream_options": (dict, "an object"),
    "stop": ((str, list), "one of a string or array of strings"),
    "logit_bias": (dict, "an object"),
    "user": (str, "a string"),
    "tools": (list, "an array of objects"),
    "tool_choice": ((str, dict), "one of a string or object"),
    "parallel_tool_calls": (bool, "a boolean"),
    "response_format": (dict, "an object"),
    "reasoning_effort": (str, "a string"),
    "verbosity": (str, "a string"),
    "modalities": (list, "an array of strings"),
    "audio": (dict, "an object"),
    "logprobs": (bool, "a boolean"),
    "store": (bool, "a boolean"),
    "metadata": (dict, "an object"),
    "service_tier": (str, "a string"),
    "prediction": (dict, "an object"),
    "prompt_cache_key": (str, "a string"),
    "safety_identifier": (str, "a string"),
    "web_search_options": (dict, "an object"),
}
_MAX_TOOLS: Final = 128
_MAX_NAME: Final = 64
_MAX_DESCRIPTION: Final = 1024


def _kind(value: Any) -> str:
    """A value's type in the words of an error."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _type(param: str, expected: str, value: Any) -> Refusal:
    text = f"Invalid type for '{param}': expected {expected}, but got {_kind(value)} instead."
    return Refusal(text, param, "invalid_type")


def _missing(param: str) -> Refusal:
    return Refusal(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _empty(param: str) -> Refusal:
    text = f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    return Refusal(text, param, "empty_array")


def _value(param: str, value: Any, supported: Collection[str]) -> Refusal:
    words = ", ".join(f"'{each}'" for each in supported)
    return Refusal(f"Invalid value: '{value}'. Supported values are: {words}.", param, "invalid_value")


def _fields(body: Mapping[str, Any], extra_fields: Collection[str]) -> Iterator[Refusal]:
    if not body.get("model"):
        yield Refusal("you must provide a model parameter")
    if "messages" not in body:
        yield _missing("messages")
    for name, value in body.items():
        if name in _RANGES:
            yield from _number(name, value)
        elif name in _TYPES:
            types, words = _TYPES[name]
            if not isinstance(value, types):
                yield _type(name, words, value)
        elif name not in extra_fields:
            yield Refusal(f"Unrecognized request argument supplied: {name}")
    for name in ("messages", "tools", "stop", "modalities"):
        if body.get(name) == []:
            yield _empty(name)
    if "max_tokens" in body and "max_completion_tokens" in body:
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        yield Refusal(text, "max_tokens", "invalid_parameter_combination")
    if "stream_options" in body and body.get("stream") is not True:
        yield Refusal("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if "top_logprobs" in body and body.get("logprobs") is not True:
        yield Refusal("The 'logprobs' parameter must be enabled when 'top_logprobs' is used.", "logprobs")


def _number(name: str, value: Any) -> Iterator[Refusal]:
    word = "decimal" if name in _DECIMALS else "integer"
    allowed = int | float if word == "decimal" else int
    if not isinstance(value, allowed) or isinstance(value, bool):
        yield _type(name, "a decimal" if word == "decimal" else "an integer", value)
        return
    low, high = _RANGES[name]
    if value < low:
        text = f"Invalid '{name}': {word} below minimum value. Expected a value >= {low}, but got {value} instead."
        yield Refusal(text, name, f"{word}_below_min_value")
    if high is not None and value > high:
        text = f"Invalid '{name}': {word} above maximum value. Expected a value <= {high}, but got {value} instead."
        yield Refusal(text, name, f"{word}_above_max_value")


# Tools and formats


def _name(param: str, value: Any) -> Iterator[Refusal]:
    if value is None:
        yield _missing(param)
    elif not isinstance(value, str):
        yield _type(param, "a string", value)
    elif not _NAME.fullmatch(value):
        pattern = f"Expected a string that matches the pattern '^{_NAME.pattern}$'."
        yield Refusal(f"Invalid '{param}': string does not match pattern. {pattern}", param, "invalid_value")
    else:
        yield from _long(param, value, _MAX_NAME)


def _long(param: str, value: str, most: int) -> Iterator[Refusal]:
    if len(value) > most:
        expected = f"Expected a string with maximum length {most}, but got a string with length {len(value)} instead."
        yield Refusal(f"Invalid '{param}': string too long. {expected}", param, "string_above_max_length")


def _tools(tools: Any, names: set[str]) -> Iterator[Refusal]:
    """What is wrong with the tools; their names are added to `names`."""
    if not is_array(tools):
        return
    if len(tools) > _MAX_TOOLS:
        expected = (
            f"Expected an array with maximum length {_MAX_TOOLS}, but got an array with length {len(tools)} instead."
        )
        yield Refusal(f"Invalid 'tools': array too long. {expected}", "tools", "array_above_max_length")
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        if not is_object(tool):
            yield _type(at, "an object", tool)
        elif tool.get("type") != "function":
            yield _value(f"{at}.type", tool.get("type"), ("function",))
        elif not is_object(function := tool.get("function")):
            yield _missing(f"{at}.function")
        else:
            yield from _function(at, function, names)


def _function(at: str, function: Mapping[str, Any], names: set[str]) -> Iterator[Refusal]:
    name, strict = function.get("name"), function.get("strict")
    yield from _name(f"{at}.function.name", name)
    if isinstance(name, str):
        if name in names:
            yield Refusal(f"Invalid 'tools': tool names must be unique, '{name}' is used twice.", at, "invalid_value")
        names.add(name)
    for key in function.keys() - {"name", "description", "parameters", "strict"}:
        yield Refusal(f"Unknown parameter: '{at}.function.{key}'.", f"{at}.function.{key}", "unknown_parameter")
    if strict is not None and not isinstance(strict, bool):
        yield _type(f"{at}.function.strict", "a boolean", strict)
    description = function.get("description", "")
    if isinstance(description, str):
        yield from _long(f"{at}.function.description", description, _MAX_DESCRIPTION)
    else:
        yield _type(f"{at}.function.description", "a string", description)
    if "parameters" in function and (problem := schema_problem(function["parameters"], strict=strict is True)):
        text = f"Invalid schema for function '{name}': {problem}"
        yield Refusal(text, f"{at}.function.parameters", "invalid_function_parameters")


def _tool_choice(body: Mapping[str, Any], names: Collection[str]) -> Iterator[Refusal]:
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in body and not body.get("tools"):
            yield Refusal(f"'{name}' is only allowed when 'tools' are specified.", name)
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        yield _value("tool_choice", choice, ("none", "auto", "required"))
    elif is_object(choice):
        function = choice.get("function")
        if choice.get("type") != "function":
            yield _value("tool_choice.type", choice.get("type"), ("function",))
        elif not is_object(function) or not isinstance(function.get("name"), str):
            yield _missing("tool_choice.function.name")
        elif function["name"] not in names:
            yield Refusal(f"Tool choice '{function['name']}' not found in 'tools' parameter.", "tool_choice")


def _response_format(form: Any, messages: Any) -> Iterator[Refusal]:
    if not is_object(form):
        return
    kind = form.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        yield _value("response_format.type", kind, ("text", "json_object", "json_schema"))
    elif kind == "json_object" and "json" not in _said(messages).lower():
        text = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        yield Refusal(text, "messages")
    elif kind == "json_schema":
        described = form.get("json_schema")
        if not is_object(described):
            yield _missing("response_format.json_schema")
            return
        yield from _name("response_format.json_schema.name", described.get("name"))
        problem = schema_problem(described.get("schema", {}), strict=described.get("strict") is True, any_root=True)
        if problem:
            text = f"Invalid schema for response_format '{described.get('name')}': {problem}"
            yield Refusal(text, "response_format", "invalid_json_schema")


# Messages


def _said(messages: Any) -> str:
    known = messages if is_array(messages) else []
    return " ".join(text_of(message.get("content")) for message in known if is_object(message))


def _messages(messages: Any) -> Iterator[Refusal]:
    if not is_array(messages):
        return
    seen: set[str] = set()
    pending: list[str] = []
    last_call = -1
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if not is_object(message):
            yield _type(at, "an object", message)
            continue
        role = message.get("role")
        if role == "tool":
            yield from _tool_message(at, message, pending)
            continue
        yield from _unanswered(last_call, pending)
        pending = []
        if role not in _ROLES:
            yield _value(f"{at}.role", role, _ROLES) if role is not None else _missing(f"{at}.role")
            continue
        yield from _content(at, role, message)
        if role == "assistant" and "tool_calls" in message:
            last_call = index
            yield from _calls(at, message["tool_calls"], seen, pending)
    yield from _unanswered(last_call, pending)


def _unanswered(index: int, pending: Collection[str]) -> Iterator[Refusal]:
    if pending:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(pending)}"
        )
        yield Refusal(text, f"messages.[{index}].role")


def _tool_message(at: str, message: Mapping[str, Any], pending: list[str]) -> Iterator[Refusal]:
    identity = message.get("tool_call_id")
    if identity is None:
        yield _missing(f"{at}.tool_call_id")
    elif not isinstance(identity, str):
        yield _type(f"{at}.tool_call_id", "a string", identity)
    elif identity in pending:
        pending.remove(identity)
    else:
        text = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        )
        yield Refusal(text, f"{at}.role")
    yield from _content(at, "tool", message)


def _calls(at: str, calls: Any, seen: set[str], pending: list[str]) -> Iterator[Refusal]:
    """What is wrong with a message's calls; their ids are added to `seen` and `pending`."""
    if not is_array(calls):
        yield _type(f"{at}.tool_calls", "an array of objects", calls)
        return
    if not calls:
        yield _empty(f"{at}.tool_calls")
    for index, call in enumerate(calls):
        here = f"{at}.tool_calls[{index}]"
        if not is_object(call):
            yield _type(here, "an object", call)
            continue
        identity = call.get("id")
        if not isinstance(identity, str):
            yield _missing(f"{here}.id") if identity is None else _type(f"{here}.id", "a string", identity)
        elif not identity:
            yield Refusal(f"Invalid '{here}.id': empty string.", f"{here}.id", "empty_string")
        else:
            if identity in seen:
                yield Refusal(f"Duplicate value for 'tool_call_id' of '{identity}' in {at}", f"{here}.id")
            seen.add(identity)
            pending.append(identity)
        if call.get("type") != "function":
            yield _value(f"{here}.type", call.get("type"), ("function",))
        yield from _called(here, call.get("function"))


def _called(at: str, function: Any) -> Iterator[Refusal]:
    if not is_object(function):
        yield _missing(f"{at}.function")
        return
    yield from _name(f"{at}.function.name", function.get("name"))
    param = f"{at}.function.arguments"
    arguments = function.get("arguments")
    if arguments is None:
        yield _missing(param)
    elif not isinstance(arguments, str):
        yield _type(param, "a string", arguments)
    else:
        try:
            value = parse(arguments.encode())
        except ValueError:
            value = None
        if not is_object(value):
            yield Refusal(f"Invalid '{param}': expected a string that holds a JSON object.", param, "invalid_value")


_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}


def _content(at: str, role: str, message: Mapping[str, Any]) -> Iterator[Refusal]:
    content, param = message.get("content"), f"{at}.content"
    if content is None:
        spoken = role == "assistant" and any(message.get(key) for key in ("tool_calls", "refusal", "audio"))
        if not spoken and not (role == "assistant" and "function_call" in message):
            yield Refusal("Invalid value for 'content': expected a string, got null.", param)
    elif is_array(content):
        if not content:
            yield _empty(param)
        for index, part in enumerate(content):
            yield from _part(f"{param}[{index}]", part, _PARTS.get(role, ("text",)))
    elif not isinstance(content, str):
        yield _type(param, "one of a string or array of objects", content)
    name = message.get("name")
    if name is not None and role != "tool" and not (isinstance(name, str) and re.fullmatch(r"[^\s<|\\/>]{1,64}", name)):
        expected = "Expected a string that matches the pattern '^[^\\s<|\\\\/>]+$'."
        yield Refusal(f"Invalid '{at}.name': string does not match pattern. {expected}", f"{at}.name", "invalid_value")


def _part(at: str, part: Any, kinds: Collection[str]) -> Iterator[Refusal]:
    if not is_object(part):
        yield _type(at, "an object", part)
        return
    kind: Any = part.get("type")
    if kind not in kinds:
        yield _value(f"{at}.type", kind, kinds)
        return
    inner = part.get(kind)
    if kind in ("text", "refusal"):
        if not isinstance(inner, str):
            yield _missing(f"{at}.{kind}") if inner is None else _type(f"{at}.{kind}", "a string", inner)
        return
    if not is_object(inner):
        yield _missing(f"{at}.{kind}") if inner is None else _type(f"{at}.{kind}", "an object", inner)
    elif kind == "image_url" and not re.match(r"https?://|data:image/[\w.+-]+;base64,", str(inner.get("url"))):
        text = f"Invalid '{at}.image_url.url'. Expected a valid URL, but got a value with an invalid format."
        yield Refusal(text, f"{at}.image_url.url", "invalid_image_url")
    elif kind == "input_audio" and not (isinstance(inner.get("data"), str) and inner.get("format") in ("wav", "mp3")):
        yield _value(f"{at}.input_audio.format", inner.get("format"), ("wav", "mp3"))
    elif kind == "file" and not any(isinstance(inner.get(key), str) for key in ("file_id", "file_data")):
        yield _missing(f"{at}.file.file_id")
