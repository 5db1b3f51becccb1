"""A JSON Schema without keywords that an endpoint does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_array, is_object

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Without these a schema says nothing: they are never left out.
_NEEDED: Final = frozenset({"type", "properties", "required", "items", "description", "enum"})
_BY_NAME: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
_DATA: Final = frozenset({"enum", "const", "default", "examples", "example", "required"})


def keywords_in(schema: object) -> set[str]:
    """The keywords of a schema and of those inside it that it can do without."""
    return {name for inner in _schemas(schema) for name in inner} - _NEEDED


def without_keywords(schema: Any, keywords: Collection[str]) -> Any:
    """A schema that means the same or less, without the keywords.

    What a "$ref" names is written in its place, and is anything where it would contain itself; a "const" becomes an
    "enum" of one.
    """
    definitions: dict[str, Any] = {}
    if is_object(schema):
        definitions = {
            f"#/{group}/{name}": inner
            for group in ("$defs", "definitions")
            if is_object(group_of := schema.get(group))
            for name, inner in group_of.items()
        }
    dropped = {*keywords, "$ref", "$defs", "definitions"} if {"$ref", "$defs"} & {*keywords} else {*keywords}
    return _without(schema, dropped, definitions, ())


def _without(schema: Any, dropped: set[str], definitions: dict[str, Any], inside: tuple[str, ...]) -> Any:
    if is_array(schema):
        return [_without(item, dropped, definitions, inside) for item in schema]
    if not is_object(schema):
        return schema
    kept: dict[str, Any] = {}
    reference = schema.get("$ref")
    if "$ref" in dropped and isinstance(reference, str) and reference in definitions and reference not in inside:
        kept |= _without(definitions[reference], dropped, definitions, (*inside, reference))
    for name, value in schema.items():
        if name == "const" and name in dropped:
            kept["enum"] = [value]
        if name in dropped:
            continue
        if name in _DATA:
            kept[name] = value
        elif name in _BY_NAME and is_object(value):
            kept[name] = {key: _without(inner, dropped, definitions, inside) for key, inner in value.items()}
        else:
            kept[name] = _without(value, dropped, definitions, inside)
    return kept


def _schemas(schema: object) -> Iterator[dict[str, Any]]:
    if is_array(schema):
        for item in schema:
            yield from _schemas(item)
    elif is_object(schema):
        yield schema
        for name, value in schema.items():
            if name in _BY_NAME and is_object(value):
                for inner in value.values():
                    yield from _schemas(inner)
            elif name not in _DATA:
                yield from _schemas(value)
