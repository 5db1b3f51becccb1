from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from agentkit.errors import BadArguments, UsageError
from agentkit.schema import describe

INT = {"type": "integer"}
NULL = {"type": "null"}


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    far: float = float("inf")


class Odd:
    def __repr__(self):
        return "Odd()"


ODD = Odd()
FAR = Point(1)


def defaults(
    a: int = 5,
    b: int = Field(5, ge=1, description="B."),
    c: int = None,  # what people write  # noqa: RUF013
    d: float = float("inf"),
    e: Any = ODD,
    f: list[str] = Field(default_factory=lambda: ["x"]),  # what pydantic makes of it is immutable  # noqa: B008
    g: Color = Color.BLUE,
    h: set[str] = {"b", "a"},  # noqa: B006
    i: Annotated[int, Field(ge=1, description="I.")] = None,  # noqa: RUF013
    j: Point = FAR,
    k: Annotated[int, Field(default=8)] = 9,
    m: Annotated[int, Field(default=10)] = Field(alias="em"),
    n: Point = None,
    o: int = Field(None, le=3),
    p: SkipJsonSchema[int] = 3,
    q: Path = Path("/q"),
):
    return a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q


def test_defaults():
    described = describe(defaults)
    properties = described.parameters["properties"]
    assert "required" not in described.parameters
    # Neither an object, nor infinity, nor a point that is infinitely far is JSON.
    assert {name: schema["default"] for name, schema in properties.items() if "default" in schema} == {
        "a": 5,
        "b": 5,
        "c": None,
        "g": "blue",
        "h": ["a", "b"],
        "i": None,
        "k": 9,
        "em": 10,
        "n": None,
        "o": None,
        "q": "/q",
    }
    assert properties["b"] == {"type": "integer", "minimum": 1, "description": "B.", "default": 5}
    assert properties["c"] == {"anyOf": [INT, NULL], "default": None}
    assert properties["i"] == {
        "anyOf": [{"type": "integer", "minimum": 1}, NULL], "description": "I.", "default": None
    }  # fmt: skip
    assert properties["n"] == {"anyOf": [{"$ref": "#/$defs/Point"}, NULL], "default": None}
    assert properties["o"] == {"anyOf": [{"type": "integer", "maximum": 3}, NULL], "default": None}
    assert "p" not in properties
    args, kwargs = described.validate("{}")
    result = defaults(*args, **kwargs)
    assert result[:4] == (5, 5, None, float("inf"))
    assert result[4] is ODD
    assert result[5:] == (["x"], Color.BLUE, {"a", "b"}, None, Point(1), 9, 10, None, None, 3, Path("/q"))
    for wrong in ('{"p": 1}', '{"b": 0}', '{"i": 0}', '{"o": 4}', '{"m": 1}'):
        with pytest.raises(BadArguments):
            described.validate(wrong)
    kwargs = described.validate('{"em": 1, "c": null, "o": null}')[1]
    assert (kwargs["m"], kwargs["c"], kwargs["o"]) == (1, None, None)


def regex(value: Annotated[str, Field(pattern="(?=a)")]): ...
def connection(value: sqlite3.Connection): ...
def callback(other: int, value: Callable[[int], int]): ...
def hidden(value: SkipJsonSchema[int]): ...
def number(value: 5): ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (connection, "annotated sqlite3.Connection, for which there is no JSON Schema (Unable to generate"),
        (callback, "annotated collections.abc.Callable[[int], int], for which there is no JSON Schema"),
        (regex, "look-around, including look-ahead and look-behind, is not supported"),
        (hidden, "a parameter that is hidden from the model needs a default"),
        (number, "annotated 5, for which there is no JSON Schema"),
    ],
)
def test_what_has_no_schema(function, told):
    with pytest.raises(UsageError) as error:
        describe(function)
    assert str(error.value).startswith(f"{function.__name__}: the parameter `value` is annotated ")
    assert told in str(error.value)
    assert "arbitrary_types" not in str(error.value) and "http" not in str(error.value)
    assert error.value.__cause__ is not None
