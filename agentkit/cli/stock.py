"""The tools that a chat has without an agent of the user's own: the time, and sums."""

from __future__ import annotations

import ast
import math
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from agentkit.context import Retry
from agentkit.tools import Tool, tool

_MOST_DIGITS: Final = 1000
_MOST_LETTERS: Final = 500
_AS_WRITTEN: Final = {ord("\N{MULTIPLICATION SIGN}"): "*", ord("\N{DIVISION SIGN}"): "/", ord("^"): "**"}
_NAMES: Final[dict[str, Any]] = {
    "pi": math.pi,
    "e": math.e,
    "sqrt": math.sqrt,
    "abs": abs,
    "round": round,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "log": math.log,
    "exp": math.exp,
}


def stock_tools() -> list[Tool]:
    """The tools, made when they are wanted: reading what a function says takes a while."""
    return [tool(read_only=True)(time_in), tool(read_only=True)(calculate)]


def time_in(city: str) -> str:
    """Tell the current time in a city.

    Args:
        city: The city's name.
    """
    wanted = city.strip().casefold()
    zones = {name.rpartition("/")[2].replace("_", " ").casefold(): name for name in sorted(available_timezones())}
    if wanted not in zones:
        raise Retry(f"There is no time zone named after {city!r}. Name a large city near it.")
    return f"{datetime.now(ZoneInfo(zones[wanted])):%H:%M}"


def calculate(expression: str) -> str:
    """Work out a sum.

    Args:
        expression: The sum, as in "12 * (3 + 4)".
    """
    text = expression[:_MOST_LETTERS].translate(_AS_WRITTEN).strip().rstrip("=")
    try:
        value = _value(ast.parse(text, mode="eval").body)
        return f"{value:.12g}" if isinstance(value, float) else str(value)
    except (ValueError, TypeError, ArithmeticError, SyntaxError, RecursionError) as error:
        raise Retry(
            f"{expression!r} cannot be worked out ({error}). Give numbers with + - * / ** and brackets."
        ) from None


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.BinOp(left, op, right):
            return _combined(op, _value(left), _value(right))
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand)
        case ast.UnaryOp(ast.UAdd(), operand):
            return _value(operand)
        case ast.Name(id=name) if name in _NAMES and not callable(_NAMES[name]):
            return _NAMES[name]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if callable(_NAMES.get(name)):
            return _NAMES[name](*map(_value, args))
        case _:
            raise ValueError("it is more than a sum")


def _combined(op: ast.operator, left: Any, right: Any) -> Any:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return left // right
        case ast.Mod():
            return left % right
        case ast.Pow():
            # a power of whole numbers may take all memory and time there is
            both_whole = isinstance(left, int) and isinstance(right, int) and abs(left) > 1
            if both_whole and right * math.log10(abs(left)) > _MOST_DIGITS:
                raise ValueError("the number is too large")
            return left**right
        case _:
            raise ValueError("it is more than a sum")
