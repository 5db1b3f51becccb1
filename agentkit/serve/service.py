"""What the server's parts share: the agents, who may ask, what goes on, and the line in the log."""

from __future__ import annotations

import logging
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from agentkit._json import dumps
from agentkit.errors import AgentKitError
from agentkit.logs import redacted
from agentkit.serve.access import Caller, Keys, check_local, headers_of
from agentkit.serve.faults import Refused, busy
from agentkit.serve.limits import ServeLimits
from agentkit.serve.running import Cuts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, MutableMapping

    from agentkit.agent import Agent
    from agentkit.serve.seal import Sealer
    from agentkit.serve.showing import ShowSteps

log: Final = logging.getLogger("agentkit.serve")
SystemMode: TypeAlias = Literal["add", "replace", "refuse"]


@dataclass(slots=True)
class Served:
    """An agent as it is offered."""

    name: str
    agent: Agent[Any, Any]
    created: int
    fingerprint: str

    @classmethod
    def of(cls, name: str, agent: Agent[Any, Any]) -> Served:
        """The agent under a name. The fingerprint tells whether it is still the same, and nothing more."""
        tools = [[tool.name, tool.description, tool.parameters] for tool in agent.tools.values()]
        told = repr([agent.name, getattr(agent.model, "name", ""), agent.instructions, tools, agent.settings])
        return cls(name, agent, int(time.time()), f"fp_{sha256(told.encode('utf-8', 'replace')).hexdigest()[:12]}")

    @property
    def data(self) -> dict[str, Any]:
        """The agent as a model in the list of models."""
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "agentkit"}


@dataclass(slots=True)
class Service:
    """A server: its agents and options, and what is going on."""

    agents: Mapping[str, Served]
    keys: Keys
    sealer: Sealer
    system: SystemMode = "add"
    show_steps: ShowSteps = None
    max_tokens_cap: int | None = None
    limits: ServeLimits = field(default_factory=ServeLimits)
    deps: Callable[[Caller], Any] | None = None
    runs: int = 0
    is_draining: bool = False
    cuts: Cuts = field(default_factory=Cuts)

    def drain(self) -> None:
        """Begin no more runs, and no more steps of those that go on: they end once what is at work is done."""
        self.is_draining = True

    def find(self, name: str) -> Served:
        """The agent that a request names. Raises Refused."""
        if name in self.agents:
            return self.agents[name]
        message = f"The model '{name[:200]}' does not exist or you do not have access to it."
        raise Refused(404, message, param="model", code="model_not_found")

    def admit(self, scope: MutableMapping[str, Any], line: Line) -> tuple[Caller, str]:
        """Who sent a request, and the digest of its key. Raises Refused."""
        headers = headers_of(scope)
        if not self.keys:
            check_local(scope, headers)
            return Caller(None, headers), ""
        name, digest = self.keys.find(headers)
        line.say(key=name)
        return Caller(name, headers), digest

    @contextmanager
    def running(self, count: int) -> Generator[Slots]:
        """So many runs go on within the block. Raises Refused if that is too many, or the server is about to end."""
        if self.is_draining:
            raise busy("The server is about to end: send the request again.", draining=True)
        if self.runs + count > self.limits.runs:
            raise busy(f"{self.runs} runs go on, and no more than {self.limits.runs} may: send the request again.")
        slots = Slots(self, count)
        self.runs += count
        try:
            yield slots
        finally:
            self.runs -= slots.count


@dataclass(slots=True)
class Slots:
    """The places of one request's runs; each is free again before the client hears that its run is over."""

    service: Service
    count: int

    def free(self) -> None:
        """One of the runs is over."""
        self.count -= 1
        self.service.runs -= 1


class Line:
    """What the log is told of a request, in one line, when it is over."""

    def __init__(self, method: str, path: str, request_id: str) -> None:
        self._began = time.monotonic()
        self._facts: dict[str, Any] = {"id": request_id, "method": method, "path": path}
        self._level = logging.INFO

    def say(self, **facts: Any) -> None:
        """Add to the line."""
        self._facts |= facts

    def fail(self, problem: Refused) -> None:
        """Say what the request is answered with; what was behind it is for the log alone."""
        self.say(status=problem.status, code=problem.code)
        cause = problem.__cause__
        if cause is None or isinstance(cause, Refused):
            return
        self._level = logging.WARNING if problem.status >= 500 else logging.INFO
        self.say(error=f"{type(cause).__name__}: {cause}"[:2000])
        if not isinstance(cause, AgentKitError):
            self._level = logging.ERROR
            self.say(traceback="".join(traceback.format_exception(cause))[-8000:])

    def write(self) -> None:
        """Write the line."""
        self.say(seconds=round(time.monotonic() - self._began, 4))
        if log.isEnabledFor(self._level):
            text = dumps({name: value for name, value in self._facts.items() if value is not None}).decode()
            log.log(self._level, "%s", redacted(text))
