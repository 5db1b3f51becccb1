"""What an endpoint's refusal says that it does not know, and the dialect that does without.

A table of statuses, codes and wordings decides, and only of what was sent: nothing is left out by trial and error.
A feature is named as it stands on the wire: "strict", "stream_options", "response_format:json_schema", "max_tokens",
"developer", "message.reasoning_content", "schema.$ref", "tool_choice:required".
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_array, is_object
from agentkit.chat.request import STANDARD
from agentkit.chat.wording import occurs
from agentkit.errors import BadRequestError, ContentFilterError, ContextLengthError
from agentkit.schema.keywords import keywords_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentkit.chat.dialects import Dialect
    from agentkit.chat.wording import Wording
    from agentkit.errors import EndpointError

STATUSES: Final = frozenset({200, 400, 422, 500, 501})
"""With any other status the request was not read so far. llama.cpp says 500, and a gateway an error in a 200."""

CODES: Final = frozenset(
    {"unsupported_parameter", "unknown_parameter", "unsupported_value", "extra_forbidden", "not_supported_error"}
)
"""With these the name alone tells, whatever the wording."""

REFUSALS: Final[Wording] = (
    ("not supported",),
    ("unsupported",),
    ("not support",),  # does, do
    ("n't support",),
    ("not permitted",),
    ("not allowed",),
    ("unrecognized",),
    ("not recognized",),
    ("unknown name",),
    ("unknown parameter",),
    ("unknown field",),
    ("unknown argument",),
    ("unexpected keyword",),
    ("unexpected field",),
    ("was unexpected",),
    ("unavailable",),
    ("not available",),
    ("not implemented",),
)

ROLE_REFUSALS: Final[Wording] = (
    ("unknown variant",),
    ("is not one of",),
    ("does not match any of the expected tags",),
    ("supported values are",),
    ("invalid role",),
)
# A chat template that knows no such role does not name it.
TEMPLATES: Final[Wording] = (("unexpected message role",), ("unexpected role",))

_LENGTHS: Final = ("max_completion_tokens", "max_tokens")
_FORMAT_NAMES: Final = r"response[_ ]format|json_schema|json_object|structured outputs?"
# "In context=('properties', 'strict'), …": a place in the user's own schema, whose names mean nothing here.
_CONTEXT: Final = re.compile(r"in context=\([^)]*\)")


def lacking(error: EndpointError, sent: dict[str, Any], dialect: Dialect) -> str | None:
    """The feature of a request body that the endpoint's refusal is about; None if it is about none, or about one that
    is left out already."""
    if not isinstance(error, BadRequestError) or isinstance(error, ContextLengthError | ContentFilterError):
        return None
    if error.status not in STATUSES:
        return None
    text = _CONTEXT.sub(" ", str(error).lower())
    feature = next(_named(text, error.code in CODES, sent), None)
    return None if feature in dialect.learnt else feature


def without(dialect: Dialect, feature: str) -> Dialect:
    """The dialect of an endpoint, or a model of it, that does not know a feature."""
    learnt = (*dialect.learnt, feature)
    kind, _, name = feature.partition(".")
    match kind:
        case "strict":
            return replace(dialect, learnt=learnt, strict=False)
        case "parallel_tool_calls":
            return replace(dialect, learnt=learnt, parallel_tool_calls=False)
        case "stream_options":
            return replace(dialect, learnt=learnt, include_usage=False)
        case "developer":
            return replace(dialect, learnt=learnt, developer=False, system_role="system")
        case "max_tokens":
            return replace(dialect, learnt=learnt, max_tokens="max_completion_tokens")
        case "max_completion_tokens":
            return replace(dialect, learnt=learnt, max_tokens="max_tokens")
        case "message":
            return replace(dialect, learnt=learnt, echo={**dialect.echo, name: "never"})
        case "schema":
            return replace(dialect, learnt=learnt, schema_without=dialect.schema_without | {name})
        case _:
            return replace(dialect, learnt=learnt, unsupported=dialect.unsupported | {feature})


def _named(text: str, coded: bool, sent: dict[str, Any]) -> Iterator[str]:  # noqa: FBT001  # private, one caller
    """The features that a refusal names, the most certain first."""
    messages, tools = _objects(sent.get("messages")), _objects(sent.get("tools"))
    if any(message.get("role") == "developer" for message in messages):
        if occurs(TEMPLATES, text):
            yield "developer"
        named = _says(text, "developer") and "role" in text
        if named and (coded or occurs(REFUSALS, text) or occurs(ROLE_REFUSALS, text)):
            yield "developer"
    forced = sent.get("tool_choice") == "required" and re.search(r"\btool[_ ]choice\b", text) is not None
    if forced and (coded or occurs(REFUSALS, text) or occurs(ROLE_REFUSALS, text)):
        yield "tool_choice:required"
    if not coded and not occurs(REFUSALS, text):
        return
    for name in dict.fromkeys(_extra_fields(messages)):
        if _quotes(text, name.lower()):
            yield f"message.{name}"
    functions = [function for tool in tools if is_object(function := tool.get("function"))]
    if _says(text, "strict") and any("strict" in function for function in functions):
        yield "strict"
    if _says(text, "parallel_tool_calls") and "parallel_tool_calls" in sent:
        yield "parallel_tool_calls"
    if (_says(text, "stream_options") or _says(text, "include_usage")) and "stream_options" in sent:
        yield "stream_options"
    # the one that is named first is refused, the other is the advice
    lengths = sorted((found.start(), name) for name in _LENGTHS if (found := re.search(rf"\b{name}\b", text)))
    if lengths and lengths[0][1] in sent:
        yield lengths[0][1]
    given = sent.get("response_format")
    wanted = given.get("json_schema") if is_object(given) else None
    schemas = [function.get("parameters") for function in functions]
    for name in sorted(keywords_in([*schemas, wanted.get("schema") if is_object(wanted) else None])):
        if _quotes(text, name.lower()):
            yield f"schema.{name}"
    if is_object(given) and re.search(rf"\b(?:{_FORMAT_NAMES})\b", text):
        yield f"response_format:{given.get('type')}"


def _extra_fields(messages: list[dict[str, Any]]) -> Iterator[str]:
    for message in messages:
        if message.get("role") == "assistant":
            yield from message.keys() - STANDARD
            for call in _objects(message.get("tool_calls")):
                yield from call.keys() - {"id", "type", "function"}


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if is_object(item)] if is_array(value) else []


def _says(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _quotes(text: str, name: str) -> bool:
    """Whether a name that may be an ordinary word stands in quotes or at the end of a path."""
    return re.search(rf"['\"`.\[]{re.escape(name)}(?!\w)", text) is not None
