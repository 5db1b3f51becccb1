"""What becomes a tool, how it is called alone, and what may start together."""

from __future__ import annotations

import contextvars
import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from types import MethodType
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from agentkit import Agent, Context, Tool, ToolCall, ToolSpec, tool
from agentkit.errors import BadArguments, Cancelled, UsageError
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolcalls import startable
from agentkit.tools import as_tool, find_tool, tools_by_name
from agentkit.transcript import Pending

pytestmark = pytest.mark.anyio


def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return 2 * number


async def double_async(number: int) -> int:
    """Double a number."""
    await checkpoint()
    return 2 * number


def count(number: int) -> Iterator[int]:
    """Count up to twice a number."""
    yield from range(2 * number + 1)


def collect(number: int) -> Iterator[int]:
    """Count, and return something else."""
    yield 1
    return 2 * number


async def count_async(number: int) -> AsyncIterator[int]:
    """Count up to twice a number."""
    for each in range(2 * number + 1):
        yield each


class Doubler:
    """Doubles."""

    factor = 2

    def __call__(self, number: int) -> int:
        """Double a number."""
        return self.factor * number


class Box:
    """Methods of every kind, with the decorator above and below."""

    factor = 2

    @tool
    def method(self, number: int) -> int:
        """Double a number."""
        return self.factor * number

    @tool(name="renamed", description="Other words.")
    async def method_async(self, number: int) -> int:
        """Double a number."""
        return self.factor * number

    @tool
    @classmethod
    def class_below(cls, number: int) -> int:
        """Double a number."""
        return cls.factor * number

    @classmethod
    @tool
    def class_above(cls, number: int) -> int:
        """Double a number."""
        return cls.factor * number

    @tool
    @staticmethod
    def static_below(number: int) -> int:
        """Double a number."""
        return 2 * number

    @staticmethod
    @tool
    def static_above(number: int) -> int:
        """Double a number."""
        return 2 * number

    doubler = tool(Doubler())

    def plain(self, number: int) -> int:
        """Double a number."""
        return self.factor * number

    @classmethod
    def plain_class(cls, number: int) -> int:
        """Double a number."""
        return cls.factor * number


def multiply(number: int, factor: int) -> int:
    """Multiply."""
    return number * factor


box = Box()
KINDS: list[tuple[str, Any, str]] = [
    ("a function", double, "double"),
    ("a decorated function", tool(double), "double"),
    ("an async function", double_async, "double_async"),
    ("a generator", count, "count"),
    ("a generator that returns", collect, "collect"),
    ("an async generator", count_async, "count_async"),
    ("a callable object", Doubler(), "doubler"),
    ("a partial", functools.partial(multiply, factor=2), "multiply"),
    ("a partial of an async function", functools.partial(double_async), "double_async"),
    ("a decorated method", box.method, "method"),
    ("a decorated async method", box.method_async, "renamed"),
    ("a class method, decorated above", box.class_below, "class_below"),
    ("the same of the class", Box.class_below, "class_below"),
    ("a class method, decorated below", box.class_above, "class_above"),
    ("the same of the class ", Box.class_above, "class_above"),
    ("a static method, decorated above", box.static_below, "static_below"),
    ("the same of the class  ", Box.static_below, "static_below"),
    ("a static method, decorated below", box.static_above, "static_above"),
    ("a callable object in a class", box.doubler, "doubler"),
    ("a bound method", box.plain, "plain"),
    ("a bound class method", Box.plain_class, "plain_class"),
    ("what Python 3.13 makes of it", MethodType(vars(Box)["class_above"].__func__, Box), "class_above"),
]
kinds = pytest.mark.parametrize(("function", "name"), [case[1:] for case in KINDS], ids=[case[0] for case in KINDS])


@kinds
def test_every_kind_of_callable_is_a_tool(function: Any, name: str) -> None:
    made = as_tool(function)
    assert made.name == name
    assert list(made.parameters["properties"]) == ["number"]
    assert made.parameters["required"] == ["number"]
    assert made.call_sync('{"number": "3"}') == 6
    assert made.call_sync({"number": 3}) == 6
    assert made.call_sync(b'{"number": 3}') == 6
    with pytest.raises(BadArguments, match="number"):
        made.call_sync("{}")


@kinds
async def test_every_kind_of_callable_can_be_awaited(function: Any, name: str, anyio_backend: str) -> None:
    assert await as_tool(function).call('{"number": 3}') == 6


@kinds
def test_the_model_can_call_every_kind(function: Any, name: str) -> None:
    agent = Agent(ScriptedModel([call(name, number=3), say("done")]), tools=[function])
    assert agent.run_sync("x").tool_calls[0].result.content == "6"  # type: ignore[union-attr]


def test_a_tool_stays_the_function_that_it_was() -> None:
    made = tool(double)
    assert made(4) == 8
    assert made.__name__ == "double"
    assert made.__doc__ == double.__doc__
    assert inspect.signature(made) == inspect.signature(double)
    assert box.method(4) == 8
    assert Box.method(box, 4) == 8
    assert Box.class_above(4) == box.class_above(4) == 8
    assert Box.static_below(4) == box.static_above(4) == 8
    assert as_tool(made) is made
    assert repr(made) == "Tool('double')"


async def test_an_async_tool_stays_awaitable(anyio_backend: str) -> None:
    assert await box.method_async(4) == 8


def test_each_instance_has_its_own() -> None:
    other = Box()
    other.factor = 3
    assert (box.method.call_sync({"number": 1}), other.method.call_sync({"number": 1})) == (2, 3)


def test_name_and_description_can_be_given() -> None:
    made = tool(name="twice", description="Make it two.")(double)
    assert (made.name, made.description) == ("twice", "Make it two.")
    assert made.spec == ToolSpec("twice", "Make it two.", made.parameters)
    assert made.parameters["properties"]["number"]["description"] == "The number."
    assert (tool(double).name, tool(double).description) == ("double", "Double a number.")


def test_annotations_may_name_what_is_local() -> None:
    Sizes = dict[str, int]

    @tool
    def total(sizes: Sizes) -> int:
        """Add up."""
        return sum(sizes.values())

    assert total.call_sync('{"sizes": {"a": 1, "b": 2}}') == 3


def test_strict_asks_for_the_strict_form() -> None:
    made = tool(strict=True)(multiply)
    assert made.spec.data()["function"]["strict"] is True
    assert made.parameters["additionalProperties"] is False
    assert made.parameters["required"] == ["number", "factor"]
    assert "strict" not in tool(multiply).spec.data()["function"]


def free(**anything: int) -> int:
    """Take anything."""
    return sum(anything.values())


ERRORS: list[tuple[Callable[[], object], str]] = [
    (lambda: tool(3), "a tool is a function or another callable, not 3"),  # type: ignore[call-overload]
    (lambda: tool(staticmethod(3)), "a tool is a function or another callable, not 3"),  # type: ignore[arg-type]
    (lambda: as_tool("x"), "a tool is a function or a Tool, not str 'x'"),
    (lambda: tools_by_name([double, double]), "two tools are named 'double': rename one with @tool(name=…)"),
    (lambda: tool(attempts=0)(double), "tool double: attempts=0 must be 1 or more"),
    (lambda: tool(attempts=2)(double), "tool double: attempts=2 needs retry_on=, the errors that are worth a retry"),
    (lambda: tool(timeout_s=0)(double), "tool double: timeout_s=0 must be more than 0"),
    (lambda: tool(timeout_s=float("nan"))(double), "tool double: timeout_s=nan must be more than 0"),
    (lambda: tool(max_output_chars=0)(double), "tool double: max_output_chars=0 must be 1 or more"),
    (lambda: tool(external=True, keep_output=True)(double), "tool double: keep_output keeps what a function returns"),
    (lambda: tool(strict=True)(free), "tool free: strict=True, but its parameters have no strict form"),
    (lambda: tool(name="a b")(double), "'a b' cannot be a tool's name: 1 to 64 of a-z, A-Z, 0-9, _ and -"),
    (lambda: tool(lambda number: number), "a lambda has no name to call it by: give it one with name="),
]


@pytest.mark.parametrize(("make", "words"), ERRORS, ids=[words[:40] for _, words in ERRORS])
def test_what_cannot_be_a_tool_is_refused_when_it_is_made(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(words)


def whose(ctx: Context[str], number: int = 1) -> str:
    """Tell whom this is for."""
    return f"{ctx.deps} {number} {ctx.call.name} {ctx.cancelled}"


def test_the_context_reaches_the_tool_and_is_not_told_to_the_model() -> None:
    made = as_tool(whose)
    assert made.wants_context
    assert list(made.parameters["properties"]) == ["number"]
    assert made.call_sync({"number": 2}, deps="Ada") == "Ada 2 whose False"
    with pytest.raises(BadArguments):
        made.call_sync({"ctx": "me"})


async def test_the_context_reaches_an_awaited_tool(anyio_backend: str) -> None:
    assert await as_tool(whose).call(deps="Ada") == "Ada 1 whose False"


def test_progress_goes_nowhere_where_nobody_listens() -> None:
    context = Context(None, ToolCall("c", "whose"))
    context.progress("half")
    assert (context.allowed_s, context.deadline, context.idempotency_key, context.step) == (None, None, "", 0)
    context.cancel()
    assert context.cancelled
    with pytest.raises(Cancelled, match="no longer wanted"):
        context.progress("all")


async def test_an_async_tool_is_called_in_sync_where_a_loop_runs(anyio_backend: str) -> None:
    name = contextvars.ContextVar[str]("name")
    name.set("Ada")

    async def who() -> str:
        """Tell who."""
        return name.get()

    assert as_tool(who).call_sync() == "Ada"


def test_what_an_async_tool_raises_is_raised() -> None:
    async def fails() -> None:
        """Never works."""
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        as_tool(fails).call_sync()


# Names


TOOLS = tools_by_name(
    [
        Tool(double, name="get_weather"),
        Tool(double, name="Search"),
        Tool(double, name="read-file"),
        Tool(double, name="read_page"),
        Tool(double, name="Read_Page"),
    ]
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("get_weather", "get_weather"),
        ("functions.get_weather", "get_weather"),
        ("functions:get_weather", "get_weather"),
        ("tools/get_weather", "get_weather"),
        ("default_api.get-weather", "get_weather"),
        (" get_weather ", "get_weather"),
        ('"get_weather"', "get_weather"),
        ("`get_weather`", "get_weather"),
        ("GET_WEATHER", "get_weather"),
        ("get weather", "get_weather"),
        ("get_weather<|channel|>commentary", "get_weather"),
        ("get_weather(city='x')", "get_weather"),
        ('get_weather{"city": 1}', "get_weather"),
        ("search", "Search"),
        ("read_file", "read-file"),
        ("read_page", "read_page"),
        ("Read_Page", "Read_Page"),
        ("READ_PAGE", None),
        ("get_weather2", None),
        ("weather", None),
        ("", None),
        (" ", None),
        ("functions.", None),
        ("<|x|>", None),
    ],
)
def test_a_tool_is_found_under_what_models_add_to_its_name(name: str, found: str | None) -> None:
    made = find_tool(TOOLS, name)
    assert (made and made.name) == found


# What may start together


LOCKS = tools_by_name(
    [
        Tool(double, name="free"),
        Tool(double, name="alone", exclusive=True),
        Tool(double, name="db", exclusive="disk"),
        Tool(double, name="log", exclusive="disk"),
        Tool(double, name="net", exclusive="line"),
    ]
)


def waiting_calls(names: str, start: int = 0) -> list[Pending]:
    return [Pending(0, start + at, ToolCall("", name), "") for at, name in enumerate(names.split())]


@pytest.mark.parametrize(
    ("running", "waiting", "starts"),
    [
        ("", "free free unknown", "free free unknown"),
        ("free", "free", "free"),
        ("", "alone", "alone"),
        ("", "alone free", "alone"),
        ("", "free alone free", "free"),
        ("free", "alone free", ""),
        ("alone", "free alone", ""),
        ("", "db log free", "db free"),
        ("db", "log free net", "free net"),
        ("db", "log", ""),
        ("", "db net log db", "db net"),
        ("", "db alone net", "db"),
        ("", "", ""),
    ],
)
def test_which_calls_may_start(running: str, waiting: str, starts: str) -> None:
    chosen = startable(waiting_calls(waiting), set(waiting_calls(running, 100)), LOCKS)
    assert " ".join(pending.call.name for pending in chosen) == starts


def test_a_schema_is_told_as_it_is() -> None:
    (told,) = Agent(ScriptedModel([say("x")]), tools=[double]).tools.values()
    assert json.loads(told.spec.json()) == {
        "type": "function",
        "function": {
            "name": "double",
            "description": "Double a number.",
            "parameters": {
                "type": "object",
                "properties": {"number": {"type": "integer", "description": "The number."}},
                "required": ["number"],
                "additionalProperties": False,
            },
        },
    }
