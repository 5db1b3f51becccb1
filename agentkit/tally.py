"""What a run has used and done so far: folds over its entries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from agentkit.messages import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.entries import CallRecord, Entry
    from agentkit.tools import Tool
    from agentkit.transcript import Transcript

_NOTHING: Final = Usage()


class Spent(NamedTuple):
    """What a conversation has used up, its sub-agents' among it."""

    steps: int = 0
    tool_calls: int = 0
    usage: Usage = _NOTHING

    def __add__(self, other: Spent) -> Spent:  # type: ignore[override]  # amounts are added, not put in a row
        return Spent(self.steps + other.steps, self.tool_calls + other.tool_calls, self.usage + other.usage)


_NONE: Final = Spent()


def spent_in(transcript: Transcript) -> Spent:
    """What all runs of a conversation have used up."""
    total = _NONE
    for entry in transcript:
        if entry.author == "model" or entry.covers:
            total += Spent(int(not entry.covers), 0, entry.usage or _NOTHING)
        for record in entry.calls:
            total += Spent(0, int(_ran(record)))
            if record.transcript is not None:
                total += spent_in(record.transcript)
    return total


@dataclass(slots=True)
class Tally:
    """What a run has used and done so far: a fold over its entries."""

    steps: int = 0
    tool_calls: int = 0
    usage: Usage = field(default_factory=Usage)
    elapsed_s: float = 0.0
    called: set[str] = field(default_factory=set[str])
    inner: Spent = _NONE  # by the agents that did calls of this run, of the calls that have their results
    faults: int = 0  # steps in a row that the model got wrong: corrected, or with no call that could run
    streaks: dict[tuple[str, str, str], int] = field(
        default_factory=dict[tuple[str, str, str], int]
    )  # steps in a row with this call and result

    def add(self, entry: Entry) -> None:
        """Count a new entry."""
        self.recall(entry)
        self.elapsed_s = max(self.elapsed_s, entry.elapsed_s)
        for record in entry.calls:
            if record.result is not None:
                self._count(record)
        if entry.author == "model":
            self.steps += 1
            if entry.usage is not None:
                self.usage += entry.usage
            if not entry.calls:
                self.streaks = {}
        elif entry.covers:
            self.usage += entry.usage or _NOTHING
        elif entry.author == "loop" and not self.streaks:
            self.faults += 1
        elif entry.author == "caller":
            self.faults = 0

    def recall(self, entry: Entry) -> None:
        """Note which tools were called since the last question."""
        if entry.author == "caller" and entry.message.role == "user" and not self.steps:
            self.called = set()
        self.called.update(record.call.name for record in entry.calls)

    def land(self, entry: Entry, record: CallRecord) -> None:
        """Count a result that landed in an entry."""
        self.elapsed_s = max(self.elapsed_s, entry.elapsed_s)
        self._count(record)

    def _count(self, record: CallRecord) -> None:
        self.tool_calls += _ran(record)
        if record.transcript is not None:
            self.inner += spent_in(record.transcript)

    def settle(self, entry: Entry, tools: Mapping[str, Tool]) -> None:
        """Count an entry whose calls all have their results."""
        self.faults = 0 if any(map(_ran, entry.calls)) else self.faults + 1
        repeats: dict[tuple[str, str, str], int] = {}
        for record in entry.calls:
            tool = tools.get(record.call.name)
            if record.result is not None and record.hold != "output" and not (tool is not None and tool.repeatable):
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


def _ran(record: CallRecord) -> bool:
    result = record.result
    return result is not None and result.status != "not_run" and record.hold != "output"
