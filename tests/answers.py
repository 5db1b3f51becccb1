"""Types that an answer may be of, one of each kind."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, TypedDict

from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypedDict as OwnTypedDict


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str
    price: Decimal = Decimal(1)


class Invoice(BaseModel):
    """What a shop asks for."""

    vendor: str
    total: float = Field(description="With tax.", ge=0)
    due: date | None = None
    items: list[Item] = []
    state: Literal["open", "paid"] = "open"


@dataclasses.dataclass
class Point:
    """A place on the map."""

    x: int
    y: int = 0
    label: str = ""


class Row(TypedDict):
    """A line of a table."""

    key: str
    count: int


class OwnRow(OwnTypedDict, total=False):
    key: str


class Tree(BaseModel):
    value: int
    branches: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Aliased(BaseModel):
    full_name: str = Field(alias="fullName")


Names = RootModel[list[str]]
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
UserId = NewType("UserId", int)

# The type; whether it is wrapped; the JSON of the object that a model sends; the value.
KINDS: dict[str, tuple[Any, bool, str, Any]] = {
    "model": (
        Invoice,
        False,
        '{"vendor": "Ann", "total": 12.5, "due": "2024-05-31", "items": [{"name": "a", "price": 2}], "state": "paid"}',
        Invoice(
            vendor="Ann", total=12.5, due=date(2024, 5, 31), items=[Item(name="a", price=Decimal(2))], state="paid"
        ),
    ),
    "dataclass": (Point, False, '{"x": 1, "y": 20, "label": "caf\\u00e9 \\ud83d\\ude00"}', Point(1, 20, "café 😀")),
    "TypedDict of typing": (Row, False, '{"key": "a", "count": 2}', {"key": "a", "count": 2}),
    "TypedDict": (OwnRow, False, '{"key": "a"}', {"key": "a"}),
    "recursive": (
        Tree,
        False,
        '{"value": 1, "branches": [{"value": 2, "branches": []}]}',
        Tree(value=1, branches=[Tree(value=2)]),
    ),
    "alias": (Aliased, False, '{"fullName": "Ann"}', Aliased(fullName="Ann")),
    "dict": (dict[str, int], False, '{"a": 1, "b": 2}', {"a": 1, "b": 2}),
    "root model": (Names, True, '{"value": ["a", "b"]}', Names(["a", "b"])),
    "list": (list[int], True, '{"value": [1, 22, -3]}', [1, 22, -3]),
    "list of models": (list[Item], True, '{"value": [{"name": "a"}, {"name": "b"}]}', [Item(name="a"), Item(name="b")]),
    "tuple": (tuple[int, str], True, '{"value": [1, "a"]}', (1, "a")),
    "set": (set[str], True, '{"value": ["a", "b"]}', {"a", "b"}),
    "union of models": (Cat | Dog, True, '{"value": {"kind": "dog", "name": "Rex"}}', Dog(kind="dog", name="Rex")),
    "tagged union": (Pet, True, '{"value": {"kind": "cat", "lives": 9}}', Cat(kind="cat", lives=9)),
    "optional model": (Point | None, True, '{"value": null}', None),
    "Literal": (Literal["yes", "no"], True, '{"value": "yes"}', "yes"),
    "Enum": (Colour, True, '{"value": "red"}', Colour.RED),
    "int": (int, True, '{"value": 42}', 42),
    "constrained": (Annotated[int, Field(ge=1)], True, '{"value": 3}', 3),
    "NewType": (UserId, True, '{"value": 3}', 3),
    "bool": (bool, True, '{"value": true}', True),
    "float": (float, True, '{"value": 1.5e3}', 1500.0),
    "str": (str, True, '{"value": "a \\"word\\"\\n"}', 'a "word"\n'),
    "str or number": (str | int, True, '{"value": 5}', 5),
    "datetime": (datetime, True, '{"value": "2024-05-31T10:00:00"}', datetime(2024, 5, 31, 10)),  # noqa: DTZ001
    "Optional": (int | None, True, '{"value": null}', None),
    "Any": (Any, True, '{"value": {"a": [1]}}', {"a": [1]}),
}
