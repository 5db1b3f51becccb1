"""Whether a JSON value is what a schema says, told in the endpoint's words. Only what the tables here use is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_array, is_object
from agentkit.serve.faults import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
_KINDS: Final = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "null": "null",
}


def check(schema: Mapping[str, Any], value: Any, param: str) -> None:
    """Raise Refused if the value is not what the schema says; `param` names the value."""
    for problem in _problems(schema, value, param):
        raise problem


def _problems(schema: Mapping[str, Any], value: Any, param: str) -> Iterator[Refused]:
    if "anyOf" in schema:
        yield from _any_of(schema["anyOf"], value, param)
        return
    kind = schema.get("type")
    if kind is not None and not is_kind(kind, value):
        yield _invalid(param, f"expected {_KINDS[kind]}, but got {kind_of(value)} instead", "invalid_type")
        return
    if "enum" in schema and not any(
        value is one or (value == one and type(value) is type(one)) for one in schema["enum"]
    ):
        known = ", ".join(_shown(one) for one in schema["enum"])
        yield _invalid(param, f"expected one of {known}, but got {_shown(value)} instead", "invalid_value")
        return
    if is_object(value):
        yield from _object(schema, value, param)
    elif is_array(value):
        yield from _array(schema, value, param)
    elif isinstance(value, str):
        yield from _string(schema, value, param)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(schema, value, param)


def is_kind(kind: str, value: Any) -> bool:
    """Whether a JSON value is of a type, by its name in JSON Schema."""
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def kind_of(value: Any) -> str:
    """What a JSON value is, in the words of an error."""
    return next(_KINDS[kind] for kind in _TYPES if is_kind(kind, value))


def _any_of(schemas: list[Mapping[str, Any]], value: Any, param: str) -> Iterator[Refused]:
    """The problems of the one that the value is meant to be: by its type, or what it calls itself."""
    kinds = [schema["type"] for schema in schemas]
    meant = [schema for schema in schemas if is_kind(schema["type"], value)]
    if not meant:
        expected = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
        yield _invalid(param, f"expected {expected}, but got {kind_of(value)} instead", "invalid_type")
    elif is_object(value):
        yield from _named(meant, value, param)
    else:
        yield from _problems(meant[0], value, param)


def _named(schemas: list[Mapping[str, Any]], value: dict[str, Any], param: str) -> Iterator[Refused]:
    key = next(key for key in ("role", "type") if key in schemas[0]["properties"])
    named = {name: schema for schema in schemas for name in schema["properties"][key]["enum"]}
    given = value.get(key)
    if isinstance(given, str) and given in named:
        yield from _problems(named[given], value, param)
    elif key not in value:
        yield _missing(inside(param, key))
    else:
        known = ", ".join(map(_shown, named))
        yield _invalid(inside(param, key), f"expected one of {known}, but got {_shown(given)} instead", "invalid_value")


def _object(schema: Mapping[str, Any], value: dict[str, Any], param: str) -> Iterator[Refused]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = schema.get("required", ())
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            if item is not None or name in required:
                yield from _problems(properties[name], item, inside(param, name))
        elif others is False:
            yield Refused(
                400,
                f"Unrecognized request argument supplied: {inside(param, name)[:200]}",
                param=inside(param, name)[:200],
                code="unknown_parameter",
            )
        elif others is not True:
            yield from _problems(others, item, inside(param, name))
    for name in required:
        if name not in value:
            yield _missing(inside(param, name))


def _array(schema: Mapping[str, Any], value: list[Any], param: str) -> Iterator[Refused]:
    if len(value) < schema.get("minItems", 0):
        yield _invalid(param, "expected an array that is not empty", "empty_array")
    most = schema.get("maxItems")
    if most is not None and len(value) > most:
        text = f"expected an array with at most {most} items, but got {len(value)} instead"
        yield _invalid(param, text, "array_above_max_length")
    items = schema.get("items", {})
    for index, item in enumerate(value):
        yield from _problems(items, item, f"{param}[{index}]")


def _string(schema: Mapping[str, Any], value: str, param: str) -> Iterator[Refused]:
    if len(value) < schema.get("minLength", 0):
        yield _invalid(param, "expected a string that is not empty", "empty_string")
    most = schema.get("maxLength")
    if most is not None and len(value) > most:
        text = f"expected a string of at most {most} characters, but got {len(value)} instead"
        yield _invalid(param, text, "string_above_max_length")
    pattern = schema.get("pattern")
    if pattern is not None and re.search(pattern.replace("$", r"\Z"), value) is None:
        yield _invalid(param, f"expected a string that matches the pattern {pattern}", "invalid_value")


def _number(schema: Mapping[str, Any], value: float, param: str) -> Iterator[Refused]:
    kind = "integer" if schema.get("type") == "integer" else "decimal"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and value < low:
        yield _invalid(
            param, f"expected a value of at least {low}, but got {_shown(value)} instead", f"{kind}_below_min_value"
        )
    if high is not None and value > high:
        yield _invalid(
            param, f"expected a value of at most {high}, but got {_shown(value)} instead", f"{kind}_above_max_value"
        )


def inside(param: str, name: str) -> str:
    """The name of a value inside another."""
    return f"{param}.{name}" if param else name


def _shown(value: Any) -> str:
    text = f"'{value}'" if isinstance(value, str) else "null" if value is None else str(value).lower()
    return text if len(text) <= 60 else f"{text[:60]}…"


def _missing(param: str) -> Refused:
    return Refused(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def _invalid(param: str, text: str, code: str) -> Refused:
    what = "type" if code == "invalid_type" else "value"
    return Refused(400, f"Invalid {what} for '{param}': {text}.", param=param, code=code)
