"""A driver of the tests' own: one effect at a time, without threads, and a look at the state after each landing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from agentkit import Agent, Context, ToolResult, Transcript
from agentkit.args import Overrides
from agentkit.consult import consult, guard_input
from agentkit.context import Invoke
from agentkit.errors import AgentKitError
from agentkit.loop import CallModel, Consult, Effect, Finished, RunTools, Tell, decide
from agentkit.state import State
from agentkit.toolcalls import call_steps
from agentkit.transcript import Pending

AT = 1_700_000_000.0


@dataclass
class Stepper:
    """Performs a run's effects one by one; `tick` seconds go by before each landing.

    With `backwards` the calls of a reply land in the order opposite to the one that they were asked for.
    """

    agent: Agent[Any]
    prompt: Any = "please"
    deps: Any = None
    tick: float = 0.0
    backwards: bool = False
    now: float = AT
    approve: Callable[..., Any] | None = None
    ended: Finished | AgentKitError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        plan = self.agent._planned({"approve": self.approve}, Overrides())  # noqa: SLF001  # what a run begins with
        self.state = State(plan, Transcript(), self.prompt, new_run="run-1", at=self.now, began=self.now)

    def again(self) -> State:
        """A state made from the dump of this one, as another process would make it.

        What functions of the user's have said and no transcript keeps (whether an answer is right) is asked anew.
        """
        loaded = Transcript.load(self.state.transcript.dump())
        again = State(self.state.plan, loaded, new_run="another", at=self.now, began=self.now)
        while (asked := self._question(again)) is not None and asked != self._question(self.state):
            self._consult(asked, again)
        return again

    def _question(self, state: State) -> Consult | None:
        try:
            step = decide(state, self.now)
        except AgentKitError:
            return None
        return step if isinstance(step, Consult) else None

    def _consult(self, step: Consult, state: State) -> None:
        performed(consult(step, state, partial(self._context, state=state), self.now), _invoked)

    def states(self) -> Iterator[State]:
        """The run's state at its start and after each single thing that is recorded in it, to the end."""
        yield self.state
        try:
            while not isinstance(step := decide(self.state, self.now), Finished):
                yield from self._do(step)
            self.ended = step
        except AgentKitError as error:
            self.ended = error

    def _do(self, step: Effect) -> Iterator[State]:
        match step:
            case RunTools(calls):
                for pending in reversed(calls) if self.backwards else calls:
                    self.state.start(pending, at=self.now)
                    yield self.state
                    result = self._result(pending)
                    self.now += self.tick
                    self.state.land(pending, result, now=self.now)
                    yield self.state
            case Consult():
                self._consult(step, self.state)
                yield self.state
            case CallModel(request, guarded):
                if guarded:
                    self._guard()
                    yield self.state
                model = self.state.active.model
                assert model is not None  # it has one of its own
                reply = performed(model.flow(request), lambda _: None)
                self.now += self.tick
                self.state.land_reply(reply, source=reply.source, at=self.now, now=self.now)
                yield self.state
            case Tell(message):
                self.now += self.tick
                self.state.tell(message, at=self.now, now=self.now)
                yield self.state

    def _result(self, pending: Pending) -> ToolResult:
        steps = call_steps(self.state.tools, pending, self._context(pending), self.state.plan.tool_guards)
        result = performed(steps, _invoked)
        assert result is not None  # no call is given to another agent here
        return result

    def _guard(self) -> None:
        for guard in self.state.plan.input_guards:
            if not guard.wait:
                changed = performed(guard_input(guard, self.state.prompt, self._context(None)), _invoked)
                assert changed is None  # of a request that is broken off there is nothing here
        self.state.guarded()

    def _context(self, pending: Pending | None, state: State | None = None) -> Context[Any]:
        state = state or self.state
        if pending is None:
            return Context(self.deps, view=state)
        step = state.transcript.entries[pending.entry].step
        return Context(self.deps, pending.call, idempotency_key=pending.key, step=step, view=state)


R = TypeVar("R")


def performed(steps: Generator[Any, Any, R], handle: Callable[[Any], Any]) -> R:
    """What a generator of effects returns."""
    try:
        effect = next(steps)
        while True:
            try:
                outcome = handle(effect)
            except Exception as error:
                effect = steps.throw(error)
            else:
                effect = steps.send(outcome)
    except StopIteration as stop:
        return stop.value


def _invoked(invoke: Invoke) -> Any:
    return asyncio.run(invoke.run()) if invoke.target.is_async else invoke.run_sync()
