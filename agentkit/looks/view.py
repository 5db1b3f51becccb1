"""What there is to see of a value, as HTML and the terminal both show it. The story of a conversation is a Timeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.looks.timeline import Call, Timeline

T = TypeVar("T")


@dataclass(slots=True)
class Words:
    """A text. `is_code` has it set as it is, in letters of one width."""

    text: str
    title: str = ""
    is_code: bool = False


@dataclass(slots=True)
class Table:
    """Rows of as many cells as the head has; without a head the first cell of a row says what the second is."""

    rows: tuple[tuple[str, ...], ...]
    head: tuple[str, ...] = ()


@dataclass(slots=True)
class Fold:
    """A timeline under a title, which a page can close."""

    title: str
    timeline: Timeline
    is_open: bool = True


@dataclass(slots=True)
class Card:
    """A value: what it is, what is known of it in few words, and its parts."""

    title: str
    facts: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


Part: TypeAlias = "Words | Table | Fold | Timeline | Call"


def few(items: Sequence[T], most: int | None) -> tuple[Sequence[T], int, Sequence[T]]:
    """The first and the last of many, `most` in all, and how many stand between them."""
    if most is None or len(items) <= most:
        return items, 0, ()
    head = most // 4
    tail = most - head
    return items[:head], len(items) - most, items[-tail:]
