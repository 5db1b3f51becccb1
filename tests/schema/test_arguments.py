from __future__ import annotations

import json
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from pydantic import AfterValidator, AliasChoices, BaseModel, Field, field_validator

from agentkit.errors import BadArguments
from agentkit.schema import describe


@dataclass
class Order:
    item: str
    count: int = 1
    note: str = ""
    tags: list[str] = field(default_factory=list)


class Query(BaseModel):
    query: str


class Row(typing.TypedDict):
    id: int


def ping(): ...
def weather(city: str, days: int = 3, unit: Literal["C", "F"] = "C"): ...
def write(path: str, content: str): ...
def tag(labels: list[str], weights: dict[str, float] | None = None, count: int = 0): ...
def order(order: Order): ...
def search(query: Query): ...
def rows(rows: list[Row], one: Row | None = None): ...
def row(row: Row): ...
def maybe(order: Order | None = None): ...
def anything(value: Any, *rest: Any, **more: Any): ...
def scores(scores: dict[str, int]): ...
def numbers(a: int, b: float = 0.0): ...
def either(value: int | str, other: list[int] | str = ""): ...


BOOK = {"order": Order("book")}

# function, what the model sent, what the function gets
TAKEN = [
    (ping, "", {}),
    (ping, " \n", {}),
    (ping, "null", {}),
    (ping, "{}", {}),
    (ping, '""', {}),
    (ping, b"", {}),
    (ping, {}, {}),
    (weather, b'\xef\xbb\xbf{"city": "Paris"}', {"city": "Paris"}),
    (weather, '\ufeff {"city": "Paris"} \n', {"city": "Paris"}),
    (weather, {"city": "Paris", "days": "7"}, {"city": "Paris", "days": 7}),
    (weather, '{"city": "Paris", "days": "7"}', {"city": "Paris", "days": 7}),
    (weather, '{"city": "Paris", "days": 7.0}', {"city": "Paris", "days": 7}),
    (weather, '{"city": "Paris", "days": null, "unit": null}', {"city": "Paris"}),
    (weather, '"{\\"city\\": \\"Paris\\"}"', {"city": "Paris"}),
    (weather, '{"city":"Paris"}{"city":"Paris"}', {"city": "Paris"}),
    (weather, '{"city":"Paris"}\n\n{"city": "Paris"} {"city":"Paris"}\n', {"city": "Paris"}),
    (weather, '{"city": "a\nb\tc"}', {"city": "a\nb\tc"}),
    (weather, '{"city": "\\ud83d\\ude00"}', {"city": "😀"}),
    (weather, '{"city": "\\ud83d"}', {"city": "\ufffd"}),
    (weather, '{"city": "\ud83d"}', {"city": "\ufffd"}),
    (weather, '{"city": "\ud83d\ude00 \\\\ud83d"}', {"city": "😀 \\ud83d"}),
    (weather, b'{"city": "\xff"}', {"city": "\ufffd"}),
    (weather, {"city": "\ud83d"}, {"city": "\ufffd"}),
    (tag, '{"labels": ["\\udc00a"], "count": 1}', {"labels": ["\ufffda"], "count": 1}),
    (write, '{"path": "a.json", "content": "{\\"k\\": [1, 2]}"}', {"path": "a.json", "content": '{"k": [1, 2]}'}),
    (write, '{"path": "a", "content": "null"}', {"path": "a", "content": "null"}),
    (tag, '{"labels": "[\\"a\\", \\"b\\"]"}', {"labels": ["a", "b"]}),
    (tag, '{"labels": "\\"[\\\\\\"a\\\\\\"]\\""}', {"labels": ["a"]}),
    (tag, '{"labels": [], "weights": "{\\"a\\": \\"1.5\\"}"}', {"labels": [], "weights": {"a": 1.5}}),
    (tag, '{"labels": [], "weights": "null", "count": "1e2"}', {"labels": [], "weights": None, "count": 100}),
    (order, '{"order": {"item": "book"}}', BOOK),
    (order, '{"item": "book"}', BOOK),
    (order, '{"item": "book", "count": null, "tags": "[\\"a\\"]"}', {"order": Order("book", tags=["a"])}),
    (order, '{"order": "{\\"item\\": \\"book\\"}"}', BOOK),
    (order, '{"order": {"item": "book", "count": null, "note": null}}', BOOK),
    (order, {"item": "book"}, BOOK),
    (search, '{"query": {"query": "x"}}', {"query": Query(query="x")}),
    (search, '{"query": "x"}', {"query": Query(query="x")}),
    (row, '{"id": "1"}', {"row": {"id": 1}}),
    (maybe, '{"item": "book"}', BOOK),
    (maybe, "{}", {}),
    (
        rows,
        '{"rows": ["{\\"id\\": 1}", {"id": "2"}], "one": "{\\"id\\": 3}"}',
        {"rows": [{"id": 1}, {"id": 2}], "one": {"id": 3}},
    ),
    (anything, '{"value": "[1]"}', {"value": "[1]"}),
    (anything, '{"value": null, "more": "null"}', {"value": None, "more": "null"}),
    (
        numbers,
        '{"a": 123456789012345678901234567890, "b": 1e400}',
        {"a": 123456789012345678901234567890, "b": float("inf")},
    ),
    (either, '{"value": "7", "other": "[1]"}', {"value": "7", "other": "[1]"}),
]

# function, what the model sent, what it is told
REFUSED = [
    (ping, '{"x": 1}', ["`x` is unknown: there are no arguments here"]),
    (ping, "[1]", ["the arguments should be an empty object, not [1]"]),
    (weather, "", ["`city` is missing: it should be a string"]),
    (weather, '"Paris"', ['the arguments should be an object with `city`, `days` and `unit`, not "Paris"']),
    (weather, "7", ["the arguments should be an object with `city`, `days` and `unit`, not 7"]),
    (
        weather,
        '{"citty": "Paris"}',
        ["`city` is missing: it should be a string", "`citty` is unknown: did you mean `city`?"],
    ),
    (weather, '{"city": "P", "zzz": 1}', ["`zzz` is unknown: known are `city`, `days` and `unit`"]),
    (weather, '{"city": null}', ["`city` should be a string, not null"]),
    (
        weather,
        '{"city": ["P"], "days": "x", "unit": "K"}',
        [
            '`city` should be a string, not ["P"]',
            '`days` should be an integer, not "x"',
            '`unit` should be one of "C", "F", not "K"',
        ],
    ),
    (weather, '{"city": "Par', ["the arguments are cut off: their JSON ends too early"]),
    (weather, '{"city": "Paris"', ["the arguments are cut off: their JSON ends too early"]),
    (
        weather,
        "{'city': 'Paris'}",
        [
            (
                "the arguments are not JSON: Expecting property name enclosed in double quotes at character 1, "
                "in \"{'city': 'Paris'}\""
            ),
        ],
    ),
    (
        weather,
        '{"city": "Paris"}{"city": "Rome"}',
        ['the arguments should be one JSON object, but after it stands "{\\"city\\": \\"Rome\\"}"'],
    ),
    (weather, '{"city": "Paris"} done', ['the arguments should be one JSON object, but after it stands "done"']),
    (weather, {"city": object}, ["`city` should be a string, not <class 'object'>"]),
    (tag, '{"labels": "a, b"}', ['`labels` should be an array, not "a, b"']),
    (tag, '{"labels": "5"}', ["`labels` should be an array, not 5"]),
    (scores, '{"scores": {"bob": null}}', ["`scores.bob` should be an integer, not null"]),
    (order, '{"item": 1, "cuont": 2}', ["`order.item` should be a string, not 1"]),
    (
        order,
        '{"item": "b", "count": "x", "tags": [1, 2]}',
        [
            (
                '`order.count` should be an integer, not "x"; `order.tags[0]` should be a string, not 1; '
                "`order.tags[1]` should be a string, not 2"
            ),
        ],
    ),
    (order, "{}", ["`order` is missing: it should be an object with `item`, `count`, `note` and `tags`"]),
    (
        order,
        '{"odder": {"item": "b"}}',
        [
            "`order` is missing: it should be an object with `item`, `count`, `note` and `tags`",
            "`odder` is unknown: did you mean `order`?",
        ],
    ),
    (numbers, '{"a": NaN}', ["`a` should be an integer, not NaN"]),
    (numbers, '{"a": -Infinity}', ["`a` should be an integer, not -Infinity"]),
    (numbers, '{"a": ' + "9" * 5000 + "}", ["the arguments hold a number of too many digits"]),
    (numbers, '{"a": ' + "[" * 100_000 + "}", ["the arguments are nested too deeply"]),
    (anything, '{"value": ' + "[" * 300 + "]" * 300 + "}", ["the arguments are nested too deeply"]),
    (
        either,
        '{"value": [], "other": {}}',
        ["`value` should be an integer or a string, not []", "`other` should be an array or a string, not {}"],
    ),
]


@pytest.mark.parametrize(("function", "sent", "values"), TAKEN)
def test_taken(function, sent, values):
    args, kwargs = describe(function).validate(sent)
    assert (args, kwargs) == ((values.pop("value"),), values) if function is anything and args else ((), values)


@pytest.mark.parametrize(("function", "sent", "problems"), REFUSED)
def test_refused(function, sent, problems):
    with pytest.raises(BadArguments) as error:
        describe(function).validate(sent)
    assert list(error.value.problems) == problems
    assert error.value.tool == function.__name__
    assert str(error.value).splitlines() == [
        f"{function.__name__} was not run, its arguments are wrong:",
        *(f"- {problem}" for problem in problems),
    ]
    assert "http" not in str(error.value)


def test_a_double_encoded_value_that_does_not_fit_is_told_as_what_it_holds():
    with pytest.raises(BadArguments) as error:
        describe(tag).validate('{"labels": "[1]"}')
    assert error.value.problems == ("`labels[0]` should be a string, not 1",)


class Node(BaseModel):
    child: Node | None = None


def encoded(times: int) -> str:
    value = "{}"
    for _ in range(times):
        value = json.dumps({"child": value})
    return value


def test_encoded_again_and_again():
    def tool(child: Node): ...

    described = describe(tool, localns=locals())
    assert described.validate(encoded(7))[1]["child"].child is not None
    with pytest.raises(BadArguments, match="encoded again and again"):
        described.validate(encoded(11))


def test_what_is_no_json():
    described = describe(anything)
    value = object()
    assert described.validate({"value": value, "rest": (value,), "x": {1, 2}}) == ((value, value), {"x": {1, 2}})


def test_choices_and_names_are_told_in_short():
    def tool(letter: Literal[tuple("abcdefghijklmnop")], **more: int): ...

    with pytest.raises(BadArguments) as error:
        describe(tool, localns=locals()).validate('{"letter": "z", "more": "x"}')
    assert error.value.problems == (
        '`letter` should be one of "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", 4 more, not "z"',
        '`more` should be an integer, not "x"',
    )


def test_a_key_that_a_nested_object_does_not_know():
    class Closed(BaseModel):
        model_config = {"extra": "forbid"}
        colour: str = ""

    class Empty(BaseModel):
        model_config = {"extra": "forbid"}

    def tool(closed: Closed, empty: Empty): ...

    with pytest.raises(BadArguments) as error:
        describe(tool, localns=locals()).validate('{"closed": {"color": "red"}, "empty": {"x": 1}}')
    assert error.value.problems == (
        "`closed.color` is unknown: did you mean `colour`?",
        "`empty.x` is unknown: there are no fields here",
    )


Q = Field(alias="q")


def test_a_lone_object_by_its_alias():
    def tool(query: Query = Q): ...

    described = describe(tool)
    query = {"query": Query(query="x")}
    assert described.validate('{"q": {"query": "x"}}') == ((), query)
    assert described.validate('{"query": "x"}') == ((), query)


def test_aliases():
    def tool(a: int = Field(validation_alias=AliasChoices("first", "second"))): ...

    described = describe(tool)
    assert list(described.parameters["properties"]) == ["first"]
    assert described.validate('{"first": 1}') == described.validate('{"second": 1}') == ((), {"a": 1})


def test_much_that_is_wrong_is_told_in_short():
    described = describe(weather)
    with pytest.raises(BadArguments) as error:
        described.validate({f"x{index}": "y" * 1000 for index in range(500)})
    assert len(error.value.problems) == 21
    assert error.value.problems[-1] == "481 more arguments are wrong"
    with pytest.raises(BadArguments) as error:
        describe(tag).validate({"labels": list(range(1000))})
    (problem,) = error.value.problems
    assert problem.endswith("`labels[4]` should be a string, not 4; and more")
    with pytest.raises(BadArguments) as error:
        describe(numbers).validate({"a": "y" * 100_000})
    assert len(str(error.value)) < 250


def test_long_names_are_cut():
    with pytest.raises(BadArguments) as error:
        describe(numbers).validate({"a": 1, "n" * 100_000: 1})
    assert len(str(error.value)) < 250


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def _even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("must be even")
        return n


def positive(n: int) -> int:
    if n <= 0:
        raise AssertionError("must be positive")
    return n


def buggy(n: int) -> int:
    raise KeyError(n)


def test_validators_of_the_callers_types():
    def tool(even: Even, n: typing.Annotated[int, AfterValidator(positive)]): ...

    described = describe(tool)
    assert described.validate('{"even": {"n": 2}, "n": 1}') == ((), {"even": Even(n=2), "n": 1})
    with pytest.raises(BadArguments) as error:
        described.validate('{"even": {"n": 1}, "n": 0}')
    assert error.value.problems == ("`even.n` is 1: must be even", "`n` is 0: must be positive")


def test_a_validator_that_fails_is_told_by_its_type():
    def tool(n: typing.Annotated[int, AfterValidator(buggy)]): ...

    with pytest.raises(BadArguments, match="could not be checked: KeyError") as error:
        describe(tool).validate('{"n": 1}')
    assert isinstance(error.value.__cause__, KeyError)
