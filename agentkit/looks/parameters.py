"""The parameters of a tool as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from agentkit._json import dumps, is_list, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Parameter(NamedTuple):
    """One of a tool's parameters; `default` is "required", the default as JSON, or ''."""

    name: str
    type: str
    default: str
    description: str


def parameters_in(schema: Mapping[str, Any]) -> Iterator[Parameter]:
    """Those that a JSON Schema of a tool's arguments has."""
    properties = schema.get("properties")
    required = schema.get("required")
    needed: list[Any] = list(required) if is_list(required) else []
    for name, described in (properties if is_object(properties) else {}).items():
        told = described if is_object(described) else {}
        given = dumps(told["default"]).decode("utf-8", "replace") if "default" in told else ""
        default = "required" if name in needed else given
        yield Parameter(str(name), type_of(described), default, str(told.get("description") or ""))


def parameters_of(schema: Mapping[str, Any]) -> Iterator[str]:
    """Each parameter with its type, those that may be left out in brackets."""
    for each in parameters_in(schema):
        shown = f"{each.name}: {each.type}"
        yield shown if each.default == "required" else f"[{shown}]"


def type_of(schema: object) -> str:
    """A JSON Schema's type in few words."""
    if not is_object(schema):
        return "anything"
    if is_list(words := schema.get("enum")):
        return " | ".join(repr(word) for word in words[:5]) + (" | …" if len(words) > 5 else "")
    if is_list(several := schema.get("anyOf")):
        return " | ".join(map(type_of, several))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"array of {type_of(schema.get('items'))}"
    return " | ".join(map(str, kind)) if is_list(kind) else str(kind)
