"""What is said of a tool besides its function: checked when it is made. Tools of schemas alone, and functions asked."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from agentkit import Context, Tool, ToolSpec, tool
from agentkit.context import Hook, Invoke
from agentkit.errors import BadArguments, UsageError
from agentkit.guards import ToolGuard
from agentkit.messages import ToolCall
from agentkit.tools import spec_of

pytestmark = pytest.mark.anyio

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SPEC = ToolSpec("forecast", "Tell the weather.", PARAMETERS)


def forecast(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


# A tool of a schema


@pytest.mark.parametrize("given", [SPEC, SPEC.data(), json.loads(SPEC.json())], ids=["spec", "dict", "parsed"])
def test_a_tool_of_a_schema_is_told_as_it_is(given: Any) -> None:
    made = Tool.of(given)
    assert (made.name, made.description, made.parameters) == ("forecast", "Tell the weather.", PARAMETERS)
    assert made.spec == SPEC
    assert made.wants_context


@pytest.mark.parametrize(
    "arguments",
    [
        '{"city": 7, "more": [null]}',
        b'{"city": 7, "more": [null]}',
        {"city": 7, "more": [None]},
        '"{\\"city\\": 7, \\"more\\": [null]}"',
    ],
    ids=["text", "bytes", "dict", "JSON in JSON"],
)
def test_its_function_gets_the_context_and_the_arguments_as_they_came(arguments: Any) -> None:
    seen: list[Any] = []
    made = Tool.of(SPEC, lambda ctx, given: seen.append((ctx.deps, ctx.call.name, given)))
    made.call_sync(arguments, deps="d")
    assert seen == [("d", "forecast", {"city": 7, "more": [None]})]


def test_the_arguments_are_a_dict_of_the_functions_own() -> None:
    given = {"city": "Rome"}
    Tool.of(SPEC, lambda _, arguments: arguments.clear()).call_sync(given)
    assert given == {"city": "Rome"}


async def test_its_function_may_be_async() -> None:
    async def ask(ctx: Context[str], arguments: dict[str, Any]) -> str:
        await checkpoint()
        return f"{ctx.deps}: {arguments['city']}"

    made = Tool.of(SPEC, ask)
    assert made.is_async
    assert await made.call({"city": "Rome"}, deps="here") == "here: Rome"


@pytest.mark.parametrize("arguments", ["[]", "7", "{", "nothing", '"x"'])
def test_arguments_that_are_no_object_do_not_reach_it(arguments: str) -> None:
    made = Tool.of(SPEC, lambda *_: pytest.fail("it ran"))
    with pytest.raises(BadArguments, match="forecast was not run, its arguments are wrong:\n- "):
        made.call_sync(arguments)


def test_without_a_function_it_is_external_and_has_no_body() -> None:
    made = Tool.of(SPEC)
    assert made.external
    assert not Tool.of(SPEC, lambda *_: None).external
    with pytest.raises(UsageError, match=r"forecast has no body: its caller answers the call of "):
        made.call_sync('{"city": "Rome"}')


@pytest.mark.parametrize(
    "wrong",
    [{}, {"type": "function"}, {"function": "x"}, {"function": {"name": 3}}, {"name": "x"}],
    ids=repr,
)
def test_a_dict_that_is_no_tool_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=r"a tool as a dict is \{'type': 'function', 'function': \{'name': …\}\}, not "
    ):
        Tool.of(wrong)


def test_what_a_dict_leaves_out_is_empty() -> None:
    made = spec_of({"function": {"name": "x"}})
    assert made == ToolSpec("x", "", {"type": "object", "properties": {}})
    assert spec_of({"function": {"name": "x", "strict": True}}).strict


def test_a_name_that_the_wire_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="'a b' cannot be a tool's name"):
        Tool.of(ToolSpec("a b"))


def test_the_options_of_a_tool_hold_for_one_of_a_schema() -> None:
    made = Tool.of(SPEC, lambda *_: None, approval=True, timeout_s=3, read_only=True)
    assert (made.approval, made.timeout_s, made.read_only, made.on_unknown) == (True, 3, True, "retry")
    strict = Tool.of(SPEC, strict=True)
    assert strict.spec.strict
    assert strict.parameters["additionalProperties"] is False
    with pytest.raises(UsageError, match="tool free: strict=True, but its parameters have no strict form"):
        Tool.of(ToolSpec("free", "", {"type": "object", "properties": {"a": {}}}), strict=True)


# Another name


@pytest.mark.parametrize("made", [Tool(forecast), Tool.of(SPEC, lambda _, arguments: forecast(**arguments))])
def test_a_renamed_tool_is_the_same_under_another_name(made: Tool) -> None:
    twin = made.renamed("weather")
    assert (twin.name, twin.description, twin.spec.name) == ("weather", "Tell the weather.", "weather")
    assert twin.parameters == made.parameters
    assert made.renamed("weather", "Other words.").spec.description == "Other words."
    assert made.name == "forecast"
    assert twin.call_sync('{"city": "Rome"}') == "sunny in Rome"
    with pytest.raises(BadArguments, match=r"^weather was not run"):
        twin.call_sync("[]")
    with pytest.raises(UsageError, match="'' cannot be a tool's name"):
        made.renamed("")


def test_a_renamed_tool_keeps_its_options() -> None:
    made = tool(strict=True, approval=True, exclusive="x", guards=[lambda call: None])(forecast)
    twin = made.renamed("weather")
    assert twin.spec.strict
    assert (twin.approval, twin.exclusive, twin.guards) == (True, "x", made.guards)


def test_a_tool_wants_the_context_if_its_function_does() -> None:
    def aware(ctx: Context[None], city: str) -> str:
        """Tell the weather."""
        return city

    assert Tool(aware).wants_context
    assert not Tool(forecast).wants_context
    assert list(Tool(aware).parameters["properties"]) == ["city"]


# Options


def says(ctx: Context[None], call: ToolCall) -> bool:
    return bool(call.name)


def test_options_as_they_are_without_a_word() -> None:
    made = Tool(forecast)
    assert (made.approval, made.external, made.enabled, made.on_unknown, made.guards) == (False, False, True, "ask", ())


@pytest.mark.parametrize(
    ("read_only", "said", "kept"),
    [
        (True, None, "retry"),
        (False, None, "ask"),
        (True, "fail", "fail"),
        (True, "ask", "ask"),
        (False, "retry", "retry"),
    ],
)
def test_what_becomes_of_a_call_of_unknown_outcome(read_only: bool, said: Any, kept: str) -> None:
    assert Tool(forecast, read_only=read_only, on_unknown=said).on_unknown == kept


@pytest.mark.parametrize(
    ("option", "function", "wants_context"),
    [
        ("approval", lambda call: True, False),
        ("approval", says, True),
        ("enabled", lambda: True, False),
        ("enabled", lambda ctx: True, True),
    ],
)
def test_functions_become_hooks(option: str, function: Callable[..., Any], wants_context: bool) -> None:
    hook = getattr(tool(**{option: function})(forecast), option)
    assert isinstance(hook, Hook)
    assert (hook.function, hook.wants_context) == (function, wants_context)


def test_functions_become_guards_of_calls_before_they_run() -> None:
    guard = ToolGuard(after=lambda call, result: None)
    made = tool(guards=[says, guard])(forecast)
    assert [each.before and each.before.function for each in made.guards] == [says, None]
    assert made.guards[1] is guard


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"on_unknown": "never"}, "tool forecast: on_unknown='never' is not one of 'retry', 'ask', 'fail'"),
        (
            {"approval": lambda: True},
            "approval of forecast: <lambda> takes 0 arguments; it is called with 1, or with 2",
        ),
        ({"approval": lambda a, b, c: True}, "approval of forecast: <lambda> takes 3 arguments"),
        ({"enabled": lambda a, b: True}, "enabled of forecast: <lambda> takes 2 arguments; it is called with 0, or"),
        ({"guards": [lambda: None]}, "tool guard <lambda> takes 0 arguments"),
        ({"guards": [3]}, "tool guard is a function, not 3"),
        ({"timeout_s": 0}, "tool forecast: timeout_s=0 must be more than 0"),
        ({"attempts": 0}, "tool forecast: attempts=0 must be 1 or more"),
        ({"attempts": 2}, "tool forecast: attempts=2 needs retry_on="),
        ({"max_output_chars": 0}, "tool forecast: max_output_chars=0 must be 1 or more"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_that_cannot_be_is_told_when_the_tool_is_made(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        tool(**options)(forecast)
    with pytest.raises(UsageError, match=problem):
        Tool.of(SPEC, forecast, **options)


def test_a_guard_has_a_function() -> None:
    with pytest.raises(UsageError, match="a ToolGuard has a function before=, after=, or both"):
        ToolGuard()


# Which arguments a function that is asked gets


def none() -> str:
    return "none"


def optional(a: Any = "default") -> str:
    return f"{a}"


def annotated(ctx: Context[str]) -> str:
    return f"context {ctx.deps}"


def quoted(ctx: agentkit.Context[str], a: Any) -> str:  # type: ignore[name-defined]  # noqa: F821  # never resolved
    return f"context {ctx.deps}, {a}"


def late_option(ctx: Context[str], a: Any, more: Any = "more") -> str:
    return f"context {ctx.deps}, {a}, {more}"


def keyword(a: Any, *, more: Any = "more") -> str:
    return f"{a}, {more}"


def one(a: Any) -> str:
    return f"{a}"


def two(a: Any, b: Any) -> str:
    return f"{a.deps if isinstance(a, Context) else a}, {b}"


def star(*args: Any) -> str:
    return f"{args}"


def context_star(ctx: Context[str], *args: Any) -> str:
    return f"context {ctx.deps}, {args}"


class Asked:
    def __call__(self, ctx: Context[str]) -> str:
        return f"context {ctx.deps}"

    def method(self, a: Any) -> str:
        return f"{a}"


@pytest.mark.parametrize(
    ("function", "args", "told"),
    [
        (none, (), "none"),
        (optional, (), "default"),
        (optional, ("a",), "a"),
        (annotated, (), "context deps"),
        (one, ("a",), "a"),
        (two, ("a",), "deps, a"),
        (two, ("a", "b"), "a, b"),
        (quoted, ("a",), "context deps, a"),
        (late_option, ("a",), "context deps, a, more"),
        (keyword, ("a",), "a, more"),
        (star, ("a",), "('a',)"),
        (context_star, ("a",), "context deps, ('a',)"),
        (Asked(), (), "context deps"),
        (Asked().method, ("a",), "a"),
        (functools.partial(two, b="b"), ("a",), "a, b"),
        (str.upper, ("a",), "A"),
        (str, ("a",), "a"),
        (max, ("ab",), "b"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_context_comes_first_where_it_is_wanted(
    function: Callable[..., Any], args: tuple[Any, ...], told: str
) -> None:
    hook = Hook(function, "what is asked:", takes=len(args))
    assert Invoke(hook, Context("deps"), args).run_sync() == told


@pytest.mark.parametrize(
    ("function", "takes", "count"),
    [(none, 1, 0), (two, 0, 2), (late_option, 0, 2), (Asked().method, 2, 1)],
)
def test_a_function_of_other_arguments_is_refused(function: Callable[..., Any], takes: int, count: int) -> None:
    problem = (
        rf"what is asked: {function.__name__} takes {count} arguments; it is called with {takes}, or with {takes + 1}"
    )
    with pytest.raises(UsageError, match=problem):
        Hook(function, "what is asked:", takes=takes)


@pytest.mark.parametrize("wrong", [None, "x", 3])
def test_what_is_no_function_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match=f"what is asked is a function, not {wrong!r}"):
        Hook(wrong, "what is asked", takes=0)


def test_a_hook_is_named_after_its_function() -> None:
    assert (Hook(one, "x", takes=1).name, repr(Hook(one, "x", takes=1))) == ("one", "Hook(one)")
    assert Hook(Asked(), "x", takes=0).name == "Asked"
    assert Hook(functools.partial(one), "x", takes=1).name == "partial"


async def test_a_hook_may_be_async() -> None:
    async def slowly(ctx: Context[str], a: Any) -> str:
        await checkpoint()
        return f"{ctx.deps}, {a}"

    hook = Hook(slowly, "x", takes=1)
    assert (hook.is_async, hook.needs_thread, Hook(one, "x", takes=1).needs_thread) == (True, True, False)
    assert await Invoke(hook, Context("deps"), ("a",)).run() == "deps, a"
