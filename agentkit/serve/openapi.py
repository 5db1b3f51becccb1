"""The OpenAPI document, made of the tables that requests are checked by."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from agentkit.serve.faults import CHOICES
from agentkit.serve.fields import STATE, STEPS, request_fields
from agentkit.serve.replies import FINISH_REASONS

if TYPE_CHECKING:
    from agentkit.serve.limits import ServeLimits

_NULL: Final = {"type": "null"}
_TEXT: Final = {"type": "string"}
_SECONDS: Final = {"type": "number", "minimum": 0}
_COUNT: Final = {"type": "integer", "minimum": 0}


def document(limits: ServeLimits, *, needs_key: bool) -> dict[str, Any]:
    """The whole document."""
    try:
        number = version("agentkit")
    except PackageNotFoundError:
        number = "0"
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Agents as Chat Completions", "version": number},
        "paths": {
            "/v1/chat/completions": {"post": _post(needs_key=needs_key)},
            "/v1/models": {"get": _get("List the agents.", "ModelList", needs_key=needs_key)},
            "/v1/models/{id}": {
                "get": {
                    **_get("Describe an agent.", "Model", 404, needs_key=needs_key),
                    "parameters": [{"name": "id", "in": "path", "required": True, "schema": _TEXT}],
                }
            },
            "/health": {"get": _get("Tell that the server is alive.", "Status")},
            "/ready": {"get": _get("Tell whether runs may begin.", "Status", 503)},
        },
        "components": {"schemas": _schemas(limits)},
    }
    if needs_key:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return made


def _get(summary: str, schema: str, *errors: int, needs_key: bool | None = None) -> dict[str, Any]:
    statuses = [*errors] if needs_key is None else [401 if needs_key else 403, *errors]
    return {
        "summary": summary,
        "responses": {"200": _answer("What is asked for.", schema), **_errors(*statuses)},
        **({"security": [{"key": []}]} if needs_key else {}),
    }


def _post(*, needs_key: bool) -> dict[str, Any]:
    answer = _answer("The answer; server-sent events if `stream` is true.", "ChatCompletion")
    told = {"anyOf": [_ref("ChatCompletionChunk"), _ref("Error")]}
    data = {
        "anyOf": [{"const": "[DONE]"}, {**_TEXT, "contentMediaType": "application/json", "contentSchema": told}],
        "description": "A chunk, an error that ended the stream, or at the end of a whole answer [DONE].",
    }
    answer["content"]["text/event-stream"] = {"schema": {**_object({"data": data}), "description": "One event."}}
    denied = 401 if needs_key else 403
    return {
        "summary": "Have an agent answer a conversation.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("ChatRequest")}}},
        "responses": {"200": answer, **_errors(400, denied, 404, 408, 413, 415, 429, 500, 502, 503, 504)},
        **({"security": [{"key": []}]} if needs_key else {}),
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _answer("An error.", "Error") for status in sorted(statuses)}


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return schema if schema == _NULL else {"anyOf": [schema, _NULL]}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of a request, in which what is not required may be null."""
    made = dict(schema)
    if "anyOf" in made:
        made["anyOf"] = [nullable(one) for one in made["anyOf"]]
    if isinstance(made.get("items"), dict):
        made["items"] = nullable(made["items"])
    if "properties" in made:
        required = made.get("required", ())
        made["properties"] = {
            name: nullable(inner) if name in required else _or_null(nullable(inner))
            for name, inner in made["properties"].items()
        }
    return made


def _schemas(limits: ServeLimits) -> dict[str, Any]:
    fields = request_fields(limits)
    request: dict[str, Any] = {
        "type": "object",
        "properties": {
            field.name: {
                **(nullable(field.schema) if field.required else _or_null(nullable(field.schema))),
                "description": field.note,
            }
            for field in fields
        },
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }
    function = _object({"name": _TEXT, "arguments": _TEXT})
    call = _object({"id": _TEXT, "type": {"const": "function"}, "function": function})
    texts = {"type": ["string", "null"]}
    message = {
        "role": {"const": "assistant"},
        "content": texts,
        "refusal": texts,
        "reasoning_content": _TEXT,
        "tool_calls": {"type": "array", "items": call, "minItems": 1},
        "audio": {"type": "object"},
        STATE: _TEXT,
        STEPS: {"type": "array", "items": _step(), "minItems": 1},
    }
    choice = {
        "index": _COUNT,
        "message": _object(message, "reasoning_content", "tool_calls", "audio", STATE, STEPS),
        "logprobs": _NULL,
        "finish_reason": {"enum": list(FINISH_REASONS)},
    }
    piece = _object({"index": _COUNT, "function": _object({"name": _TEXT, "arguments": _TEXT}, "name")})
    delta = {**message, "tool_calls": {"type": "array", "items": piece, "minItems": 1}}
    ended = {**choice, "finish_reason": {"enum": [*FINISH_REASONS, None]}}
    part = {**ended, "delta": _object(delta, *delta)}
    del part["message"]
    head = {
        "id": _TEXT,
        "object": {"const": "chat.completion"},
        "created": _COUNT,
        "model": _TEXT,
        "system_fingerprint": _TEXT,
    }
    completion = {**head, "choices": {"type": "array", "items": _object(choice), "minItems": 1}, "usage": _usage()}
    chunk = {
        **head,
        "object": {"const": "chat.completion.chunk"},
        "choices": {"type": "array", "items": _object(part)},
        "usage": _or_null(_usage()),
    }
    error = {
        "message": _TEXT,
        "type": _TEXT,
        "param": texts,
        "code": texts,
        CHOICES: {"type": "array", "items": _object(ended), "minItems": 1},
    }
    model = _object({"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT})
    return {
        "ChatRequest": request,
        "ChatCompletion": _object(completion),
        "ChatCompletionChunk": _object(chunk, "usage"),
        "Model": model,
        "ModelList": _object({"object": {"const": "list"}, "data": {"type": "array", "items": _ref("Model")}}),
        "Status": _object({"status": {"enum": ["ok", "draining"]}}),
        "Error": _object({"error": _object(error, CHOICES)}),
    }


def _step() -> dict[str, Any]:
    """What the agent did, as one of `agentkit_steps`."""
    kinds: dict[str, dict[str, Any]] = {
        "call": {"id": _TEXT, "name": _TEXT, "arguments": _TEXT},
        "progress": {"id": _TEXT, "content": _TEXT},
        "result": {"id": _TEXT, "status": _TEXT, "content": _TEXT, "seconds": _SECONDS},
        "dropped": {"id": _TEXT},
        "agent": {"name": _TEXT},
        "retry": {"seconds": _SECONDS},
    }
    return {"anyOf": [_object({"index": _COUNT, "type": {"const": kind}, **fields}) for kind, fields in kinds.items()]}


def _usage() -> dict[str, Any]:
    prompt = ("cached_tokens", "text_tokens", "audio_tokens", "image_tokens")
    completion = ("text_tokens", "audio_tokens", "reasoning_tokens")
    return _object(
        {
            **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _COUNT),
            "prompt_tokens_details": _object(dict.fromkeys(prompt, _COUNT)),
            "completion_tokens_details": _object(dict.fromkeys(completion, _COUNT)),
        }
    )
