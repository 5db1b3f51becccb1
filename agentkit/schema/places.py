"""Where in a JSON Schema a value stands, and what is wanted there, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from agentkit._json import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable

Path: TypeAlias = tuple[str | int, ...]
Schema: TypeAlias = dict[str, Any]

_WORDS: Final = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_FORMATS: Final = {
    "date-time": 'a date and time such as "2024-05-31T14:30:00Z"',
    "date": 'a date such as "2024-05-31"',
    "time": 'a time such as "14:30:00"',
    "duration": 'a duration such as "PT1H30M"',
    "uuid": 'a UUID such as "123e4567-e89b-12d3-a456-426614174000"',
    "path": "a path, as a string",
    "binary": "a string",
}
_MOST_CHOICES: Final = 12
_LONGEST_VALUE: Final = 80


def schemas_at(root: Schema, path: Path) -> list[Schema]:
    """Every schema that applies to the value at a path: references followed, unions opened."""
    found = _opened([root], root)
    for key in path:
        found = _opened((inner for schema in found for inner in _inside(schema, key)), root)
    return found


def may_be_left_out(root: Schema, path: Path) -> bool:
    """Whether the value at a path is a named one that its object can do without."""
    return any(
        path[-1] in schema.get("properties", ()) and path[-1] not in schema.get("required", ())
        for schema in schemas_at(root, path[:-1])
    )


def names_at(root: Schema, path: Path) -> list[str]:
    """The names that the object at a path knows."""
    return list(dict.fromkeys(name for schema in schemas_at(root, path) for name in schema.get("properties", ())))


def takes_text(root: Schema, path: Path) -> bool:
    """Whether a string is a right kind of value at a path, or anything is."""
    return any(_takes_text(schema) for schema in schemas_at(root, path))


def _takes_text(schema: Schema) -> bool:
    if "enum" in schema or "const" in schema:
        return any(isinstance(value, str) for value in [*schema.get("enum", ()), schema.get("const")])
    kind = schema.get("type")
    return kind is None or "string" in (kind if isinstance(kind, list) else [kind])


def _opened(schemas: Iterable[Schema], root: Schema) -> list[Schema]:
    todo, found, seen = [*schemas], list[Schema](), set[str]()
    while todo:
        schema = todo.pop(0)
        if (reference := schema.get("$ref")) is not None:
            if reference not in seen:
                seen.add(reference)
                todo.insert(0, root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {}))
        elif choices := [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]:
            todo[:0] = choices
        else:
            found.append(schema)
    return found


def _inside(schema: Schema, key: str | int) -> Iterable[Schema]:
    inner: Any  # true and false are schemas too
    if isinstance(key, str):
        inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    else:
        heads = schema.get("prefixItems", ())
        inner = heads[key] if key < len(heads) else schema.get("items")
    return (cast("Schema", inner),) if isinstance(inner, dict) else ()


def wanted(schemas: Iterable[Schema]) -> str:
    """What such a schema takes, in words; "" where it takes anything."""
    words = list(dict.fromkeys(map(_word, schemas)))
    if not words or "" in words:
        return ""
    if len(words) > 1 and "null" in words:
        words.remove("null")
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _word(schema: Schema) -> str:
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if choices:
        shown = [short(choice) for choice in choices[:_MOST_CHOICES]]
        if len(choices) > _MOST_CHOICES:
            shown.append(f"{len(choices) - _MOST_CHOICES} more")
        return shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"
    kind = schema.get("type")
    if kind == "object" and (names := schema.get("properties")):
        return f"an object with {listed(names)}"
    if kind == "string" and "format" in schema:
        return _FORMATS.get(schema["format"], f"a string in the format {schema['format']}")
    return _WORDS.get(str(kind), "")


def listed(names: Iterable[str]) -> str:
    """Names in backquotes, as a list in a sentence."""
    quoted = [f"`{short(name, quoted=False)}`" for name in names]
    if len(quoted) > _MOST_CHOICES:
        quoted = [*quoted[:_MOST_CHOICES], f"{len(quoted) - _MOST_CHOICES} more"]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def short(value: Any, *, quoted: bool = True) -> str:
    """A value as JSON, cut where it is long."""
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "…"
    if isinstance(value, str) and not quoted:
        return value
    try:
        text = dumps(value).decode()
    except ValueError:
        text = repr(value)
    return text if len(text) <= _LONGEST_VALUE + 8 else text[:_LONGEST_VALUE] + "…"
