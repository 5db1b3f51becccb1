"""What a run does next: one pure function of its state.

```
prompt ──► CallModel ──► reply ──┬─ calls ──► RunTools ──► results ──► CallModel …
              ▲                  ├─ wrong ──► Tell (a correction) ──┐
              └──────────────────┼──────────────────────────────────┘
                                 └─ an answer ──► Finished
```

A driver performs each effect, records its outcome in the state, and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from agentkit.errors import ContentFilterError, LimitReached, ModelError
from agentkit.messages import Message, is_cut, user

if TYPE_CHECKING:
    from agentkit.chat.request import Request
    from agentkit.state import State
    from agentkit.transcript import Entry, Pending

HINT_AFTER: Final = 3
STOP_AFTER: Final = 5


@dataclass(slots=True)
class RunTools:
    """Run these calls; each result lands the moment it is there."""

    calls: tuple[Pending, ...]


@dataclass(slots=True)
class CallModel:
    """Ask the model; its reply lands whole."""

    request: Request


@dataclass(slots=True)
class Tell:
    """Put a message of the loop itself into the conversation: a correction, a hint."""

    message: Message


@dataclass(slots=True)
class Finished:
    """The run has its answer."""


Effect: TypeAlias = RunTools | CallModel | Tell


def decide(state: State, now: float) -> Effect | Finished:
    """The next effect of a run, or Finished. `now` is the monotonic clock.

    Raises:
        LimitReached: a limit forbids what would come next.
        ModelError: the answer cannot be used: refused, cut off, or wrong after all corrections.
        ContentFilterError: the endpoint's filter stopped the answer.
    """
    if calls := state.transcript.pending:
        state.check(now, calls=len(calls))
        return RunTools(tuple(calls))

    last = state.transcript.last
    if last is not None and last.message.role == "assistant" and not last.calls:
        correction = judge(state, last)
        if correction is None:
            return Finished()
        return Tell(user(correction))

    if state.tally.faults > state.plan.limits.corrections:
        raise ModelError(f"the model got it wrong {state.tally.faults} times in a row: {fault(last)}")
    name, times = state.tally.repeated
    if times >= STOP_AFTER:
        raise LimitReached(
            f"the model called {name} {times} times running with the same arguments and the same result; if that is "
            "right for this tool, declare it with @tool(repeatable=True)",
            limit="repeats",
            value=STOP_AFTER,
        )
    if times == HINT_AFTER and last is not None and last.calls:
        return Tell(user(f"You have called {name} {times} times with the same arguments and got the same result. "
                         "Do not call it like that again: use the result, or try something else."))  # fmt: skip
    state.check(now)
    return CallModel(state.request())


def judge(state: State, last: Entry) -> str | None:
    """What is wrong with an answer, told to the model; None if nothing is. Raises what no correction can mend."""
    data = last.message.data
    text = last.message.text
    if data.get("refusal"):
        raise ModelError(f"the model refuses: {data['refusal']}", text=text)
    if last.finish_reason == "content_filter":
        raise ContentFilterError("the endpoint's content filter stopped the answer", partial_text=text)
    if (forced := state.forced) is not None:
        wanted = f"the tool {forced}" if forced else "a tool"
        problem = f"You have to call {wanted} now, with arguments as its parameters say. Do not answer in words."
        allowed = state.plan.limits.corrections
    elif is_cut(last.finish_reason):
        if state.plan.on_length == "error":
            raise ModelError("the answer was cut off at the token limit; raise max_tokens, or ask for less", text=text)
        return None
    elif not text.strip() and not data.get("audio"):
        problem = "Your last answer was empty. Answer the question, or call a tool."
        allowed = min(1, state.plan.limits.corrections)
    else:
        return None
    if state.tally.faults >= allowed:
        raise ModelError(f"the model got it wrong {state.tally.faults + 1} times in a row: {problem}", text=text)
    return problem


def fault(last: Entry | None) -> str:
    """What was wrong with the last calls, in short."""
    told = [record.result.content for record in last.calls if record.result is not None] if last is not None else []
    return told[-1] if told else "no usable answer"
