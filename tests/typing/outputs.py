"""What the checkers see of typed answers. Never run: mypy and pyright read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, assert_type

from agentkit.output import Output, WrongAnswer


@dataclass
class Point:
    """A place."""

    x: int


def pay(amount: float) -> int:
    """Pay a bill."""
    return round(amount)


async def ask(question: str) -> bool:
    """Ask the user."""
    return question == "?"


def types() -> None:
    assert_type(Output(Point), Output[Point])
    assert_type(Output(list[int]).read_text("[1]"), list[int])
    assert_type(Output(int | None), Output[int | None])
    assert_type(Output[Literal["yes", "no"]](Literal["yes", "no"], mode="tool").read_call("", ""), Literal["yes", "no"])
    assert_type(Output.of(Point), Output[Any] | None)


def functions() -> None:
    assert_type(Output(pay), Output[int])
    assert_type(Output([pay, pay]), Output[int])
    assert_type(Output(ask), Output[bool])


def errors(error: WrongAnswer) -> None:
    assert_type(error.problems, tuple[str, ...])
