from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, Required, TypeVar, Union
from uuid import UUID

import pytest
import typing_extensions
from pydantic import BaseModel, Field

from agentkit.errors import BadArguments
from agentkit.schema import describe

T = TypeVar("T")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: int
    y: float = 0.5
    far: float = float("inf")
    tags: list[str] = field(default_factory=list)


class Person(typing.TypedDict):
    name: str
    age: NotRequired[int]


class Options(typing_extensions.TypedDict, total=False):
    depth: Required[int]
    width: int


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Box(BaseModel, Generic[T]):
    item: T


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    barks: bool


POINT = {
    "type": "object",
    "properties": {
        "x": {"type": "integer"},
        "y": {"type": "number", "default": 0.5},
        "far": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["x"],
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}
OPTIONS = {
    "type": "object",
    "properties": {"depth": {"type": "integer"}, "width": {"type": "integer"}},
    "required": ["depth"],
}
PAIR = {
    "type": "array",
    "prefixItems": [{"type": "integer"}, {"type": "string", "default": "r"}],
    "minItems": 1,
    "maxItems": 2,
}
NODE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "default": []},
    },
    "required": ["value"],
}
BOX = {"type": "object", "properties": {"item": {"type": "integer"}}, "required": ["item"]}
CAT = {
    "type": "object",
    "properties": {"kind": {"const": "cat", "type": "string"}, "lives": {"type": "integer"}},
    "required": ["kind", "lives"],
}
DOG = {
    "type": "object",
    "properties": {"kind": {"const": "dog", "type": "string"}, "barks": {"type": "boolean"}},
    "required": ["kind", "barks"],
}
NULL = {"type": "null"}
TEXT = {"type": "string"}
INT = {"type": "integer"}
ID = "12345678-1234-4678-9234-567812345678"
NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)

# annotation, schema, definitions, JSON that fits, the value it becomes, JSON that does not fit, what is told
TYPES = {
    "str": (str, TEXT, {}, '"a"', "a", "1", "should be a string, not 1"),
    "int": (int, INT, {}, '"7"', 7, '"x"', 'should be an integer, not "x"'),
    "int of a float": (int, INT, {}, "7.0", 7, "7.5", "should be an integer, not 7.5"),
    "int of NaN": (int, INT, {}, "-1", -1, "NaN", "should be an integer, not NaN"),
    "float": (float, {"type": "number"}, {}, "1", 1.0, '"x"', 'should be a number, not "x"'),
    "bool": (bool, {"type": "boolean"}, {}, '"true"', True, "2", "should be true or false, not 2"),
    "None": (None, NULL, {}, "null", None, "1", "should be null, not 1"),
    "Any": (Any, {}, {}, '{"a": [1]}', {"a": [1]}, None, None),
    "Literal": (
        Literal["a", 1],
        {"enum": ["a", 1]},
        {},
        "1",
        1,
        '"b"',
        'should be one of "a", 1, not "b"',
    ),
    "Enum": (
        Color,
        {"$ref": "#/$defs/Color"},
        {"Color": {"enum": ["red", "blue"], "type": "string"}},
        '"red"',
        Color.RED,
        '"pink"',
        'should be one of "red", "blue", not "pink"',
    ),
    "IntEnum": (
        Level,
        {"$ref": "#/$defs/Level"},
        {"Level": {"enum": [1, 2], "type": "integer"}},
        '"2"',
        Level.HIGH,
        "3",
        "should be one of 1, 2, not 3",
    ),
    "Optional": (
        Optional[int],  # both spellings are to work  # noqa: UP045
        {"anyOf": [INT, NULL]},
        {},
        "null",
        None,
        '"x"',
        'should be an integer, not "x"',
    ),
    "union": (
        int | list[str],
        {"anyOf": [INT, {"type": "array", "items": TEXT}]},
        {},
        '["a"]',
        ["a"],
        "{}",
        "should be an integer or an array, not {}",
    ),
    "discriminated union": (
        Annotated[Union[Cat, Dog], Field(discriminator="kind")],  # as above  # noqa: UP007
        {
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
            "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}},
        },
        {"Cat": CAT, "Dog": DOG},
        '{"kind": "dog", "barks": true}',
        Dog(kind="dog", barks=True),
        '{"kind": "cow"}',
        'kind` should be "cat" or "dog", not "cow"',
    ),
    "dataclass": (
        Point,
        {"$ref": "#/$defs/Point"},
        {"Point": POINT},
        '{"x": 1}',
        Point(1),
        '{"y": 1}',
        "x` is missing: it should be an integer",
    ),
    "TypedDict of typing": (
        Person,
        {"$ref": "#/$defs/Person"},
        {"Person": PERSON},
        '{"name": "a"}',
        {"name": "a"},
        '{"name": "a", "age": "old"}',
        'age` should be an integer, not "old"',
    ),
    "list of TypedDict | None": (
        Annotated[list[Person] | None, Field(min_length=1)],
        {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Person"}, "minItems": 1}, NULL]},
        {"Person": PERSON},
        '[{"name": "a", "age": "3"}]',
        [{"name": "a", "age": 3}],
        "[]",
        "should have at least 1 item, not []",
    ),
    "TypedDict with Required": (
        Options,
        {"$ref": "#/$defs/Options"},
        {"Options": OPTIONS},
        '{"depth": 1}',
        {"depth": 1},
        '{"width": 1}',
        "depth` is missing: it should be an integer",
    ),
    "NamedTuple": (
        Pair,
        {"$ref": "#/$defs/Pair"},
        {"Pair": PAIR},
        "[1]",
        Pair(1),
        '["a"]',
        '[0]` should be an integer, not "a"',
    ),
    "recursive model": (
        Node,
        {"$ref": "#/$defs/Node"},
        {"Node": NODE},
        '{"value": 1, "children": [{"value": 2}]}',
        Node(value=1, children=[Node(value=2)]),
        '{"value": 1, "children": [{"value": "x"}]}',
        'children[0].value` should be an integer, not "x"',
    ),
    "generic model": (
        Box[int],
        {"$ref": "#/$defs/Box_int_"},
        {"Box_int_": BOX},
        '{"item": 1}',
        Box[int](item=1),
        '{"item": "x"}',
        'item` should be an integer, not "x"',
    ),
    "list of models": (
        list[Cat],
        {"type": "array", "items": {"$ref": "#/$defs/Cat"}},
        {"Cat": CAT},
        '[{"kind": "cat", "lives": 9}]',
        [Cat(kind="cat", lives=9)],
        '{"kind": "cat"}',
        "should be an array, not",
    ),
    "datetime": (
        datetime,
        {"type": "string", "format": "date-time"},
        {},
        '"2024-05-31T12:00:00Z"',
        NOON,
        '"noon"',
        'should be a date and time such as "2024-05-31T14:30:00Z", not "noon"',
    ),
    "date": (
        date,
        {"type": "string", "format": "date"},
        {},
        '"2024-05-31"',
        date(2024, 5, 31),
        '"31/05"',
        'should be a date such as "2024-05-31", not "31/05"',
    ),
    "time": (
        time,
        {"type": "string", "format": "time"},
        {},
        '"12:30"',
        time(12, 30),
        '"noon"',
        'should be a time such as "14:30:00", not "noon"',
    ),
    "timedelta": (
        timedelta,
        {"type": "string", "format": "duration"},
        {},
        '"PT1H"',
        timedelta(hours=1),
        '"an hour"',
        'should be a duration such as "PT1H30M", not "an hour"',
    ),
    "UUID": (UUID, {"type": "string", "format": "uuid"}, {}, f'"{ID}"', UUID(ID), '"1"', "should be a UUID such as"),
    "bytes": (bytes, {"type": "string", "format": "binary"}, {}, '"é"', "é".encode(), "1", "should be a string, not 1"),
    "Path": (
        Path,
        {"type": "string", "format": "path"},
        {},
        '"/tmp/a"',
        Path("/tmp/a"),
        "1",
        "should be a path, as a string, not 1",
    ),
    "tuple": (
        tuple[int, str],
        {"type": "array", "prefixItems": [INT, TEXT], "minItems": 2, "maxItems": 2},
        {},
        '["1", "a"]',
        (1, "a"),
        "[1]",
        "[1]` is missing: it should be a string",
    ),
    "tuple of any length": (
        tuple[int, ...],
        {"type": "array", "items": INT},
        {},
        "[1, 2]",
        (1, 2),
        "1",
        "should be an array, not 1",
    ),
    "set": (
        set[int],
        {"type": "array", "uniqueItems": True, "items": INT},
        {},
        "[1, 1]",
        {1},
        "{}",
        "should be an array, not {}",
    ),
    "frozenset": (
        frozenset[str],
        {"type": "array", "uniqueItems": True, "items": TEXT},
        {},
        '["a"]',
        frozenset("a"),
        "[1]",
        "[0]` should be a string, not 1",
    ),
    "dict": (
        dict[str, int],
        {"type": "object", "additionalProperties": INT},
        {},
        '{"a": "1"}',
        {"a": 1},
        '{"a": "x"}',
        'a` should be an integer, not "x"',
    ),
    "bare list": (list, {"type": "array", "items": {}}, {}, "[1]", [1], "1", "should be an array, not 1"),
    "bare dict": (
        dict,
        {"type": "object", "additionalProperties": True},
        {},
        '{"a": 1}',
        {"a": 1},
        "[]",
        "should be an object, not []",
    ),
    "dict by int": (
        dict[int, str],
        {"type": "object", "additionalProperties": TEXT},
        {},
        '{"1": "a"}',
        {1: "a"},
        '{"a": "b"}',
        "its key does not fit: should be a valid integer",
    ),
    "Field": (
        Annotated[int, Field(ge=1, description="How many.")],
        {"type": "integer", "minimum": 1, "description": "How many."},
        {},
        "1",
        1,
        "0",
        "should be greater than or equal to 1, not 0",
    ),
    "plain string in Annotated": (
        Annotated[int, "How many."],
        {"type": "integer", "description": "How many."},
        {},
        "1",
        1,
        "[]",
        "should be an integer, not []",
    ),
    "plain string in Annotated | None": (
        Annotated[Point, "Where."] | None,
        {"anyOf": [{"$ref": "#/$defs/Point"}, NULL], "description": "Where."},
        {"Point": POINT},
        "null",
        None,
        "[]",
        "should be an object with `x`, `y`, `far` and `tags`, not []",
    ),
    "pattern": (
        Annotated[str, Field(pattern="^a+$")],
        {"type": "string", "pattern": "^a+$"},
        {},
        '"aa"',
        "aa",
        '"b"',
        "should match pattern '^a+$', not \"b\"",
    ),
}


def taking(annotation: Any, ran: list[Any]) -> Callable[..., Any]:
    def tool(value):
        ran.append(value)

    tool.__annotations__["value"] = annotation
    return tool


@pytest.mark.parametrize(("annotation", "schema", "defs", "good", "value", "bad", "told"), TYPES.values(), ids=TYPES)
def test_types(annotation, schema, defs, good, value, bad, told):
    ran: list[Any] = []
    tool = taking(annotation, ran)
    for _ in range(2):  # the second time from what is kept of the first
        described = describe(tool)
        assert described.parameters == {
            "type": "object",
            "properties": {"value": schema},
            "required": ["value"],
            "additionalProperties": False,
            **({"$defs": defs} if defs else {}),
        }
        args, kwargs = described.validate(f'{{"value": {good}}}')
        tool(*args, **kwargs)
        assert ran.pop() == value
        if bad is not None:
            with pytest.raises(BadArguments) as error:
                tool(*described.validate(f'{{"value": {bad}}}'))
            assert len(error.value.problems) == 1
            assert error.value.problems[0].startswith("`value")
            assert told in error.value.problems[0]
        assert ran == []


def test_decimal():
    described = describe(taking(Decimal, []))
    number, text = described.parameters["properties"]["value"]["anyOf"]
    assert (number, text["type"]) == ({"type": "number"}, "string")
    assert described.validate('{"value": "1.10"}')[1] == {"value": Decimal("1.10")}
    with pytest.raises(BadArguments, match='`value` should be a decimal number, not "x"'):
        described.validate('{"value": "x"}')
