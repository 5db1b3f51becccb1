"""A recorded conversation once more: what the model said as it was, tools and instructions as they are now."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, Unpack

from agentkit.approval import Answer, Decision
from agentkit.args import Overrides, overrides
from agentkit.errors import AgentKitError, UsageError
from agentkit.messages import Choice, Reply, calls_of
from agentkit.model import Model
from agentkit.result import Result
from agentkit.testing.differing import text_diff
from agentkit.testing.world import override
from agentkit.tools import find_tool, tools_by_name
from agentkit.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agentkit.agent import Agent
    from agentkit.args import RunArgs
    from agentkit.chat.request import Request
    from agentkit.entries import CallRecord, Entry
    from agentkit.flow import Steps
    from agentkit.messages import ToolCall

Kind: TypeAlias = Literal[
    "missing tool", "arguments", "result", "status", "approval", "answer", "asked", "unasked", "end"
]
"""What differs: a tool is gone; arguments do not fit its parameters any more; it gives another result; it ends in
another way (failed, denied); it waits for an approval now; the answer, as the agent's output, is another; the model is
asked once more than it was, or once less; the run ends with an error."""

_SHOWN_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is other than it was. `turn` counts the prompts from 1, `where` names the call or the message."""

    kind: Kind
    turn: int
    where: str
    before: str
    after: str

    def __str__(self) -> str:
        head = f"turn {self.turn}, {self.where}: {self.kind}"
        if "\n" in self.before + self.after:
            return f"{head}\n{text_diff(self.before, self.after)}"
        return f"{head}\n- {_short(self.before)}\n+ {_short(self.after)}"


class Differences(tuple[Difference, ...]):
    """All that differs, in order; empty, and so false, if nothing does. As text it is made to be read."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no differences"


def replay_run(transcript: Transcript | Result[Any], agent: Agent[Any, Any], /, **args: Unpack[RunArgs]) -> Differences:
    """Run a recorded conversation again with an agent as it is now, and tell what differs.

    The model's replies are those of the transcript, whatever it is asked; no model is needed. The tools are run, those
    of `override` in place of the real ones; decisions on calls are those that were recorded, and a call that waits for
    one only now gets its recorded result. `args` are those of a run: `deps`, `tools`, `limits`, ….

    ```python
    assert not replay_run(Transcript.load(recorded), agent), "the new tools tell the model something else"
    ```
    """
    past = transcript.transcript if isinstance(transcript, Result) else transcript
    if not any(entry.message.role == "assistant" for entry in past):
        raise UsageError("there is no reply of a model in this transcript: there is nothing to run again")
    again = _Again(past, agent, args)
    return Differences(again.differences())


class _Recorded(Model):
    """Says again what was said in a conversation, and in those of the agents that were asked in it."""

    name = "recorded"

    def __init__(self, transcript: Transcript) -> None:
        self._opening = _opening(transcript)
        self._beside: dict[bytes, deque[Reply]] = {}
        self.turn: deque[Reply] = deque()
        self._add_parts(transcript)

    def _add_parts(self, transcript: Transcript) -> None:
        for part in _parts(transcript):
            self._beside.setdefault(_opening(part), deque()).extend(_replies(part))
            self._add_parts(part)

    def flow(self, request: Request) -> Steps[Reply]:
        """The next reply of this conversation, of the main one in this turn."""
        yield from ()
        opening = _opening(request.transcript)
        replies = self.turn if opening == self._opening else self._beside.get(opening)
        if not replies:
            raise _Over("the model is asked once more than it was")
        return replies.popleft()


class _Over(AgentKitError):
    pass


def _opening(transcript: Transcript) -> bytes:
    """What tells a conversation from those of the agents that are asked in it."""
    return next((entry.message.json for entry in transcript if entry.message.role == "user"), b"")


def _parts(transcript: Transcript) -> list[Transcript]:
    return [record.transcript for entry in transcript for record in entry.calls if record.transcript is not None]


def _replies(entries: Iterable[Entry]) -> Iterator[Reply]:
    return (_reply_of(entry) for entry in entries if entry.message.role == "assistant")


def _reply_of(entry: Entry) -> Reply:
    data = entry.message.data
    choice = Choice(
        entry.message,
        entry.message.text,
        refusal=data.get("refusal"),
        tool_calls=tuple([record.call for record in entry.calls] or calls_of(data)),
        finish_reason=entry.finish_reason,
    )
    return Reply((choice,), usage=entry.usage)


class _Again:
    def __init__(self, past: Transcript, agent: Agent[Any, Any], args: RunArgs) -> None:
        self.past = past
        self.agent = agent
        self.args = {name: value for name, value in args.items() if name not in ("transcript", "decisions", "model")}
        # within the user's own block, its tools stay in
        self.replaced = list((overrides.get() or Overrides()).tools.values())
        more: Any = args.get("tools", ())
        self.tools = {**agent.tools, **tools_by_name([*more, *self.replaced])}
        self.model = _Recorded(past)
        self.decided = {record.call.id: record for record in _records(past)}
        self.waited: set[str] = set()

    def differences(self) -> Iterator[Difference]:
        turns = _turns(self.past)
        now = Transcript(turns[0])
        for number, turn in enumerate(turns[1:], 1):
            self.waited.clear()
            self.model.turn = deque(_replies(turn))
            before, error = len(now), None
            try:
                now = self._run(turn[0].message.data["content"], now)
            except AgentKitError as raised:
                error, now = raised, raised.transcript or now
            new = list(now)[before:]
            yield from self._compared(number, turn, new)
            if isinstance(error, _Over):
                why = new[-1].message.text if new and new[-1].author == "loop" else ""
                yield Difference("asked", number, "the model", "the run was over", f"{error}: {why}".rstrip(": "))
                return
            if error is not None:
                yield Difference("end", number, "the run", "it went on", f"{type(error).__name__}: {error}")
                return
            if left := len(self.model.turn):
                was = f"asked {left} time{'s' if left > 1 else ''} more"
                yield Difference("unasked", number, "the model", was, "the run is over")

    def _run(self, prompt: Any, past: Transcript) -> Transcript:
        args: Any = {**self.args, "transcript": past, "approve": self._decide}
        with override(model=self.model, tools=self.replaced):
            return self.agent.run_sync(prompt, **args).transcript

    def _decide(self, call: ToolCall) -> Decision:
        record = self.decided.get(call.id)
        if record is not None and record.decision is not None and not isinstance(record.decision, Answer):
            return record.decision
        if record is None or record.decision is None:
            self.waited.add(call.id)
        return Answer("" if record is None or record.result is None else record.result.content)

    def _compared(self, turn: int, before: Sequence[Entry], after: Sequence[Entry]) -> Iterator[Difference]:
        known = {record.call.id: record for entry in after for record in entry.calls}
        for entry in before:
            for record in entry.calls:
                new = known.get(record.call.id)
                if new is not None:
                    yield from self._call_compared(turn, record, new)
        old_text, new_text = before[-1].message.text, after[-1].message.text if after else ""
        if after and after[-1].message.role == "assistant" and old_text != new_text:
            yield Difference("answer", turn, "the answer", old_text, new_text)

    def _call_compared(self, turn: int, old: CallRecord, new: CallRecord) -> Iterator[Difference]:
        where = f"{old.call.name}({old.call.arguments})"
        if old.transcript is not None and new.transcript is not None:
            yield from self._compared(turn, list(old.transcript), list(new.transcript))
        if old.call.id in self.waited:
            yield Difference("approval", turn, where, "it ran", "it waits for a decision")
            return
        if old.result is None or new.result is None:
            return
        was, now = old.result, new.result
        if now.status != was.status:
            gone = now.status == "not_run" and find_tool(self.tools, old.call.name) is None
            kind: Kind = "missing tool" if gone else "arguments" if now.status == "not_run" else "status"
            yield Difference(kind, turn, where, f"{was.status}: {was.content}", f"{now.status}: {now.content}")
        elif now.content != was.content:
            yield Difference("result", turn, where, was.content, now.content)


def _turns(transcript: Transcript) -> list[list[Entry]]:
    """What stands before the first prompt, and then each prompt with all that came of it."""
    turns: list[list[Entry]] = [[]]
    for entry in transcript:
        if entry.message.role == "user" and entry.author == "caller":
            turns.append([])
        turns[-1].append(entry)
    return turns


def _records(transcript: Transcript) -> Iterator[CallRecord]:
    for entry in transcript:
        for record in entry.calls:
            yield record
            if record.transcript is not None:
                yield from _records(record.transcript)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
