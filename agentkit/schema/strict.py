"""The strict form of a JSON Schema, as OpenAI's structured outputs take it.

Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

from typing import Any, Final, cast

_KEPT: Final = frozenset(
    "type description enum const pattern format multipleOf maximum exclusiveMaximum minimum exclusiveMinimum "
    "items minItems maxItems properties required additionalProperties anyOf $ref $defs".split()
)
_FORMATS: Final = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid".split())
# These decide which values are right; leaving one out would let through what was never meant.
_UNSPEAKABLE: Final = frozenset("allOf not if then else dependentRequired dependentSchemas patternProperties".split())
_SOME: Final = ("type", "anyOf", "enum", "const", "$ref")


class _NoStrictFormError(Exception):
    pass


def strict_form(schema: dict[str, Any]) -> dict[str, Any] | None:
    """A strict copy of a schema, or None where there is none: maps with free keys, values of any type.

    What may be left out becomes nullable.
    """
    try:
        return _strict(schema, schema.get("$defs", {}))
    except _NoStrictFormError:
        return None


def _strict(schema: Any, defs: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(schema, dict):  # true stands for any value, false for none
        raise _NoStrictFormError
    node: dict[str, Any] = {**cast("dict[str, Any]", schema)}
    if not _UNSPEAKABLE.isdisjoint(node):
        raise _NoStrictFormError
    if "$ref" in node and len(node) > 1:
        # A reference stands alone there, so what stands beside it is written into a copy of what it refers to.
        node = {**defs[node.pop("$ref").removeprefix("#/$defs/")], **node}
    node.pop("default", None)
    if "oneOf" in node:
        node["anyOf"] = node.pop("oneOf")
    if "prefixItems" in node:
        _spread_tuple(node)
    if node.get("format") not in _FORMATS:
        node.pop("format", None)
    node = {key: value for key, value in node.items() if key in _KEPT}
    if not any(key in node for key in _SOME):
        raise _NoStrictFormError
    if "anyOf" in node:
        node["anyOf"] = [_strict(each, defs) for each in node["anyOf"]]
    if "$defs" in node:
        node["$defs"] = {name: _strict(each, defs) for name, each in node["$defs"].items()}
    if node.get("type") == "array":
        node["items"] = _strict(node.get("items", {}), defs)
    if node.get("type") == "object":
        _close(node, defs)
    return node


def _spread_tuple(node: dict[str, Any]) -> None:
    kinds: list[Any] = []
    for kind in node["prefixItems"]:
        if kind not in kinds:
            kinds.append(kind)
    if kinds:
        node["items"] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _close(node: dict[str, Any], defs: dict[str, Any]) -> None:
    if "properties" not in node or node.get("additionalProperties", False) is not False:
        raise _NoStrictFormError
    required = node.get("required", ())
    node["properties"] = {
        name: _strict(each, defs) if name in required else _nullable(_strict(each, defs), defs)
        for name, each in node["properties"].items()
    }
    node["required"] = list(node["properties"])
    node["additionalProperties"] = False


def _nullable(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    target = defs.get(node.get("$ref", "").removeprefix("#/$defs/"), node)
    if any(each.get("type") == "null" for each in (target, *target.get("anyOf", ()))):
        return node
    outside = {"description": node.pop("description")} if "description" in node else {}
    choices = node["anyOf"] if node.keys() == {"anyOf"} else [node]
    return {"anyOf": [*choices, {"type": "null"}], **outside}
