"""A run in the making: its transcript, what does not change while it goes on, and what is counted.

`State` only records and answers questions; what happens next is decided in loop.py. The counts are a fold over the
run's entries, kept as a cache: a state made from the same transcript has the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from agentkit.chat.request import Request
from agentkit.chat.settings import Settings
from agentkit.errors import LimitReached, UsageError
from agentkit.messages import Content, Reply, ToolCall, ToolResult, Usage, is_cut, user
from agentkit.policy import Limits
from agentkit.tools import Tool, find_tool
from agentkit.transcript import CallRecord, Entry, Pending, Transcript

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.messages import Message

CUT: Final = (
    "This call was not run: the reply was cut off at its token limit before the call was whole. "
    "Make the call again with shorter arguments, or split the work into several calls."
)


@dataclass(slots=True)
class Plan:
    """What does not change while a run goes on."""

    tools: Mapping[str, Tool] = field(default_factory=dict[str, Tool])
    name: str | None = None
    instructions: str = ""
    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)
    on_length: Literal["return", "error"] = "return"


@dataclass(slots=True)
class Tally:
    """What a run has used and done so far: a fold over its entries."""

    steps: int = 0
    tool_calls: int = 0
    usage: Usage = field(default_factory=Usage)
    elapsed_s: float = 0.0
    called: set[str] = field(default_factory=set[str])
    faults: int = 0  # steps in a row that the model got wrong: corrected, or with no call that could run
    streaks: dict[tuple[str, str, str], int] = field(
        default_factory=dict[tuple[str, str, str], int]
    )  # steps in a row with this call and result

    def add(self, entry: Entry) -> None:
        """Count a new entry."""
        self.recall(entry)
        self.elapsed_s = max(self.elapsed_s, entry.elapsed_s)
        self.tool_calls += sum(_ran(record.result) for record in entry.calls)
        if entry.author == "model":
            self.steps += 1
            if entry.usage is not None:
                self.usage += entry.usage
            if not entry.calls:
                self.streaks = {}
        elif entry.author == "loop" and not self.streaks:
            self.faults += 1

    def recall(self, entry: Entry) -> None:
        """Note which tools were called since the last question."""
        if entry.author == "caller" and entry.message.role == "user" and not self.steps:
            self.called = set()
        self.called.update(record.call.name for record in entry.calls)

    def land(self, entry: Entry, result: ToolResult) -> None:
        """Count a result that landed in an entry."""
        self.elapsed_s = max(self.elapsed_s, entry.elapsed_s)
        self.tool_calls += _ran(result)

    def settle(self, entry: Entry, tools: Mapping[str, Tool]) -> None:
        """Count an entry whose calls all have their results."""
        self.faults = 0 if any(_ran(record.result) for record in entry.calls) else self.faults + 1
        repeats: dict[tuple[str, str, str], int] = {}
        for record in entry.calls:
            tool = tools.get(record.call.name)
            if record.result is not None and not (tool is not None and tool.repeatable):
                sign = (record.call.name, record.call.arguments, record.result.content)
                repeats[sign] = self.streaks.get(sign, 0) + 1
        self.streaks = repeats

    @property
    def repeated(self) -> tuple[str, int]:
        """The call that the model keeps making with the same result: its name, and for how many steps."""
        if not self.streaks:
            return "", 0
        (name, _, _), times = max(self.streaks.items(), key=lambda item: item[1])
        return name, times

    @property
    def tokens(self) -> int:
        """Tokens used, prompt and completion."""
        return self.usage.total_tokens or self.usage.prompt_tokens + self.usage.completion_tokens


class State:
    """A run's state: the transcript is all of it, the rest is computed from it."""

    __slots__ = ("_before", "_began", "_open", "plan", "run", "tally", "transcript")

    def __init__(
        self,
        plan: Plan,
        transcript: Transcript,
        prompt: Content | None = None,
        *,
        new_run: str,
        at: float,
        began: float,
    ) -> None:
        """Go on from a copy of `transcript`, with a prompt as a new run, without one where it stands.

        `new_run` is the id of a new run, `at` Unix time, `began` the monotonic clock.
        """
        last = transcript.last
        if prompt is None and last is None:
            raise UsageError("there is nothing to answer: give a prompt, or a transcript that has messages")
        self.plan = plan
        self.transcript = transcript.copy()
        self.run = last.run if prompt is None and last is not None and last.run else new_run
        self.transcript.adopt(self.run, self._resolved)
        if prompt is not None:
            self.transcript.append(Entry(user(prompt), run=self.run, at=at))
        self.tally = Tally()
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

    def elapsed(self, now: float) -> float:
        """Seconds that the run has been at work, those before a resume included."""
        return self._before + now - self._began

    @property
    def forced(self) -> str | None:
        """What the settings force the model to call and it has not yet: a tool's name, "" for any tool, else None."""
        choice = self.plan.settings.forced
        if choice is None or (choice in self.tally.called if choice else self.tally.called):
            return None
        return choice

    def request(self) -> Request:
        """What to ask the model next."""
        settings = self.plan.settings
        if settings.forced is not None and self.forced is None:
            settings = replace(settings, tool_choice=None)  # done; kept up, it would never let the model answer
        tools = tuple([tool.spec for tool in self.plan.tools.values()])
        return Request(self.transcript, tools, settings, self.plan.instructions)

    def check(self, now: float, *, calls: int = 0) -> None:
        """Raise LimitReached if a limit forbids the next request, or that many tool calls."""
        limits, tally = self.plan.limits, self.tally
        _check("seconds", limits.seconds, self.elapsed(now))
        if calls:
            _check("tool_calls", limits.tool_calls, tally.tool_calls + calls - 1)
        else:
            _check("steps", limits.steps, tally.steps)
            _check("tokens", limits.tokens, tally.tokens)

    def allows(self, calls: int) -> bool:
        """Whether so many more calls are within the limit."""
        limit = self.plan.limits.tool_calls
        return limit is None or self.tally.tool_calls + calls <= limit

    def time_left(self, now: float) -> float | None:
        """Seconds until `Limits(seconds=…)` is reached, or None."""
        limit = self.plan.limits.seconds
        return None if limit is None else max(0.0, limit - self.elapsed(now))

    def land_reply(self, reply: Reply, *, source: str | None, at: float, now: float) -> None:
        """Record the model's reply; a call that was cut off gets its result with it."""
        calls = [CallRecord(self._resolved(call)) for call in reply.tool_calls]
        if calls and is_cut(reply.finish_reason):
            calls[-1].result = ToolResult(CUT, status="not_run")
        entry = Entry(
            reply.message,
            author="model",
            run=self.run,
            step=self.tally.steps + 1,
            at=at,
            elapsed_s=self.elapsed(now),
            agent=self.plan.name,
            source=source,
            finish_reason=reply.finish_reason,
            usage=reply.usage,
            calls=tuple(calls),
        )
        index = len(self.transcript)
        self.transcript.append(entry)
        self.tally.add(entry)
        if waiting := sum(record.result is None for record in calls):
            self._open[index] = waiting
        elif calls:
            self.tally.settle(entry, self.plan.tools)

    def _resolved(self, call: ToolCall) -> ToolCall:
        tool = find_tool(self.plan.tools, call.name)
        return call if tool is None or tool.name == call.name else replace(call, name=tool.name)

    def start(self, pending: Pending, *, at: float) -> None:
        """Record that a call's function is about to run."""
        self.transcript.start(pending, at)

    def land(self, pending: Pending, result: ToolResult, *, now: float) -> None:
        """Record a call's result."""
        self.transcript.land(pending, result, elapsed_s=self.elapsed(now))
        entry = self.transcript.entries[pending.entry]
        self._open[pending.entry] -= 1
        if entry.run == self.run:
            self.tally.land(entry, result)
        if not self._open[pending.entry]:
            del self._open[pending.entry]
            if entry.run == self.run:
                self.tally.settle(entry, self.plan.tools)

    def say(self, content: Content, *, at: float, now: float) -> None:
        """Record a further message of the caller."""
        entry = Entry(user(content), "caller", self.run, self.tally.steps, at, self.elapsed(now))
        self.transcript.append(entry)
        self.tally.add(entry)

    def tell(self, message: Message, *, at: float, now: float) -> None:
        """Record a message of the loop itself."""
        entry = Entry(message, "loop", self.run, self.tally.steps, at, self.elapsed(now))
        self.transcript.append(entry)
        self.tally.add(entry)


def _ran(result: ToolResult | None) -> bool:
    return result is not None and result.status != "not_run"


def _check(name: str, limit: float | None, used: float) -> None:
    if limit is not None and used >= limit:
        raise LimitReached(
            f"the run has reached its limit {name}={limit:g}; raise it with Limits({name}=…) and go on from the "
            "error's transcript",
            limit=name,
            value=limit,
        )
