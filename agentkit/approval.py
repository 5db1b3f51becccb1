"""What a caller decides of a call that waits for a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from agentkit._json import is_object
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class Approve:
    """The call may run; with `arguments`, with these in place of the model's, which is told so in the result."""

    arguments: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.arguments is not None and not is_object(self.arguments):
            raise UsageError(f"Approve(arguments=…) takes a mapping of arguments, not {self.arguments!r}")


@dataclass(slots=True)
class Deny:
    """The call does not run; the model is told so, and why."""

    reason: str = ""


@dataclass(slots=True)
class Answer:
    """The call does not run here: this is its result, as if its function had returned it."""

    value: Any = None


Decision: TypeAlias = Approve | Deny | Answer


def decision_data(decision: Decision) -> dict[str, Any]:
    """A decision as it is dumped. The value of an Answer is in the call's result."""
    match decision:
        case Approve(None):
            return {"approve": True}
        case Approve(arguments):
            return {"approve": True, "arguments": dict(arguments or {})}
        case Deny(reason):
            return {"deny": reason}
        case Answer():
            return {"answer": True}


def decision_of(data: Mapping[str, Any]) -> Decision:
    """A decision from its dump. Raises KeyError if it is none."""
    if "approve" in data:
        return Approve(data.get("arguments"))
    if "deny" in data:
        return Deny(data["deny"])
    if "answer" not in data:
        raise KeyError("decision")
    return Answer()


def decision_from(value: object, call: str) -> Decision | None:
    """What an `approve` function gave, as a decision; None leaves the call pending. Raises UsageError."""
    if value is None or isinstance(value, Approve | Deny | Answer):
        return value
    if isinstance(value, bool):
        return Approve() if value else Deny()
    raise UsageError(
        f"the approve function gave {value!r} for {call}; it returns True, False, None, Approve, Deny or Answer"
    )
