from __future__ import annotations

import json
import typing
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from agentkit.schema import describe
from agentkit.schema.strict import strict_form
from agentkit.testing.strict_schema import schema_problem


class Kind(Enum):
    A = "a"


class Node(BaseModel):
    value: int
    next: Node | None = None


@dataclass
class Cat:
    kind: Literal["cat"]
    lives: int = 9


@dataclass
class Dog:
    kind: Literal["dog"]


def nothing(): ...
def simple(a: int, b: str = "b", c: int | None = None): ...
def constrained(a: Annotated[str, Field(min_length=2, pattern="^a", examples=["ab"])], p: Path, d: date): ...
def collections(a: list[int], b: set[int], c: tuple[int, str], d: tuple[int, int] = (1, 2)): ...
def referred(kind: Kind = Kind.A, *, node: Annotated[Node, Field(description="First.")], more: Node): ...
def chosen(pet: Annotated[Cat | Dog, Field(discriminator="kind")]): ...
def repeated(*values: float): ...


NULL = {"type": "null"}
INT = {"type": "integer"}
NODE = {
    "type": "object",
    "properties": {"value": INT, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, NULL]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("function", "properties"),
    [
        (nothing, {}),
        (
            simple,
            {"a": INT, "b": {"anyOf": [{"type": "string"}, NULL]}, "c": {"anyOf": [INT, NULL]}},
        ),
        (
            constrained,
            {
                "a": {"type": "string", "pattern": "^a"},
                "p": {"type": "string"},
                "d": {"type": "string", "format": "date"},
            },
        ),
        (
            collections,
            {
                "a": {"type": "array", "items": INT},
                "b": {"type": "array", "items": INT},
                "c": {"type": "array", "items": {"anyOf": [INT, {"type": "string"}]}, "minItems": 2, "maxItems": 2},
                "d": {"anyOf": [{"type": "array", "items": INT, "minItems": 2, "maxItems": 2}, NULL]},
            },
        ),
        (
            referred,
            {
                "kind": {"anyOf": [{"type": "string", "enum": ["a"]}, NULL]},
                "node": {**NODE, "description": "First."},
                "more": {"$ref": "#/$defs/Node"},
            },
        ),
        (chosen, {"pet": {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}}),
        (repeated, {"values": {"anyOf": [{"type": "array", "items": {"type": "number"}}, NULL]}}),
    ],
)
def test_strict(function, properties):
    described = describe(function)
    before = json.dumps(described.parameters)
    strict = described.strict()
    assert strict is not None
    assert strict["properties"] == properties
    assert strict["required"] == list(properties)
    assert strict["additionalProperties"] is False
    assert schema_problem(strict, strict=True) is None
    assert json.dumps(described.parameters) == before
    assert schema_problem(described.parameters, strict=False) is None


def test_null_stands_for_a_default():
    def tool(pet: Cat, n: int = 3): ...

    described = describe(tool, localns=locals())
    assert described.validate('{"pet": {"kind": "cat", "lives": null}, "n": null}') == ((), {"pet": Cat("cat", 9)})


def free_keys(a: dict[str, int]): ...
def any_value(a: Any): ...
def bare_list(a: list): ...
def more(**more: int): ...
def no_annotation(a): ...
def nested(a: list[dict[str, typing.Any]]): ...
def odd(a: Annotated[int, Field(json_schema_extra={"not": {"const": 3}})]): ...


@pytest.mark.parametrize("function", [free_keys, any_value, bare_list, more, no_annotation, nested, odd])
def test_what_has_no_strict_form(function):
    assert describe(function).strict() is None


def test_a_schema_that_is_true():
    assert strict_form({"type": "object", "properties": {"a": True}}) is None
