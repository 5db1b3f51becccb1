"""Groups of tools: what they offer when, under which names, and what a search has found."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import pytest

from agentkit import Agent
from agentkit.context import Context
from agentkit.errors import Cancelled, UsageError
from agentkit.messages import ToolCall, ToolSpec
from agentkit.testing import ScriptedModel, call
from agentkit.tools import Tool, tool
from agentkit.toolsets import Searchable, Toolset, offered
from tests.drivers import DRIVERS, Driver, outcome
from tests.offering import context, names, performed, tools_of


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@tool(read_only=True)
def look(path: str) -> str:
    """Look at a file."""
    return path


# What is in a set


def test_functions_tools_specs_and_dicts_become_tools() -> None:
    spec = ToolSpec("asked", "Ask.", {"type": "object", "properties": {}})
    wire = ToolSpec("answered", "Answer.").data()
    toolset = Toolset([add, look, spec, wire, Toolset([multiply])])
    static = toolset.static
    assert static is not None
    assert [(made.name, made.external) for made in static] == [
        ("add", False),
        ("look", False),
        ("asked", True),
        ("answered", True),
        ("multiply", False),
    ]
    assert performed(toolset.offer(context())) == ([made.name for made in static], [])


@pytest.mark.parametrize("wrong", [add, 3, "add", {"type": "function"}], ids=["function", "number", "text", "dict"])
def test_what_is_no_list_of_tools_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"a Toolset takes a list of tools, and a function that loads them as load=; "):
        Toolset(wrong)


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(UsageError, match="a tool is a function or a Tool, not int 3"):
        Toolset([add, 3])


@pytest.mark.parametrize(
    ("make", "whose"),
    [
        (lambda: Toolset([add, add]), "both of the tools add, add"),
        (lambda: Toolset([add], name="one") + Toolset([add], name="two"), "one of toolset 'one', one of toolset 'two'"),
        (lambda: Toolset([multiply, add, Toolset([add])]), "one of the tools multiply, add, one of the tools add"),
        (lambda: Toolset([add, multiply], name="m").renamed({"add": "multiply"}), "both of toolset 'm'"),
        (lambda: Toolset([multiply, look, Searchable([add], name="look")]), "one of Searchable 'look'"),
        (lambda: Searchable([look, add], always=["add"]) + Toolset([add]), "one of Searchable 'search_tools', one of"),
    ],
)
def test_a_name_that_is_taken_is_told_at_once_with_both_sets(make: Any, whose: str) -> None:
    with pytest.raises(UsageError, match=f"two tools are named '.*{whose}.*: give one another name with @tool"):
        make()


def test_names_may_meet_in_sets_that_are_never_offered_together() -> None:
    fast, slow = Toolset([add], name="fast"), Toolset([add], name="slow")
    both = fast.when(lambda ctx: ctx.deps) + slow.when(lambda ctx: not ctx.deps)
    assert names(both, deps=True) == names(both, deps=False) == ["add"]
    with pytest.raises(UsageError, match="'add', one of toolset 'fast', one of toolset 'slow'"):
        names(fast.when(lambda: True) + slow.when(lambda: True))


# What the moment decides


async def load_async(ctx: Context[list[Any]]) -> list[Any]:
    return ctx.deps


@pytest.mark.parametrize("load", [lambda ctx: ctx.deps, load_async], ids=["sync", "async"])
def test_tools_are_loaded_before_each_request(load: Any) -> None:
    toolset = Toolset([look], name="files", load=load)
    assert toolset.static is None
    assert [made.name for made in toolset.known] == ["look"]
    assert repr(toolset) == "Toolset('files': look, what is loaded)"
    assert names(toolset, deps=[add, ToolSpec("ask").data()]) == ["look", "add", "ask"]
    assert names(toolset, deps=[]) == ["look"]
    with pytest.raises(UsageError, match="'look', both of toolset 'files'"):
        names(toolset, deps=[look])


def test_a_load_function_of_nothing() -> None:
    def shelf() -> Iterable[Any]:
        return add, multiply

    assert performed(Toolset(load=shelf).offer(context())) == (["add", "multiply"], ["shelf"])


@pytest.mark.parametrize("wrong", [None, 3, "add", {"name": "add"}], ids=repr)
def test_what_is_loaded_has_to_be_a_list_of_tools(wrong: Any) -> None:
    def shelf() -> Any:
        return wrong

    with pytest.raises(UsageError, match="shelf has to load a list of tools, not "):
        names(Toolset(load=shelf))


@pytest.mark.parametrize(
    "fail",
    [
        lambda function: Toolset(load=function),
        lambda function: Toolset([add]).when(function),
        lambda function: Toolset([add]).filtered(lambda ctx, _: function(ctx)),
        lambda function: Toolset([tool(enabled=function)(add)]),
    ],
    ids=["load", "when", "filtered", "enabled"],
)
def test_a_function_that_fails_is_named(fail: Any) -> None:
    def gone(ctx: Context[None]) -> Any:
        raise problem

    problem: Exception = ConnectionError("no line")
    offering = fail(gone).offer(context())
    name = next(offering).target.name
    with pytest.raises(UsageError, match=f"{name} failed with ConnectionError: no line") as raised:
        offering.throw(problem)
    assert raised.value.__cause__ is problem
    offering = fail(gone).offer(context())
    next(offering)
    with pytest.raises(Cancelled):
        offering.throw(Cancelled("no longer wanted"))


def test_each_tool_is_asked_whether_it_is_enabled() -> None:
    async def on_fridays(ctx: Context[str]) -> bool:
        return ctx.deps == "Friday"

    rest = tool(name="rest", enabled=on_fridays)(look.function)
    never = tool(name="never", enabled=False)(look.function)
    toolset = Toolset([add, rest, never])
    assert toolset.static is None
    assert [made.name for made in toolset.known] == ["add", "rest", "never"]
    assert performed(toolset.offer(context("Friday"))) == (["add", "rest"], ["on_fridays"])
    assert performed(toolset.offer(context("Monday"))) == (["add"], ["on_fridays"])
    assert performed(offered([rest, Toolset([add]), never], context("Friday"))) == (["rest", "add"], ["on_fridays"])
    assert [made.name for made in Toolset([add, never]).static or ()] == ["add"]


def test_a_condition_holds_for_the_whole_set() -> None:
    asked: list[str] = []

    def load() -> list[Any]:
        asked.append("load")
        return [multiply]

    toolset = Toolset([add], load=load).when(lambda ctx: ctx.deps)
    assert toolset.static is None
    assert (names(toolset, deps=False), asked) == ([], [])
    assert (names(toolset, deps=True), asked) == (["add", "multiply"], ["load"])


# What is changed


def of_numbers(made: Tool) -> bool:
    return "a" in made.parameters["properties"]


def of_the_moment(ctx: Context[str], made: Tool) -> bool:
    return made.name == ctx.deps


async def slowly(made: Tool) -> bool:
    return of_numbers(made)


@pytest.mark.parametrize(
    ("keep", "deps", "left", "static"),
    [
        (of_numbers, None, ["add", "multiply"], ["add", "multiply"]),
        (slowly, None, ["add", "multiply"], None),
        (of_the_moment, "look", ["look"], None),
        (lambda ctx, made: made.read_only and ctx.deps, True, ["look"], None),
    ],
    ids=["sync", "async", "context", "lambda"],
)
def test_filters(keep: Any, deps: Any, left: list[str], static: list[str] | None) -> None:
    for toolset in (Toolset([add, look, multiply]), Toolset(load=lambda: [add, look, multiply])):
        assert names(toolset.filtered(keep), deps) == left
    made = Toolset([add, look, multiply]).filtered(keep).static
    assert (None if made is None else [each.name for each in made]) == static


def test_names_change_in_sets_of_every_kind() -> None:
    loaded = Toolset([add], load=lambda: [multiply]).when(lambda: True)
    assert names(loaded.prefixed("math_").renamed({"math_multiply": "times"})) == ["math_add", "times"]
    filtered = Toolset([add, multiply]).filtered(of_the_moment).prefixed("math_")
    assert [made.name for made in filtered.known] == ["math_add", "math_multiply"]
    assert names(filtered, deps="add") == ["math_add"]
    assert names(Toolset([add]).prefixed("a").filtered(of_the_moment).prefixed("b"), deps="aadd") == ["baadd"]
    assert names(Toolset([add])) == ["add"]  # the set itself stays as it was


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda each: each.renamed({"ad": "plus"}), r"renamed\(\): there is no tool 'ad' .*; the nearest is 'add'"),
        (lambda each: each.renamed({"add": "a b"}), "'a b' cannot be a tool's name"),
        (lambda each: each.prefixed("a/"), "'a/x' cannot be a tool's name"),
        (lambda each: each.prefixed("a" * 62), "a{62}add' cannot be a tool's name"),
        (lambda each: each.filtered(3), "the filter is a function, not 3"),
        (lambda each: each.when(True), "the condition is a function, not True"),
        (lambda each: each.filtered(lambda: True), "the filter <lambda> takes 0 arguments"),
        (lambda each: each.with_options(timeout_s=0), "tool with_options: timeout_s=0 must be more than 0"),
        (lambda each: each.with_options(attempts=2), "attempts=2 needs retry_on="),
        (lambda each: each.with_options(name="x"), r"with_options\(\) takes no 'name'; it takes timeout_s, "),
        (lambda each: Searchable(each, always=["mul"]), "always=: there is no tool 'mul' in the toolset"),
        (lambda each: Searchable(each, top=0), "Searchable: top=0 must be 1 or more"),
        (lambda each: Searchable(each, name="a b"), "'a b' cannot be a tool's name"),
    ],
)
def test_what_cannot_be_is_told_at_once(change: Any, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        change(Toolset([add, multiply]))


def test_a_prefix_that_no_name_can_have_is_told_before_the_tools_are_loaded() -> None:
    with pytest.raises(UsageError, match="'é-x' cannot be a tool's name"):
        Toolset(load=list).prefixed("é-")
    assert names(Toolset(load=lambda: [add]).renamed({"of another day": "x"})) == ["add"]


def test_options_are_put_on_every_tool_and_on_copies_of_them() -> None:
    def refuse(made: ToolCall) -> None:
        raise AssertionError(made)

    def allow(made: ToolCall) -> None:
        """Let it pass."""

    guarded = tool(guards=[allow], on_unknown="fail")(multiply)
    toolset = Toolset([add, guarded, look], load=lambda: [Tool(add, name="loaded")])
    changed = toolset.with_options(approval=True, timeout_s=3, guards=[refuse], retry_on=OSError, attempts=2)
    made = tools_of(changed)
    assert [(each.approval, each.timeout_s, each.retry_on, each.attempts) for each in made] == [
        (True, 3, (OSError,), 2)
    ] * 4
    functions = [[guard.before.function for guard in each.guards if guard.before] for each in made]
    assert functions == [[refuse], [refuse, allow], [refuse], [refuse]]
    assert [each.on_unknown for each in made] == ["ask", "fail", "retry", "ask"]
    assert made[0].call_sync('{"a": 1, "b": 2}') == 3
    assert (guarded.approval, len(guarded.guards)) == (False, 1)


def test_what_becomes_of_lost_calls_follows_what_the_tools_do() -> None:
    made = Toolset([add, look]).with_options(read_only=True).known
    assert [each.on_unknown for each in made] == ["retry", "retry"]
    made = Toolset([add, look]).with_options(read_only=False).known
    assert [each.on_unknown for each in made] == ["ask", "ask"]
    made = Toolset([look]).with_options(read_only=False, on_unknown="fail").known
    assert [each.on_unknown for each in made] == ["fail"]


def test_only_sets_are_added() -> None:
    with pytest.raises(TypeError):
        operator.add(Toolset([add]), [multiply])


# In a run


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
def test_each_request_offers_what_there_is_at_the_moment(driver: Driver) -> None:
    async def load(ctx: Context[Any]) -> list[Any]:
        return [multiply] if ctx.usage.total_tokens else []

    def late(ctx: Context[Any]) -> bool:
        return any(message["role"] == "tool" for message in ctx.transcript.messages)

    model = ScriptedModel([call("multiply", a=2, b=3), call("math_add", a=1, b=2), "Done."])
    toolset = Toolset(load=load) + Toolset([add]).prefixed("math_").when(late)
    result = driver(Agent(model, tools=[look, toolset]), "Go on.")
    told = [record.result.content for record in result.tool_calls if record.result]
    assert told == ["There is no tool 'multiply'. The tools are: look.", "3"]
    assert [[spec.name for spec in request.tools] for request in model.requests] == [
        ["look"],
        ["look", "multiply", "math_add"],
        ["look", "multiply", "math_add"],
    ]


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS)
def test_a_function_that_fails_ends_the_run(driver: Driver) -> None:
    def gone() -> Any:
        raise ConnectionError("no line")

    ended = outcome(driver, Agent(ScriptedModel(["x"]), tools=[Toolset(load=gone)]), "Hello")
    assert isinstance(ended, UsageError)
    assert str(ended) == "the load function gone failed with ConnectionError: no line"
    assert isinstance(ended.__cause__, ConnectionError)
