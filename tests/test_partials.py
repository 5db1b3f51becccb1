"""What is known of a typed answer while it comes: by every prefix of its JSON, and in a run that is streamed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel, field_validator
from tenacity import wait_none

from agentkit import Agent
from agentkit.chat.request import Request
from agentkit.errors import UsageError
from agentkit.flow import Steps
from agentkit.messages import Choice, Reply, assistant
from agentkit.model import Model
from agentkit.output import MISSING, Output
from agentkit.policy import Retries
from agentkit.testing import FakeEndpoint, call, calls, cut, say
from tests.answers import KINDS, Aliased, Cat, Colour, Dog, Invoice, Item, Point, Row, Tree
from tests.growth import doubling
from tests.scenarios import add
from tests.watching import agent_for

kinds = pytest.mark.parametrize(("of", "wrapped", "text", "value"), KINDS.values(), ids=KINDS)


def known_of(value: Any) -> Any:
    """A value as a partial one of an object: its fields, in a dict."""
    if isinstance(value, RootModel):
        return value.root
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return {**vars(value)} if dataclasses.is_dataclass(value) else value


def grows(before: Any, after: Any) -> bool:
    """Whether what was known before still holds."""
    if before is MISSING:
        return True
    before, after = known_of(before), known_of(after)
    if isinstance(before, dict):
        return isinstance(after, dict) and all(key in after and grows(before[key], after[key]) for key in before)
    if isinstance(before, list | tuple | set):
        return len(before) <= len(after) and (isinstance(after, set) or all(map(grows, before, after)))
    if isinstance(before, str) and isinstance(after, str):
        return after.startswith(before)
    return before == after


@kinds
def test_every_prefix_tells_what_is_known(of, wrapped, text, value):
    output = Output(of)
    growing = output.growing()
    told = MISSING
    for end in range(len(text) + 1):
        known = output.partial(text[:end])
        assert grows(told, known), (text[:end], told, known)
        assert growing.value == known
        growing.feed(text[end : end + 1])
        told = known
    assert told == (value if wrapped else {k: v for k, v in known_of(value).items() if k in told})
    if not wrapped:
        assert told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans(), st.data())
def test_any_json_grows_in_any_pieces(value, spaced, data):
    text = json.dumps({"value": value}, ensure_ascii=data.draw(st.booleans()), indent=1 if spaced else None)
    output = Output(Any)
    growing, told = output.growing(), MISSING
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=20)))
    for start, end in pairwise([0, *cuts, len(text)]):
        growing.feed(text[start:end])
        assert growing.value == output.partial(text[:end])
        assert grows(told, growing.value)
        told = growing.value
    assert told == json.loads(text)["value"]


@given(st.text('{}[]",:\\u0dD8 \n1e-.atrufl\ud83d', max_size=30))
def test_no_text_makes_a_partial_value_raise(text):
    for of in (Invoice, list[Item], str, Any, Cat | Dog):
        Output(of, mode="prompted").partial(text)


GROWING = {
    "nothing": (Invoice, "", MISSING),
    "an object's start": (Invoice, " {", {}),
    "a key in part": (Invoice, '{"ven', {}),
    "a key alone": (Invoice, '{"vendor":', {}),
    "text as far as it came": (Invoice, '{"vendor": "An', {"vendor": "An"}),
    "half an escape": (Point, '{"label": "a\\ud83d\\ud', {"label": "a"}),
    "a number that may go on": (Invoice, '{"total": 12', {}),
    "a number": (Invoice, '{"total": 12,', {"total": 12.0}),
    "half a date": (Invoice, '{"due": "2024-05-3', {}),
    "a date": (Invoice, '{"due": "2024-05-31"', {"due": date(2024, 5, 31)}),
    "half a choice": (Invoice, '{"state": "pai', {}),
    "a choice": (Invoice, '{"state": "paid"', {"state": "paid"}),
    "what is wrong": (Invoice, '{"total": -1, "vendor": 5, "state": "lost", "due": null}', {"due": None}),
    "what is unknown": (Invoice, '{"more": {"vendor": "x"}, "vendor": "An', {"vendor": "An"}),
    "null for a default": (Invoice, '{"items": [{"name": "a", "price": null}]', {"items": [Item(name="a")]}),
    "an item in part": (
        Invoice,
        '{"items": [{"name": "a"}, {"name": "b", "price": "3"',
        {"items": [Item(name="a"), {"name": "b", "price": Decimal(3)}]},
    ),
    "deep": (
        Tree,
        '{"value": 1, "branches": [{"value": 2, "branches": [{"val',
        {"value": 1, "branches": [{"value": 2, "branches": [{}]}]},
    ),
    "an alias": (Aliased, '{"fullName": "An', {"full_name": "An"}),
    "control characters": (Invoice, '{"vendor": "a\nb"', {"vendor": "a\nb"}),
    "words before": (Invoice, 'Here:\n```json\n{"vendor": "An', {"vendor": "An"}),
    "words alone": (Invoice, "I do not know", MISSING),
    "words that may be the answer": (str | Invoice, "I do not", "I do not"),
    "a bare list": (list[int], "[1, 2", [1]),
    "a bare object": (list[int] | Point, '{"x": 1, "y', {"x": 1}),
    "a bare object that is whole": (list[int] | Point, '{"x": 1}', Point(1)),
    "a bare string": (str, '"ab', "ab"),
    "a bare string that is whole": (Colour, '"red"', Colour.RED),
    "one of two": (Cat | Dog, '{"value": {"kind": "dog", "lives": 3, "name": "Re', {"kind": "dog", "name": "Re"}),
    "a tuple": (tuple[date, str], '{"value": ["2024-05-31", "a', [date(2024, 5, 31), "a"]),
    "a long tuple": (tuple[str, ...], '{"value": ["a", "b', ["a", "b"]),
    "values of a dict": (dict[str, date], '{"a": "2024-05-31", "b": "20', {"a": date(2024, 5, 31)}),
    "malformed": (Invoice, '{"vendor": "a", ?, "total": 3}', {"vendor": "a"}),
    "a wrong escape": (Invoice, '{"vendor": "a\\uZZZZ and so on', {"vendor": "a"}),
    "more after the end": (Row, '{"key": "a", "count": 1} {"key": "b"', {"key": "a", "count": 1}),
}


@pytest.mark.parametrize(("of", "text", "known"), GROWING.values(), ids=GROWING)
def test_what_is_known_so_far(of, text, known):
    assert Output(of).partial(text) == known


def test_a_validator_that_needs_the_rest_leaves_its_field_out():
    class Range(BaseModel):
        low: int
        high: int

        @field_validator("high")
        @classmethod
        def above(cls, high: int, info: Any) -> int:
            assert high >= info.data["low"]
            return high

    output = Output(Range)
    assert output.partial('{"low": 1, "high": 2}') == {"low": 1}
    assert output.read_text('{"low": 1, "high": 2}') == Range(low=1, high=2)


@pytest.mark.slow
def test_growing_is_linear_in_the_text():
    item = '{"name": "a plain name", "price": 3}, '

    def work(size: int) -> None:
        growing = Output(Invoice).growing()
        growing.feed('{"items": [')
        for _ in range(size):
            growing.feed(item)

    assert doubling(work, 2_000) < 3


# In a run


def partials_sync(agent: Agent[Any], **args: Any) -> tuple[list[Any], Any]:
    with agent.stream_sync("The bill?", **args) as run:
        return list(run.partials()), run.result.output


async def partials_async(agent: Agent[Any], **args: Any) -> tuple[list[Any], Any]:
    async with agent.stream("The bill?", **args) as run:
        return [known async for known in run.partials()], run.result.output


PARTIALS: dict[str, Callable[..., tuple[list[Any], Any]]] = {
    "sync": partials_sync,
    "asyncio": lambda agent, **args: asyncio.run(partials_async(agent, **args)),
    "trio": lambda agent, **args: trio.run(partial(partials_async, agent, **args)),
}
ways = pytest.mark.parametrize("partials", PARTIALS.values(), ids=PARTIALS)
BILL = ['{"vendor": "A', "nn", '", ', '"total": 3', ', "items": [{"na', 'me": "a"}', "]}"]
GROWN = [
    {"vendor": "A"},
    {"vendor": "Ann"},
    {"vendor": "Ann", "total": 3.0, "items": [{}]},
    {"vendor": "Ann", "total": 3.0, "items": [Item(name="a")]},
]
WHOLE = Invoice(vendor="Ann", total=3, items=[Item(name="a")])


@ways
def test_partials_of_an_answer_in_text(partials):
    with FakeEndpoint([say(BILL)]) as fake:
        assert partials(agent_for(fake, output=Invoice)) == (GROWN, WHOLE)


@ways
def test_partials_of_an_answer_by_a_tool(partials):
    with FakeEndpoint([calls(call("final_answer", vendor="Ann", total=3), text="So be it.")]) as fake:
        told, output = partials(agent_for(fake, output=Output(Invoice, mode="tool")))
    assert output == Invoice(vendor="Ann", total=3)
    assert told[-1] == {"vendor": "Ann", "total": 3.0}
    assert all(grows(before, after) and before != after for before, after in pairwise(told))


@ways
def test_partials_of_a_call_that_is_no_answer_are_not_told(partials):
    with FakeEndpoint([call("add", a=1, b=2), say(BILL)]) as fake:
        assert partials(agent_for(fake, [add], output=Invoice)) == (GROWN, WHOLE)


@ways
def test_a_correction_begins_the_partials_anew(partials):
    with FakeEndpoint([say(['{"vendor": "B', '", "total": "x"}']), say(BILL)]) as fake:
        told, output = partials(agent_for(fake, output=Invoice))
    assert (told, output) == ([{"vendor": "B"}, *GROWN], WHOLE)


@ways
def test_a_stream_that_broke_begins_the_partials_anew(partials):
    with FakeEndpoint([cut(say(BILL), after_events=3), say(BILL)]) as fake:
        agent = agent_for(fake, output=Invoice, model={"retries": Retries(2, wait=wait_none())})
        told, output = partials(agent, resume_stream=True)
    assert (told, output) == ([*GROWN[:2], *GROWN], WHOLE)


@ways
def test_partials_of_functions_are_the_arguments(partials):
    def pay(amount: int, to: str) -> str:
        """Pay a bill."""
        return f"{amount} to {to}"

    with FakeEndpoint([call("pay", amount=3, to="Ann")]) as fake:
        told, output = partials(agent_for(fake, output=pay))
    assert output == "3 to Ann"
    assert told[-1] == {"amount": 3, "to": "Ann"}


class Whole(Model):
    """Says all at once."""

    def flow(self, request: Request) -> Steps[Reply]:
        yield from ()
        text = '{"value": [1, 2]}'
        return Reply((Choice(assistant(text), text, finish_reason="stop"),))


@ways
def test_a_model_that_does_not_stream_has_one_partial_value(partials):
    told, output = partials(Agent(Whole(), output=list[int]))
    assert (told, output) == ([[1, 2]], [1, 2])


@ways
def test_null_is_a_value_that_is_known(partials):
    with FakeEndpoint([say(['{"value": ', "null", "}"])]) as fake:
        assert partials(agent_for(fake, output=int | None)) == ([None], None)


@ways
def test_plain_text_has_no_partials(partials):
    with FakeEndpoint([say("Hello.")]) as fake, pytest.raises(UsageError, match="use text"):
        partials(agent_for(fake))
