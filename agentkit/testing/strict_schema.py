"""What the strictest endpoint would refuse in the JSON Schema of a tool or an output, in OpenAI's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_array, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_NESTED: Final = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = ("items", "additionalProperties", "not", "if", "then", "else", "propertyNames", "contains")
_NOT_STRICT: Final = (
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "prefixItems",
    "contains",
    "uniqueItems",
    "default",
)
_MAX_DEPTH: Final = 100
_STRICT_FORMATS: Final = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")


def schema_problem(schema: Any, *, strict: bool, any_root: bool = False) -> str | None:
    """The first thing that is wrong with a schema, or None.

    `strict` asks for the form that strict mode takes. The root must be an object, but for `any_root` without `strict`.
    """
    if not is_object(schema):
        return f"{schema!r} is not of type 'object'."
    if schema.get("type") != "object" and (strict or not any_root):
        got = schema.get("type", "None")
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{got}\"'."
    return next(_problems(schema, (), schema, strict=strict), None)


def _problems(schema: Any, path: tuple[str, ...], root: Mapping[str, Any], *, strict: bool) -> Iterator[str]:
    where = f"In context={path!r}, "
    if isinstance(schema, bool) and not strict:
        return
    if len(path) > _MAX_DEPTH:
        yield f"In context={path[:8]!r}, schema is nested too deeply."
        return
    if not is_object(schema):
        yield f"{where}{schema!r} is not of type 'object', 'boolean'."
        return
    yield from (where + problem for problem in _own(schema, root))
    if strict:
        yield from (where + problem for problem in _own_strict(schema))
    for key in _NESTED:
        for name, inner in _mapping(schema.get(key)).items():
            yield from _problems(inner, (*path, key, name), root, strict=strict)
    for key in _LISTED:
        inners = schema.get(key, [])
        if not is_array(inners) or (key in schema and not inners):
            yield f"{where}{inners!r} is not a non-empty array in '{key}'."
            continue
        for index, inner in enumerate(inners):
            yield from _problems(inner, (*path, key, str(index)), root, strict=strict)
    for key in _SINGLE:
        if key in schema and not (key == "additionalProperties" and isinstance(schema[key], bool)):
            yield from _problems(schema[key], (*path, key), root, strict=strict)


def _own(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[str]:
    """What no endpoint that checks schemas would take."""
    kind = schema.get("type")
    kinds = kind if is_array(kind) else [kind]
    if "type" in schema and not (kinds and all(isinstance(each, str) and each in _TYPES for each in kinds)):
        yield f"{kind!r} is not valid under any of the given schemas."
    if "array" in kinds and not schema.keys() & {"items", "prefixItems"}:
        yield "array schema missing items."
    required = schema.get("required", [])
    if not is_array(required) or not all(isinstance(each, str) for each in required):
        yield f"{required!r} is not of type 'array' of strings in 'required'."
    elif len(set(required)) < len(required):
        yield f"{required!r} has non-unique elements."
    if "properties" in schema and not is_object(schema["properties"]):
        yield f"{schema['properties']!r} is not of type 'object'."
    if "enum" in schema and not (is_array(schema["enum"]) and schema["enum"]):
        yield f"{schema['enum']!r} is not a non-empty array in 'enum'."
    if "$ref" in schema and not _resolves(schema["$ref"], root):
        yield f"reference to component '{schema['$ref']}' which was not found in the schema."
    for key in ("description", "title"):
        if not isinstance(schema.get(key, ""), str):
            yield f"{schema[key]!r} is not of type 'string' in '{key}'."


def _own_strict(schema: Mapping[str, Any]) -> Iterator[str]:
    """What strict mode refuses on top."""
    for key in _NOT_STRICT:
        if key in schema:
            yield f"'{key}' is not permitted."
    if "$ref" in schema and (beside := schema.keys() - {"$ref", "$defs", "definitions"}):
        yield f"$ref cannot have keywords {sorted(beside)!r}."
    if not schema.keys() & {"type", "anyOf", "$ref", "enum", "const"}:
        yield "schema must have a 'type' key."
    if "format" in schema and schema["format"] not in _STRICT_FORMATS:
        yield f"'{schema['format']}' is not a valid format."
    kind = schema.get("type")
    if kind == "object" or (is_array(kind) and "object" in kind) or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            yield "'additionalProperties' is required to be supplied and to be false."
        properties, required = _mapping(schema.get("properties")), schema.get("required", [])
        if missing := [name for name in properties if name not in required]:
            yield (
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0]}'."
            )
        if extra := [name for name in required if name not in properties]:
            yield f"'required' is required to be an array of keys in 'properties'. Extra required key '{extra[0]}'."


def _resolves(reference: Any, root: Mapping[str, Any]) -> bool:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    place: Any = root
    for name in reference[1:].split("/")[1:]:
        if not is_object(place):
            return False
        place = place.get(name.replace("~1", "/").replace("~0", "~"))
    return is_object(place)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if is_object(value) else {}
