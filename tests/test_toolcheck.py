"""What is faulted in tools, and what is not."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

from agentkit.context import Context
from agentkit.errors import UsageError
from agentkit.messages import ToolSpec
from agentkit.toolcheck import LONGEST_DESCRIPTION, MOST_TOOLS, MOST_VALUES, ToolReport, check_tools
from agentkit.tools import tool
from agentkit.toolsets import Toolset

Many = Enum("Many", {f"V{number}": f"v{number}" for number in range(MOST_VALUES + 1)})  # type: ignore[misc]
NULLABLE = "argument `city` may be null and has to be given: give it a default of None, so that it can be left out"
LONG = (
    "a description of 1,025 characters: OpenAI takes 1,024; move what is about one argument to that argument, and what "
    "is general to the instructions"
)
TOO_MANY = (
    "it is tool 129 of 130: OpenAI takes 128 in a request, and models choose badly among so many; offer them through a "
    "Searchable, or fewer"
)
Few = Literal["a", "b"]


class Guest(BaseModel):
    name: str
    kind: Many


class Free(BaseModel):
    values: dict[str, int]


def good(ctx: Context[None], city: str, guest: Annotated[str | None, "Who comes."] = None) -> str:
    """Book a table.

    Args:
        ctx: The run.
        city: Where.
    """
    return f"{city} {guest}"


def bare(city: str) -> None: ...


def stale(city: str) -> None:
    """Book.

    Args:
        citty: Where.
        zzz: What nobody knows.
    """


def anything(city: Any, other) -> None:  # type: ignore[no-untyped-def]
    """Book.

    Args:
        city: Where.
        other: What.
    """


def free(values: dict[str, int], inner: Free, few: Few = "a") -> None:
    """Book.

    Args:
        values: Some.
        inner: More.
        few: One of two.
    """


def keywords(city: str, **rest: int) -> None:
    """Book.

    Args:
        city: Where.
        rest: The rest.
        seats: How many.
    """


def long_list(kind: Many, guest: Guest) -> None:
    """Book.

    Args:
        kind: Which.
        guest: Who.
    """


def nullable(city: str | None, note: int | None = None) -> None:
    """Book.

    Args:
        city: Where.
        note: How many.
    """


@tool(strict=True)
def strict(city: str = "Rome") -> None:
    """Book.

    Args:
        city: Where.
    """


def with_fixed(city: str, seats: int) -> None:
    """Book.

    Args:
        city: Where.
        seats: How many.
    """


def findings(*tools: object) -> list[tuple[str, ...]]:
    return [report.findings for report in check_tools(tools)]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (good, []),
        (strict, []),
        (tool(partial(with_fixed, "Rome")), []),
        (tool(partial(with_fixed, seats=2)), []),
        (
            bare,
            [
                "no description: say in the docstring, or by description=, what it does and when to call it",
                "argument `city` has no description: describe it in the docstring's Args, or by Annotated[…, '…']",
            ],
        ),
        (
            stale,
            [
                "argument `city` has no description: describe it in the docstring's Args, or by Annotated[…, '…']",
                "the docstring describes `citty`, which is no argument: is `city` meant? Rename it, or take it out",
                "the docstring describes `zzz`, which is no argument: rename it, or take it out",
            ],
        ),
        (
            anything,
            [
                f"argument `{name}` takes any value: annotate it with a type, so that the model knows what to give"
                for name in ("city", "other")
            ],
        ),
        (
            free,
            [
                f"argument `{name}` has no strict form (it holds free keys, or values of any type): give it a type "
                "with named fields, or endpoints cannot hold the model to it"
                for name in ("values", "inner")
            ],
        ),
        (
            keywords,
            ["it takes arguments of any name (**kwargs), so it has no strict form: name those that there are"],
        ),
        (
            long_list,
            [
                f"argument `{name}` lists 101 values, which are paid for in each request: take text and answer a wrong "
                "value with Retry, or give a tool that looks values up"
                for name in ("kind", "guest")
            ],
        ),
        (
            nullable,
            [NULLABLE],
        ),
        (
            tool(description="x" * (LONGEST_DESCRIPTION + 1))(good),
            [LONG],
        ),
        (tool(description="x" * LONGEST_DESCRIPTION)(good), []),
        (ToolSpec("bare", "Book."), []),
        (
            ToolSpec("bare", "Book.", {"properties": {"city": {"type": ["string", "null"]}}, "required": ["city"]}),
            [
                "argument `city` has no description: describe it in the docstring's Args, or by Annotated[…, '…']",
                NULLABLE,
            ],
        ),
        (
            ToolSpec("bare", "Book.", {"properties": {"city": True}}).data(),
            [
                "argument `city` has no description: describe it in the docstring's Args, or by Annotated[…, '…']",
                "argument `city` takes any value: annotate it with a type, so that the model knows what to give",
            ],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_findings(made: object, expected: list[str]) -> None:
    assert findings(made) == [tuple(expected)]


class Desk:
    """Methods of each kind, all described alike."""

    def plain(self, day: str) -> None:
        """Book one.

        Args:
            self: The desk.
            day: When.
        """

    @tool
    @classmethod
    def below(cls, day: str) -> None:
        """Book two.

        Args:
            day: When.
            days: How often.
        """

    @staticmethod
    @tool
    def above(day: str) -> None:
        """Book three.

        Args:
            day: When.
        """

    def __call__(self, day: str) -> None:
        """Book four.

        Args:
            day: When.
        """


def test_methods() -> None:
    unbound = vars(Desk)["below"]
    stale = ("the docstring describes `days`, which is no argument: is `day` meant? Rename it, or take it out",)
    assert findings(Desk().plain, Desk.below, Desk.above, Desk()) == [(), stale, (), ()]
    assert findings(unbound) == [stale]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("get_user", "get_users"),
        ("get_user", "getUser"),
        ("get_user", "user-get"),
        ("search", "search2"),
        ("get_user", "get_user"),
    ],
)
def test_names_that_are_hard_to_tell_apart(first: str, second: str) -> None:
    named = [ToolSpec(first, "One."), ToolSpec("other", "Another."), ToolSpec(second, "Two.")]
    assert findings(*named) == [
        (f"its name is hard to tell from {second}: name what is different about it",),
        (),
        (f"its name is hard to tell from {first}: name what is different about it",),
    ]


def test_descriptions_that_are_the_same() -> None:
    assert findings(ToolSpec("one", "Same."), ToolSpec("two", " Same."), ToolSpec("three"), ToolSpec("four")) == [
        ("its description is that of two: say when to call which",),
        ("its description is that of one: say when to call which",),
        ("no description: say in the docstring, or by description=, what it does and when to call it",),
        ("no description: say in the docstring, or by description=, what it does and when to call it",),
    ]


def test_more_tools_than_an_endpoint_takes() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    named = [ToolSpec(f"{letters[number // 26]}_{letters[number % 26]}x", f"{number}") for number in range(130)]
    marked = [
        number for number, report in enumerate(check_tools(named)) if any("OpenAI takes" in f for f in report.findings)
    ]
    assert marked == [MOST_TOOLS]
    assert check_tools(named)[MOST_TOOLS].findings == (TOO_MANY,)


def test_what_a_report_says_besides() -> None:
    (report,) = check_tools([strict])
    assert report == ToolReport("strict", strict.parameters, -(-len(strict.spec.json()) // 4), ())


@pytest.mark.parametrize("wrap", [lambda toolset: toolset, lambda toolset: [toolset]], ids=["set", "list"])
def test_toolsets_are_looked_into(wrap: Any) -> None:
    toolset = Toolset([good, tool(name="other", enabled=False)(bare)], load=list).when(lambda: False).prefixed("my_")
    assert [report.name for report in check_tools(wrap(toolset))] == ["my_good", "my_other"]


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(UsageError, match="a tool is a function or a Tool, not int 3"):
        check_tools([3])
