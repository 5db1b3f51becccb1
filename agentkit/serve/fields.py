"""The fields of a request, each with what it may be and what becomes of it: the one table.

Requests are checked by it, the OpenAPI document is made of it, and the documentation shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from agentkit.serve.limits import ServeLimits

STATE: Final = "agentkit_state"
"""The field of an answer's message that carries the agent's own steps, to be sent back as it came."""

STEPS: Final = "agentkit_steps"
"""The field of a request that asks for the agent's own steps, and of a delta or a message that has them."""

Schema: TypeAlias = dict[str, Any]
Becomes: TypeAlias = Literal["server", "model", "capped", "tools", "refused"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request: its schema, and what becomes of it.

    "server": the server does what it says. "model": the agent's model is asked with it. "capped": the same, within the
    server's own bound. "tools": it is of the client's own tools. "refused": any value but those of the schema is.
    """

    name: str
    schema: Schema
    becomes: Becomes
    note: str
    required: bool = False


def _number(low: float, high: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high}


def _object(properties: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


def _array(items: Schema, *, least: int = 0, most: int | None = None) -> Schema:
    schema: Schema = {"type": "array", "items": items}
    if least:
        schema["minItems"] = least
    if most is not None:
        schema["maxItems"] = most
    return schema


def _any_of(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _one(*values: object) -> Schema:
    return {"type": "boolean" if isinstance(values[0], bool) else "string", "enum": list(values)}


_TEXT: Final[Schema] = {"type": "string"}
_WORD: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 512}
_NAME: Final[Schema] = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
_FLAG: Final[Schema] = {"type": "boolean"}
_ANY: Final[Schema] = {"type": "object"}
_NOTHING: Final[Schema] = {"type": "null"}

_TEXT_PART: Final = _object({"type": _one("text"), "text": _TEXT}, "type", "text")
_REFUSAL_PART: Final = _object({"type": _one("refusal"), "refusal": _TEXT}, "type", "refusal")
_IMAGE_PART: Final = _object(
    {
        "type": _one("image_url"),
        "image_url": _object({"url": {"type": "string", "pattern": "^(https?://|data:)"}, "detail": _WORD}, "url"),
    },
    "type",
    "image_url",
)
_AUDIO_PART: Final = _object(
    {"type": _one("input_audio"), "input_audio": _object({"data": _TEXT, "format": _WORD}, "data", "format")},
    "type",
    "input_audio",
)
_FILE_PART: Final = _object(
    {
        "type": _one("file"),
        # An id would name a file of the account that pays for the agent's model, whoever put it there.
        "file": _object({"file_data": {"type": "string", "pattern": "^data:"}, "filename": _WORD}, "file_data"),
    },
    "type",
    "file",
)
_TEXTS: Final = _any_of(_TEXT, _array(_TEXT_PART, least=1))
_CONTENT: Final = _any_of(_TEXT, _array(_any_of(_TEXT_PART, _IMAGE_PART, _AUDIO_PART, _FILE_PART), least=1))
_CALL: Final = _object(
    {
        "id": _WORD,
        "type": _one("function"),
        "function": _object({"name": _WORD, "arguments": _TEXT}, "name", "arguments"),
    },
    "id",
    "type",
    "function",
)

MESSAGES: Final[dict[str, Schema]] = {
    "system": _object({"role": _one("system"), "content": _TEXTS, "name": _WORD}, "role", "content"),
    "developer": _object({"role": _one("developer"), "content": _TEXTS, "name": _WORD}, "role", "content"),
    "user": _object({"role": _one("user"), "content": _CONTENT, "name": _WORD}, "role", "content"),
    "assistant": _object(
        {
            "role": _one("assistant"),
            "content": _any_of(_TEXT, _array(_any_of(_TEXT_PART, _REFUSAL_PART), least=1)),
            "name": _WORD,
            "refusal": _TEXT,
            "tool_calls": _array(_CALL),
            "reasoning_content": _TEXT,
            STATE: _TEXT,
        },
        "role",
    ),
    "tool": _object(
        {"role": _one("tool"), "content": _CONTENT, "tool_call_id": _WORD}, "role", "content", "tool_call_id"
    ),
}
"""The schema of a message, by its role. What else stands in a message is left out."""

_TOOL: Final = _object(
    {
        "type": _one("function"),
        "function": _object({"name": _NAME, "description": _TEXT, "parameters": _ANY, "strict": _FLAG}, "name"),
    },
    "type",
    "function",
)
_TOOL_CHOICE: Final = _any_of(
    _one("none", "auto", "required"),
    _object({"type": _one("function"), "function": _object({"name": _NAME}, "name")}, "type", "function"),
)
_RESPONSE_FORMAT: Final = _any_of(
    _object({"type": _one("text", "json_object")}, "type"),
    _object(
        {
            "type": _one("json_schema"),
            "json_schema": _object(
                {"name": _NAME, "description": _TEXT, "schema": _ANY, "strict": _FLAG}, "name", "schema"
            ),
        },
        "type",
        "json_schema",
    ),
)
_TOKENS: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}


def request_fields(limits: ServeLimits) -> tuple[Field, ...]:
    """Every field that a request may have, in the reference's order, then those that later clients send."""
    message = _any_of(*MESSAGES.values())
    return (
        Field("model", _WORD, "server", "chooses the agent, by the name that it is served under", required=True),
        Field(
            "messages",
            _array(message, least=1, most=limits.messages),
            "server",
            "the conversation; system and developer messages as `system=` says",
            required=True,
        ),
        Field("temperature", _number(0, 2), "model", "as it is"),
        Field("top_p", _number(0, 1), "model", "as it is"),
        Field(
            "n",
            {"type": "integer", "minimum": 1, "maximum": limits.choices},
            "server",
            "so many runs, each of which may run tools",
        ),
        Field("stream", _FLAG, "server", "the answer comes as server-sent events"),
        Field(
            "stream_options",
            _object({"include_usage": _FLAG, "include_obfuscation": _FLAG}),
            "server",
            "`include_usage` adds a last chunk with the usage",
        ),
        Field("stop", _any_of(_TEXT, _array(_TEXT, most=16)), "model", "as it is"),
        Field("max_tokens", _TOKENS, "capped", "for each reply of the model, at most `max_tokens_cap`"),
        Field("max_completion_tokens", _TOKENS, "capped", "the same; one of the two may be given"),
        Field("presence_penalty", _number(-2, 2), "model", "as it is"),
        Field("frequency_penalty", _number(-2, 2), "model", "as it is"),
        Field("logit_bias", {**_ANY, "additionalProperties": _number(-100, 100)}, "model", "as it is"),
        Field("user", _WORD, "model", "as it is"),
        Field("tools", _array(_TOOL, most=limits.tools), "tools", "the client's own: it runs them"),
        Field("tool_choice", _TOOL_CHOICE, "tools", "among the client's own; the agent's stay free to use"),
        Field("response_format", _RESPONSE_FORMAT, "model", "as it is; refused where the agent has an output type"),
        Field("seed", {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, "model", "as it is"),
        Field("reasoning_effort", _WORD, "model", "as it is"),
        Field("modalities", _array(_WORD, most=8), "model", "as it is"),
        Field("audio", _ANY, "model", "as it is; the answer's `audio` is that of the last reply"),
        Field("parallel_tool_calls", _FLAG, "model", "as it is"),
        Field("verbosity", _WORD, "model", "as it is"),
        Field("prompt_cache_key", _WORD, "model", "as it is"),
        Field("safety_identifier", _WORD, "model", "as it is"),
        Field(STEPS, _FLAG, "server", "the agent's own calls are told, where `show_steps=` lets it"),
        Field("logprobs", _one(False), "refused", "an agent's answer has none"),  # noqa: FBT003  # a value of the wire
        Field("top_logprobs", _NOTHING, "refused", "an agent's answer has none"),
        Field("store", _one(False), "refused", "the server keeps nothing"),  # noqa: FBT003
        Field("metadata", _NOTHING, "refused", "the server keeps nothing"),
        Field("service_tier", _one("auto", "default"), "refused", "it is for the agent's owner to choose"),
        Field("prediction", _NOTHING, "refused", "it is for the agent's owner to choose"),
        Field("web_search_options", _NOTHING, "refused", "it is for the agent's owner to choose"),
        Field("functions", _NOTHING, "refused", "give `tools`"),
        Field("function_call", _NOTHING, "refused", "give `tool_choice`"),
    )
