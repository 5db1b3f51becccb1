"""Effects, and the generators that yield them: what a model does, told apart from how it is waited for.

A *flow* is a generator that yields effects and is sent their outcomes. It holds all decisions (what is sent, whether a
failure is worth another try) and none of the waiting, so the sync driver, the async one and a test run the same code.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentkit.chat.reader import ReplyReader
    from agentkit.chat.request import Body, Request
    from agentkit.endpoint import Endpoint
    from agentkit.errors import EndpointError
    from agentkit.events import Delta
    from agentkit.messages import Reply
    from agentkit.policy import Retries, Timeouts
    from agentkit.prices import Price

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Send:
    """Send this body to the endpoint and feed what comes to the reader; the outcome is the reader's Reply.

    `model` is asked; `price` what its user says that it costs, where that is said.
    """

    endpoint: Endpoint
    body: Body
    reader: ReplyReader
    timeouts: Timeouts
    headers: tuple[tuple[str, str], ...] = ()
    attempt: int = 1
    model: str = ""
    price: Price | None = None


@dataclass(slots=True, eq=False)
class Open:
    """Bring the endpoint up, where it is a server that starts on first use; then its dialect is known."""

    endpoint: Endpoint


@dataclass(slots=True, eq=False)
class Again:
    """Wait before the same request goes out again. The error is raised if it is not to be repeated."""

    error: EndpointError
    attempt: int
    retries: Retries
    total_s: float | None = None


@dataclass(slots=True, eq=False)
class Instead:
    """Another model is about to be asked in place of one that failed. The error is raised if it is too late for that:
    something of the failed answer was told already."""

    error: EndpointError


@dataclass(slots=True, eq=False)
class Now:
    """Look at the clock: the outcome is in seconds, on a clock that never goes back."""


@dataclass(slots=True, eq=False)
class Say:
    """Tell whoever listens these pieces of the reply; a model that sends no request of its own streams by them."""

    deltas: Sequence[Delta]


FlowEffect: TypeAlias = Open | Send | Again | Instead | Now | Say
Steps: TypeAlias = Generator[FlowEffect, Any, R]


class SupportsFlow(Protocol):
    """Whatever answers a request: a generator that may yield effects and returns the Reply.

    A wrapper is `reply = yield from self.inner.flow(request)` with something before or after it.
    """

    def flow(self, request: Request) -> Steps[Reply]:
        """The steps from a request to its reply."""
        ...


def send(effect: Send) -> Steps[Reply]:
    """Perform one Send."""
    reply: Reply = yield effect
    return reply
