from __future__ import annotations

import contextlib
import enum
import inspect
import json
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel
from pydantic_core import to_json

from agentkit.errors import BadArguments
from agentkit.schema import FunctionSchema, describe
from agentkit.testing.strict_schema import schema_problem


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(NamedTuple):
    left: int
    right: str


class Item(BaseModel):
    name: str
    count: int = 1
    inside: list[Item] = []


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTS = st.integers(-(2**80), 2**80)
ITEMS = st.recursive(
    st.builds(Item, name=TEXT, count=INTS),
    lambda inner: st.builds(Item, name=TEXT, count=INTS, inside=st.lists(inner, max_size=2)),
    max_leaves=4,
)
TYPES: list[tuple[Any, SearchStrategy[Any]]] = [
    (str, TEXT),
    (int, INTS),
    (float, st.floats(allow_nan=False)),
    (bool, st.booleans()),
    (int | None, st.none() | INTS),
    (Literal["a", "b", 3], st.sampled_from(["a", "b", 3])),
    (Color, st.sampled_from(Color)),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(-1000), timedelta(1000))),
    (UUID, st.uuids()),
    (bytes, TEXT.map(str.encode)),
    (Path, TEXT.filter(lambda text: "\0" not in text).map(Path)),
    (list[str], st.lists(TEXT, max_size=3)),
    (dict[str, int], st.dictionaries(TEXT, INTS, max_size=3)),
    (set[int], st.sets(INTS, max_size=3)),
    (frozenset[str], st.frozensets(TEXT, max_size=3)),
    (tuple[int, str], st.tuples(INTS, TEXT)),
    (Pair, st.builds(Pair, INTS, TEXT)),
    (Item, ITEMS),
    (list[Item], st.lists(ITEMS, max_size=2)),
    (inspect.Parameter.empty, st.none() | TEXT | INTS),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdefg", max_size=2), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["a", "self", "schema", "json", "args", "kwargs"]
KINDS = [
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
]
LEFT_OUT = object()


class Case(NamedTuple):
    parameters: list[inspect.Parameter]
    given: dict[str, Any]  # what the model sends
    expected: dict[str, Any]  # what the function gets, by parameter


@st.composite
def cases(draw) -> Case:
    """A signature with every kind of parameter in some number, and values for it."""
    names = draw(st.permutations(NAMES).map(lambda order: order[: draw(st.integers(0, 5))]))
    kinds = sorted(draw(st.lists(st.integers(0, 4), min_size=len(names), max_size=len(names))))
    parameters: list[inspect.Parameter] = []
    sent: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    needs_default = False
    for name, number in zip(names, kinds, strict=True):
        kind = KINDS[number]
        annotation, values = draw(st.sampled_from(TYPES))
        if any(parameter.kind is kind for parameter in parameters) and kind in (2, 4):
            continue
        if kind == inspect.Parameter.VAR_POSITIONAL:
            expected[name] = tuple(draw(st.lists(values, max_size=2)))
            if expected[name]:
                sent[name] = list(expected[name])
            parameters.append(inspect.Parameter(name, kind, annotation=annotation))
            continue
        if kind == inspect.Parameter.VAR_KEYWORD:
            expected[name] = draw(st.dictionaries(st.sampled_from(["x", "y", "z w"]), values, max_size=2))
            sent.update(expected[name])
            parameters.append(inspect.Parameter(name, kind, annotation=annotation))
            continue
        has_default = draw(st.booleans()) or (needs_default and kind < 2)
        needs_default = needs_default or has_default
        default = LEFT_OUT if has_default else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, annotation=annotation, default=default))
        expected[name] = LEFT_OUT if has_default and draw(st.booleans()) else draw(values)
        if expected[name] is not LEFT_OUT:
            sent[name] = expected[name]
    return Case(parameters, sent, expected)


def function_of(parameters: list[inspect.Parameter]) -> Any:
    """A real function with this signature, which returns what it got."""
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    text = str(inspect.Signature(bare)).replace(repr(LEFT_OUT), "LEFT_OUT")
    got = ", ".join(f"{parameter.name!r}: {parameter.name}" for parameter in parameters)
    namespace: dict[str, Any] = {"LEFT_OUT": LEFT_OUT}
    exec(f"def tool{text}: return {{{got}}}", namespace)
    function = namespace["tool"]
    for parameter in parameters:
        if parameter.annotation is not inspect.Parameter.empty:
            function.__annotations__[parameter.name] = parameter.annotation
    return function


@given(cases())
def test_values_go_round(case):
    function = function_of(case.parameters)
    described = describe(function)
    assert schema_problem(described.parameters, strict=False) is None
    if (strict := described.strict()) is not None:
        assert schema_problem(strict, strict=True) is None
    sent = to_json(case.given, inf_nan_mode="constants")
    once, twice = json.dumps(sent.decode()), sent + b"\n" + sent
    for form in (sent, sent.decode(), once, twice):
        args, kwargs = described.validate(form)
        assert function(*args, **kwargs) == case.expected


@given(cases(), st.dictionaries(st.sampled_from([*NAMES, "x"]), JSON, max_size=6), st.integers(0, 200), JSON)
def test_nothing_but_bad_arguments_comes_of_any_json(case, values, cut, whole):
    function = function_of(case.parameters)
    described = describe(function)
    text = json.dumps(values)
    told: list[tuple[str, ...]] = []
    for sent in (text, text[:cut], text + text[cut:], json.dumps(text), json.dumps(whole), values, text.encode()):
        try:
            args, kwargs = described.validate(sent)
        except BadArguments as error:
            told.append((*error.problems, str(error)))
        else:
            inspect.signature(function).bind(*args, **kwargs)
    assert all(len(problems) > 1 and "\n".join(problems).encode() for problems in told)


@given(cases(), st.text() | st.binary())
def test_nothing_but_bad_arguments_comes_of_any_text(case, text):
    described = describe(function_of(case.parameters))
    with contextlib.suppress(BadArguments):
        described.validate(text)


def test_what_is_told():
    def convert(amount: float, source: str, target: str = "EUR") -> float:
        """Convert money between currencies.

        Args:
            amount: How much, in the source currency.
            source: ISO 4217 code to convert from.
        """
        return amount

    described = describe(convert)
    assert isinstance(described, FunctionSchema)
    assert (described.name, described.description) == ("convert", "Convert money between currencies.")
    assert described.parameters == {
        "type": "object",
        "properties": {
            "amount": {"type": "number", "description": "How much, in the source currency."},
            "source": {"type": "string", "description": "ISO 4217 code to convert from."},
            "target": {"type": "string", "default": "EUR"},
        },
        "required": ["amount", "source"],
        "additionalProperties": False,
    }
    assert described == describe(convert)


def test_a_changed_schema_leaves_the_next_one_as_it_is():
    def tool(tags: list[str]): ...

    first = describe(tool)
    first.parameters["properties"]["tags"]["items"]["type"] = "integer"
    assert describe(tool).parameters["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert first.validate('{"tags": ["a"]}') == ((), {"tags": ["a"]})


@pytest.mark.parametrize("library", ["pydantic", "docstring_parser"])
def test_heavy_libraries_come_in_at_first_use(library):
    probe = f"import sys, agentkit.schema; sys.exit({library!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", probe], check=True, timeout=150)
