"""The places of an answer, in pydantic's own schema of its type, and the check of what stands at one of them."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from pydantic_core import SchemaValidator, ValidationError

from agentkit._json import dumps, is_array, is_object, loads
from agentkit.schema.problems import Findings, value_at


class Missing(Enum):
    """The type of MISSING."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING
"""What stands for a value that is not known yet."""
Known: TypeAlias = Any | Literal[Missing.MISSING]

_LENIENT: Final = json.JSONDecoder(strict=False)
_MOST_ROUNDS: Final = 8
_FAR: Final = 64
_INSIDE: Final = {
    "default": "schema",
    "nullable": "schema",
    "function-after": "schema",
    "function-before": "schema",
    "function-wrap": "schema",
    "model": "schema",
    "dataclass": "schema",
    "json-or-python": "json_schema",
    "lax-or-strict": "lax_schema",
    "custom-error": "schema",
}


class Place:
    """What may stand at one place of an answer: pydantic's schemas of it, each with the config that it is under.

    One without any takes whatever comes, as JSON has it.
    """

    def __init__(self, cores: list[tuple[Any, Any]], definitions: list[Any]) -> None:
        self._cores = cores
        self._definitions = definitions
        self._opened: list[tuple[Any, Any]] | None = None
        self._validators: list[SchemaValidator] | None = None
        self._inner: dict[str | int, tuple[str, Place] | None] = {}

    @property
    def kinds(self) -> list[tuple[Any, Any]]:
        """The schemas, with what is around them taken off and unions opened."""
        if self._opened is None:
            known = {core["ref"]: core for core in self._definitions if "ref" in core}
            self._opened = list(_opened(self._cores, known))
        return self._opened

    @property
    def takes_text(self) -> bool:
        """Whether a string that is not whole yet is a value already."""
        return not self._cores or any(core["type"] in ("str", "any") for core, _ in self.kinds)

    @property
    def is_anything(self) -> bool:
        """Whether nothing is known of what may stand here."""
        return not self._cores or any(core["type"] == "any" for core, _ in self.kinds)

    def field(self, key: str) -> tuple[str, Place] | None:
        """What a member of an object is called in Python, and its place; None for one that is not looked at."""
        if key not in self._inner:
            found = [field for core, config in self.kinds for field in _fields(core, config, key)]
            cores = [(core, config) for _, core, config in found if core is not None]
            if found:
                self._inner[key] = found[0][0], Place(cores, self._definitions)
            else:
                self._inner[key] = (key, Place([], [])) if self.is_anything else None
        return self._inner[key]

    def item(self, index: int) -> Place:
        """The place of an item of an array."""
        at = min(index, _FAR)  # further on, all are of one kind
        if at not in self._inner:
            cores = [(core, config) for kind, config in self.kinds for core in _items(kind, at)]
            self._inner[at] = "", Place(cores, self._definitions)
        found = self._inner[at]
        return found[1] if found is not None else self

    def without(self, key: str, text: str) -> Place:
        """The place without the members of a union that have no such field, or another value in it."""
        if len(self.kinds) < 2:
            return self
        kept: list[tuple[Any, Any]] = []
        for core, config in self.kinds:
            place = Place([(core, config)], self._definitions)
            field = place.field(key)
            if field is not None and field[1].read(text) is not MISSING:
                kept.append((core, config))
        return Place(kept, self._definitions) if 0 < len(kept) < len(self.kinds) else self

    def read(self, text: str) -> Known:
        """The value of a JSON text that is whole, or MISSING if it is not right here."""
        if not self._cores:
            return _lenient(text)
        if self._validators is None:
            self._validators = [_validator(core, config, self._definitions) for core, config in self._cores]
        for validator in self._validators:
            if (value := _checked(validator, text)) is not MISSING:
                return value
        return MISSING


def _validator(core: Any, config: Any, definitions: list[Any]) -> SchemaValidator:
    whole: Any = {"type": "definitions", "schema": core, "definitions": definitions} if definitions else core
    return SchemaValidator(whole, config)


def _checked(validator: SchemaValidator, text: str) -> Known:
    data: Any = None
    for _ in range(_MOST_ROUNDS):
        try:
            return validator.validate_json(text)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        except Exception:  # a validator of the user's type, which may need the other fields
            return MISSING
        if data is None:
            data = _lenient(text)
        if data is MISSING:
            return MISSING
        if errors[0]["type"] != "json_invalid" and not _without_nulls(data, Findings(errors, data)):
            return MISSING
        text = dumps(data).decode()
    return MISSING


def _without_nulls(data: Any, findings: Findings) -> bool:
    """Leave out what is null and must not be: it stands for a default. False if nothing was."""
    mended = False
    for path in findings.places:
        holder = value_at(data, path[:-1])
        key = str(path[-1]) if path else ""
        if is_object(holder) and holder.get(key, MISSING) is None:
            del holder[key]
            mended = True
    return mended


def _lenient(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        pass
    try:
        return _LENIENT.decode(text)
    except (ValueError, RecursionError):
        return MISSING


def _opened(cores: list[tuple[Any, Any]], known: dict[str, Any]) -> list[tuple[Any, Any]]:
    todo, found, seen = [*cores], list[tuple[Any, Any]](), set[str]()
    while todo:
        core, config = todo.pop(0)
        kind = core["type"]
        config = core.get("config", config)
        if kind == "definition-ref":
            if core["schema_ref"] not in seen:
                seen.add(core["schema_ref"])
                todo.insert(0, (known[core["schema_ref"]], config))
        elif kind in _INSIDE:
            todo.insert(0, (core[_INSIDE[kind]], config))
        elif kind == "chain":
            todo.insert(0, (core["steps"][0], config))
        elif kind == "union":
            # a choice is a schema, or one with its label
            todo[:0] = [(choice[0] if isinstance(choice, tuple) else choice, config) for choice in core["choices"]]
        elif kind == "tagged-union":
            todo[:0] = [(choice, config) for choice in core["choices"].values() if is_object(choice)]
        else:
            found.append((core, config))
    return found


def _fields(core: Any, config: Any, key: str) -> list[tuple[str, Any, Any]]:
    """The field of that key: its name, its schema, its config. No schema for what may be anything."""
    if core["type"] == "dict":
        return [(key, core.get("values_schema"), config)]
    given = core.get("fields", {})
    fields: dict[str, Any] = {field["name"]: field for field in given} if is_array(given) else given
    for name, field in fields.items():
        if key == name or key in _aliases(field.get("validation_alias")):
            return [(name, field["schema"], config)]
    return [(key, None, None)] if core.get("extra_behavior") == "allow" else []


def _aliases(alias: Any) -> list[str]:
    if alias is None:
        return []
    if isinstance(alias, str):
        return [alias]
    if all(isinstance(step, str | int) for step in alias):  # one path
        return [alias[0]] if len(alias) == 1 else []
    return [path[0] for path in alias if len(path) == 1]


def _items(core: Any, index: int) -> list[Any]:
    schema: Any = core.get("items_schema")
    if is_array(schema):  # a tuple's
        variadic = core.get("variadic_item_index")
        return schema[index : index + 1] if variadic is None or index < variadic else [schema[variadic]]
    return [] if schema is None else [schema]
