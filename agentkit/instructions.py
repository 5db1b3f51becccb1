"""What an agent is told besides the conversation: texts, and functions of the moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from agentkit.context import Hook
from agentkit.errors import UsageError


class Instruction:
    """Instructions that a function gives, asked once a run: a function of nothing or of the context, sync or async.

    Their text stands before the last user message, so that all before it stays as it was and an endpoint's prompt cache
    holds. With `position="head"` it stands in front of the conversation, and another text costs the whole cache.
    """

    def __init__(self, function: Callable[..., Any], *, position: Literal["turn", "head"] = "turn") -> None:
        if position not in ("turn", "head"):
            raise UsageError(f"position={position!r} is not one of 'turn', 'head'")
        self.hook: Final = Hook(function, "instructions function", takes=0)
        self.position: Final = position


Told: TypeAlias = str | Callable[..., Any] | Instruction
Instructions: TypeAlias = Told | Sequence[Told]


def split(instructions: Instructions) -> tuple[str, tuple[Instruction, ...]]:
    """The fixed text, and what has to be asked. Raises UsageError."""
    is_one = isinstance(instructions, str | Instruction) or not hasattr(instructions, "__iter__")
    items = cast("Sequence[Any]", [instructions] if is_one else instructions)
    texts: list[str] = []
    asked: list[Instruction] = []
    for item in items:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, Instruction):
            asked.append(item)
        elif callable(item):
            asked.append(Instruction(item))
        else:
            raise UsageError(f"instructions are texts, functions or Instruction, not {item!r}")
    return joined(texts), tuple(asked)


def joined(texts: Sequence[str]) -> str:
    """Texts as paragraphs, without the empty ones."""
    return "\n\n".join([text for text in texts if text])
