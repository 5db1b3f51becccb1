"""A run in the making: its transcript, what does not change while it goes on, and what is counted.

`State` only records and answers questions; what happens next is decided in loop.py. The counts are a fold over the
run's entries, kept as a cache: a state made from the same transcript has the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentkit.chat.request import Request
from agentkit.entries import opens_turn
from agentkit.errors import UsageError
from agentkit.history import View, summary_message
from agentkit.instructions import joined
from agentkit.landing import PASSED_BY, adopted_by, handed_to, look_after_unknown, records_of
from agentkit.messages import Content, Message, Reply, ToolResult, Usage, user
from agentkit.outputs import named
from agentkit.pending import apply, is_waiting, pending_calls
from agentkit.policy import check_limit
from agentkit.tally import Spent, Tally, spent_in
from agentkit.transcript import CallRecord, Entry, Pending, Transcript

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.approval import Decision
    from agentkit.entries import Hold
    from agentkit.pending import Decisions
    from agentkit.plan import Persona, Plan
    from agentkit.tools import Tool


TAKEN: Final = "The answer was taken."


@dataclass(slots=True)
class Verdict:
    """What came of checking an answer: its value, or what is wrong with it, in words for the model."""

    value: Any = None
    problem: str | None = None


class State:
    """A run's state: the transcript is all of it, the rest is computed from it."""

    __slots__ = (
        "_before",
        "_began",
        "_delegates",
        "_open",
        "_put",
        "_view",
        "_waited",
        "active",
        "decided",
        "inner",
        "offered",
        "outer",
        "plan",
        "run",
        "tally",
        "transcript",
        "verdict",
    )

    def __init__(
        self,
        plan: Plan,
        transcript: Transcript,
        prompt: Content | None = None,
        *,
        new_run: str,
        at: float,
        began: float,
        decisions: Decisions | None = None,
        resumed: bool = True,
    ) -> None:
        """Go on from a copy of `transcript`, with a prompt as a new run, without one where it stands.

        `new_run` is the id of a new run, `at` Unix time, `began` the monotonic clock. Where the transcript is not
        `resumed` but this process's own, calls that were started are no riddle.
        """
        last = transcript.last
        if prompt is None and last is None:
            raise UsageError("there is nothing to answer: give a prompt, or a transcript that has messages")
        if prompt is None and last is not None and last.guarded is False:
            raise UsageError("there is nothing to answer: a guard refused the last message; give another prompt")
        self.plan = plan
        self.transcript = transcript.copy()
        self.active = self._last_active()
        if resumed:
            look_after_unknown(self.transcript, self.active.tools, self.transcript.land)
        self.decided = [] if decisions is None else apply(self.transcript, decisions)
        if prompt is not None and (waiting := pending_calls(self.transcript)):
            names = ", ".join(f"{each.call.name} ({each.id})" for each in waiting)
            raise UsageError(f"these calls wait for a decision: {names}; give decisions= for them beside the prompt")
        self.run = last.run if prompt is None and last is not None and last.run else new_run
        self.transcript.adopt(self.run, adopted_by(plan.tools, plan.output))
        if prompt is not None:
            if (answer := self._open_answer()) is not None:
                self.transcript.land(answer, ToolResult(PASSED_BY, "not_run"))
            self.transcript.append(Entry(user(prompt), run=self.run, at=at))
        self.tally = Tally()
        self.offered: Mapping[str, Tool] | None = None
        self.verdict: Verdict | None = None
        self.inner: dict[Pending, State] = {}
        self.outer: State | None = None
        self._put: set[Pending] = set()
        self._waited: int | None = None
        self._view = View(plan.history, plan.compaction)
        self._open: dict[int, int] = {}
        for pending in self.transcript.pending:
            self._open[pending.entry] = self._open.get(pending.entry, 0) + 1
        for index, entry in enumerate(self.transcript.entries):
            if not entry.run:
                self.tally.recall(entry)  # a plain list cannot tell its runs apart
            if entry.run == self.run:
                self.tally.add(entry)
                if entry.calls and index not in self._open:
                    self.tally.settle(entry, plan.tools)
        self._began = began
        self._before = self.tally.elapsed_s
        self._delegates = any(record.transcript is not None for entry in self.transcript for record in entry.calls)

    def _last_active(self) -> Persona:
        """Who spoke last, or was handed the conversation."""
        name = self.plan.name
        for entry in self.transcript:
            name = entry.agent if entry.author == "model" else name
            name = handed_to(entry) or name
        return self.plan.personas.get(name or "", self.plan)

    # What is known

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools that the active agent has just now."""
        return self.active.tools if self.offered is None else self.offered

    @property
    def usage(self) -> Usage:
        """The tokens used so far, those of sub-agents among them."""
        return self.spent().usage

    def spent(self) -> Spent:
        """What the run has used up, sub-agents included."""
        tally = self.tally
        total = Spent(tally.steps, tally.tool_calls, tally.usage)
        if not self._delegates:
            return total
        total += tally.inner
        for pending in self.transcript.pending:
            if pending in self.inner:
                total += self.inner[pending].spent()
            elif (inner := self.transcript.record(pending).transcript) is not None:
                total += spent_in(inner)
        return total

    def elapsed(self, now: float) -> float:
        """Seconds that the run has been at work, those before a resume included."""
        return self._before + now - self._began

    @property
    def forced(self) -> str | None:
        """What the settings force the model to call and it has not yet: a tool's name, "" for any tool, else None."""
        choice = self.active.settings.forced
        if choice is None or (choice in self.tally.called if choice else self.tally.called):
            return None
        return choice

    @property
    def corrections(self) -> int:
        """How many corrections in a row the model may need."""
        output = self.plan.output
        return self.plan.limits.corrections if output is None or output.retries is None else output.retries

    def turn(self) -> int | None:
        """Where the last message of the caller stands."""
        entries = self.transcript.entries
        for index in range(len(entries) - 1, -1, -1):
            if opens_turn(entries[index]):
                return index
        return None

    @property
    def prompt(self) -> Content:
        """The content of the caller's last message."""
        turn = self.turn()
        return "" if turn is None else self.transcript.entries[turn].message.data["content"]

    # What has to be found out before the next step

    @property
    def is_untold(self) -> bool:
        """Whether the active agent's instructions of the moment are still to be asked for."""
        if not self.active.asked or (turn := self.turn()) is None:
            return False
        return (self.active.name or "") not in self.transcript.entries[turn].instructions

    @property
    def is_unoffered(self) -> bool:
        """Whether it is still to be asked which tools there are."""
        return self.offered is None and not self.active.is_fixed

    @property
    def is_unguarded(self) -> bool:
        """Whether the guards have still to let the caller's last message pass."""
        if not self.plan.input_guards or (turn := self.turn()) is None:
            return False
        return self.transcript.entries[turn].guarded is None

    @property
    def must_wait(self) -> bool:
        """Whether a guard has to let it pass before the model is asked."""
        waits = any(guard.wait for guard in self.plan.input_guards)
        return waits and self._waited != self.turn() and self.is_unguarded

    @property
    def is_checked(self) -> bool:
        """Whether an answer goes through a type, validators or guards."""
        return bool(self.plan.output or self.plan.validators or self.plan.output_guards)

    @property
    def answer(self) -> CallRecord | None:
        """The call by which the model answers, if the last message has one: open, or taken already."""
        last = self.transcript.last
        for record in last.calls if last is not None else ():
            if record.hold == "output" and (record.result is None or record.result.status == "ok"):
                return record
        return None

    @property
    def is_answered(self) -> bool:
        """Whether the last message is the model's answer."""
        last = self.transcript.last
        if last is None or last.message.role != "assistant":
            return False
        return not last.calls or self.answer is not None

    @property
    def sent(self) -> Transcript:
        """What of the conversation is sent."""
        return self._view.of(self.transcript)

    @property
    def is_crowded(self) -> bool:
        """Whether the conversation has to be summed up before it goes on."""
        if self.plan.compaction is None:
            return False
        beside = len(self.active.instructions) + sum(len(tool.spec.json()) for tool in self.tools.values())
        return self._view.is_crowded(self.transcript, beside=beside)

    def overflow(self) -> bool:
        """Record that the endpoint found the conversation too long; whether it can be summed up now."""
        self._view.overflowed, before = True, self._view.overflowed
        return not before and self.is_crowded

    def to_sum_up(self, part: float) -> tuple[Transcript, int]:
        """What a summary is asked of, with the request for it, and how many entries it stands for.

        It is as much as can be told the model at once, or a part of that.
        """
        return self._view.to_sum_up(self.transcript, part)

    def sum_up(
        self, reply: Reply, covers: int, *, at: float, now: float, model: str | None, cost: float | None
    ) -> None:
        """Record a summary of so many entries."""
        self._view.overflowed = False
        entry = Entry(
            summary_message(reply.text),
            author="loop",
            run=self.run,
            step=self.tally.steps,
            at=at,
            elapsed_s=self.elapsed(now),
            source=reply.source,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            cost=cost,
            model=model,
            covers=self.transcript.offset + covers,
        )
        self._append(entry)

    def to_ask(self, calls: Sequence[Pending]) -> tuple[Pending, ...]:
        """The calls of which it is not known whether they need an approval."""
        return tuple([each for each in calls if self.transcript.record(each).hold == "ask"])

    def to_put(self, calls: Sequence[Pending]) -> tuple[Pending, ...]:
        """The calls that the run's `approve` function has to be asked about."""
        if self.plan.approve is None:
            return ()
        records = [(each, self.transcript.record(each)) for each in calls if each not in self._put]
        return tuple([each for each, record in records if record.transcript is None and is_waiting(record)])

    def runnable(self, calls: Sequence[Pending]) -> tuple[Pending, ...]:
        """The calls that nothing holds up."""
        return tuple([each for each in calls if self._is_runnable(each)])

    def _is_runnable(self, pending: Pending) -> bool:
        record = self.transcript.record(pending)
        if not is_waiting(record):
            return record.hold != "output"
        # what waits in a sub-agent is put to `approve` by the sub-agent's own run
        return record.transcript is not None and self.plan.approve is not None and pending not in self._put

    # What is asked, and what limits it

    def request(self) -> Request:
        """What to ask the model next."""
        active = self.active
        settings = active.settings
        if settings.forced is not None and self.forced is None:
            settings = replace(settings, tool_choice=None)  # done; kept up, it would never let the model answer
        instructions, context = active.instructions, ""
        if active.asked and (turn := self.turn()) is not None:
            head, context = self.transcript.entries[turn].instructions[active.name or ""]
            instructions = joined((instructions, head))
        tools = tuple([tool.spec for tool in self.tools.values()])
        return Request(self.sent, tools, settings, instructions, context=context, output=self.plan.output)

    def check(self, now: float, *, calls: int = 0) -> None:
        """Raise LimitReached if a limit forbids the next request, or that many tool calls."""
        limits, spent = self.plan.limits, self.spent()
        check_limit("seconds", limits.seconds, self.elapsed(now))
        if calls:
            check_limit("tool_calls", limits.tool_calls, spent.tool_calls + calls - 1)
        else:
            check_limit("steps", limits.steps, spent.steps)
            usage = spent.usage
            check_limit("tokens", limits.tokens, usage.total_tokens or usage.prompt_tokens + usage.completion_tokens)
        if self.outer is not None:
            self.outer.check(now, calls=calls)

    def allows(self, calls: int) -> bool:
        """Whether so many more calls are within the limit."""
        limit = self.plan.limits.tool_calls
        if limit is not None and self.spent().tool_calls + calls > limit:
            return False
        return self.outer is None or self.outer.allows(calls)

    def time_left(self, now: float) -> float | None:
        """Seconds until `Limits(seconds=…)` is reached, or None."""
        limit = self.plan.limits.seconds
        return None if limit is None else max(0.0, limit - self.elapsed(now))

    # What is recorded

    def land_reply(
        self,
        reply: Reply,
        *,
        source: str | None,
        at: float,
        now: float,
        model: str | None = None,
        cost: float | None = None,
    ) -> None:
        """Record the model's reply; a call that cannot run gets its result with it."""
        calls = records_of(reply, self.tools, self.plan.output)
        entry = Entry(
            reply.message,
            author="model",
            run=self.run,
            step=self.tally.steps + 1,
            at=at,
            elapsed_s=self.elapsed(now),
            agent=self.active.name,
            source=source,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            cost=cost,
            calls=tuple(calls),
            model=model,
        )
        index = len(self.transcript)
        self._append(entry)
        if waiting := sum(record.result is None for record in calls):
            self._open[index] = waiting
            return
        if calls:
            self.tally.settle(entry, self.tools)
        self.offered = None  # what is offered next may be something else

    def _append(self, entry: Entry) -> None:
        self.transcript.append(entry)
        self.tally.add(entry)
        self.verdict = None

    def start(self, pending: Pending, *, at: float) -> None:
        """Record that a call's function is about to run."""
        self.transcript.start(pending, at)

    def land(self, pending: Pending, result: ToolResult, *, now: float) -> None:
        """Record a call's result."""
        result = named(result, self.transcript, pending)
        self.transcript.land(pending, result, elapsed_s=self.elapsed(now))
        self._landed(pending)

    def _landed(self, pending: Pending) -> None:
        entry, record = self.transcript.entries[pending.entry], self.transcript.record(pending)
        self.inner.pop(pending, None)
        self._open[pending.entry] -= 1
        if entry.run == self.run:
            self.tally.land(entry, record)
        if not self._open[pending.entry]:
            del self._open[pending.entry]
            if entry.run == self.run:
                self.tally.settle(entry, self.tools)
            if (name := handed_to(entry)) is not None:
                self.active = self.plan.personas.get(name, self.active)
            if not self._open:
                self.offered = None

    def delegate(self, pending: Pending, inner: State) -> None:
        """Record that another agent does a call, in a state of its own."""
        self._put.add(pending)
        self._delegates = True
        self.inner[pending] = inner
        inner.outer = self
        self.transcript.delegate(pending, inner.transcript)

    def hold(self, pending: Pending, hold: Hold | None) -> None:
        """Record what a call waits for."""
        self.transcript.hold(pending, hold)

    def put(self, pending: Pending, decision: Decision | None) -> bool:
        """Record what the run's `approve` function said of a call; whether the call has its result by that."""
        self._put.add(pending)
        if decision is None or not apply(self.transcript, {pending.call.id: decision}):
            return False
        self._landed(pending)
        return True

    def offer(self, tools: Mapping[str, Tool], *, now: float) -> None:
        """Record which tools there are just now."""
        self.offered = tools
        look_after_unknown(self.transcript, tools, partial(self.land, now=now))

    def land_instructions(self, head: str, context: str) -> None:
        """Record the active agent's instructions of the moment."""
        turn = self.turn()
        assert turn is not None  # they are asked for on behalf of a message
        entry = self.transcript.entries[turn]
        told = {**entry.instructions, self.active.name or "": (head, context)}
        self.transcript.replace(turn, replace(entry, instructions=told))

    def waited(self) -> None:
        """Record that the guards that the model has to wait for let the caller's last message pass."""
        self._waited = self.turn()
        if all(guard.wait for guard in self.plan.input_guards):
            self.guarded()

    def guarded(self) -> None:
        """Record that the guards let the caller's last message pass."""
        if (turn := self.turn()) is not None:
            self.transcript.replace(turn, replace(self.transcript.entries[turn], guarded=True))

    def refuse(self) -> None:
        """Record that a guard refused the caller's last message: it is kept, and never sent."""
        if (turn := self.turn()) is not None:
            self.transcript.replace(turn, replace(self.transcript.entries[turn], guarded=False))
            self.transcript.spliced.clear()

    def reword(self, content: Content) -> None:
        """Put what a guard made of it in the place of the caller's last message."""
        if (turn := self.turn()) is not None:
            self.transcript.replace(turn, replace(self.transcript.entries[turn], message=user(content)))
            self.transcript.spliced.clear()

    def judged(self, verdict: Verdict, *, now: float) -> None:
        """Record what came of checking the answer. A call that gave a right one has its result by that."""
        last = self.transcript.last
        self.verdict = verdict
        if verdict.problem is None and last is not None and last.calls and (open_ := self._open_answer()) is not None:
            self.transcript.land(open_, ToolResult(TAKEN), elapsed_s=self.elapsed(now))
            self._landed(open_)

    def _open_answer(self) -> Pending | None:
        pending = self.transcript.pending
        return next((each for each in pending if self.transcript.record(each).hold == "output"), None)

    def say(self, content: Content, *, at: float, now: float) -> None:
        """Record a further message of the caller."""
        if (answer := self._open_answer()) is not None:
            self.land(answer, ToolResult(PASSED_BY, "not_run"), now=now)
        self._append(Entry(user(content), "caller", self.run, self.tally.steps, at, self.elapsed(now)))

    def tell(self, message: Message, *, at: float, now: float) -> None:
        """Record a message of the loop itself. What is wrong with an answer that is a call is the call's result."""
        if (answer := self._open_answer()) is not None:
            self.land(answer, ToolResult(message.text, "failed"), now=now)
            self.verdict = None
        else:
            self._append(Entry(message, "loop", self.run, self.tally.steps, at, self.elapsed(now)))
