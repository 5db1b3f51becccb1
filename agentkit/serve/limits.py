"""How much a client may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass, fields

from agentkit.chat.settings import check_number
from agentkit.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLimits:
    """How much a client may ask of the server; times are in seconds.

    `body_bytes`, `messages`, `tools`, `nesting` (levels of JSON) and `choices` (n) bound a request, `body_s` how long
    its body may take to come. `runs` may go on at once, each choice is one; a run ends after `run_s`. A stream that has
    nothing to say is kept open by a comment each `ping_s`; a client that reads nothing of it for `write_s` is left.
    `state_bytes` bounds what of the agent's own steps goes back to the client with an answer.

    Raises:
        UsageError: a limit is no number above 0.
    """

    body_bytes: int = 8 * 1024 * 1024
    body_s: float = 30.0
    messages: int = 2000
    tools: int = 128
    nesting: int = 64
    choices: int = 8
    runs: int = 64
    run_s: float = 600.0
    ping_s: float = 15.0
    write_s: float = 30.0
    state_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            check_number(f"ServeLimits.{field.name}", value, low=0, whole=not field.name.endswith("_s"))
            if not value:
                raise UsageError(f"ServeLimits.{field.name} is a number above 0, not {value!r}")
