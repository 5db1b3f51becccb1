"""JSON, fast where it is regular and exact where it is not.

pydantic_core reads and writes JSON several times faster than the standard library, but refuses what models do send:
lone surrogates, and ints past its limits. What it refuses goes to the standard library, which takes both.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeGuard

from pydantic_core import PydanticSerializationError, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable


def loads(data: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError."""
    try:
        return from_json(data, cache_strings="keys")
    except (ValueError, TypeError):  # the latter for a string that holds a lone surrogate
        return _loads_slowly(data)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a parsed value is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a value is a list or a tuple."""
    return isinstance(value, list | tuple)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether a parsed value is a JSON array."""
    return isinstance(value, list)


def is_nested_deeper(value: Any, levels: int) -> bool:
    """Whether a parsed value has an array or object more than so many levels below it."""
    level, depth = [value], 0
    while depth <= levels and (level := [inner for outer in level for inner in _inside(outer)]):
        depth += 1
    return depth > levels


def _inside(value: Any) -> Iterable[Any]:
    if is_object(value):
        return value.values()
    return value if is_array(value) else ()


def _loads_slowly(data: bytes | str) -> Any:
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> bytes:
    """The JSON text of a value made of dicts, lists, strings, numbers, booleans and None. Raises ValueError."""
    try:
        return to_json(value, inf_nan_mode="constants")
    except PydanticSerializationError:
        return _dumps_slowly(value)


def _dumps_slowly(value: Any) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":")).encode("ascii")
    except (TypeError, RecursionError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None
