"""What a run does next: one pure function of its state.

```
prompt ──► CallModel ──► reply ──┬─ calls ──► RunTools ──► results ──► CallModel …
              ▲                  ├─ wrong ──► Tell (a correction) ──┐
              └──────────────────┼──────────────────────────────────┘
                                 └─ an answer, or calls that wait for a decision ──► Finished
```

Before a step, Consult asks functions of the user's, where there are any: instructions, toolsets, approvals, guards,
validators. A driver performs each effect, records its outcome in the state, and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from agentkit.errors import ContentFilterError, LimitReached, ModelError
from agentkit.messages import Message, is_cut, user

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Ask the model; its reply lands whole. With `guarded`, the input guards run beside it, and can stop it."""

    request: Request
    guarded: bool = False


About: TypeAlias = Literal["instructions", "tools", "approval", "decision", "prompt", "summary", "answer"]


@dataclass(slots=True)
class Consult:
    """Ask functions of the user's: for the instructions or the tools of the moment, whether these calls need an
    approval, what is decided of them, whether the prompt may pass, whether the answer is right; or a model for a
    summary of the conversation."""

    about: About
    calls: tuple[Pending, ...] = ()


@dataclass(slots=True)
class Tell:
    """Put a message of the loop itself into the conversation: a correction, a hint."""

    message: Message


@dataclass(slots=True)
class Finished:
    """The run has its answer; or it is paused, since calls wait for a decision."""

    paused: bool = False


Effect: TypeAlias = RunTools | CallModel | Tell | Consult


def decide(state: State, now: float) -> Effect | Finished:
    """The next effect of a run, or Finished. `now` is the monotonic clock.

    Raises:
        LimitReached: a limit forbids what would come next.
        ModelError: the answer cannot be used: refused, cut off, or wrong after all corrections.
        ContentFilterError: the endpoint's filter stopped the answer.
    """
    transcript = state.transcript
    if calls := transcript.pending:
        if (question := open_question(state, calls)) is not None:
            return question
        if runnable := state.runnable(calls):
            state.check(now, calls=len(runnable))
            return RunTools(runnable)
        if state.answer is None:
            return Finished(paused=True)

    last = transcript.last
    if last is not None and state.is_answered:
        problem = judge(state, last)
        if problem is None and state.is_checked:
            if state.verdict is None:
                return Consult("answer")
            problem = allowed(state, state.verdict.problem, last)
        return Finished() if problem is None else Tell(user(problem))

    # wrong answers are counted where they are judged
    if state.tally.faults > max(state.corrections, state.plan.limits.corrections):
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
    if (question := unknown_yet(state)) is not None:
        return question
    return CallModel(state.request(), guarded=state.is_unguarded)


def open_question(state: State, calls: Sequence[Pending]) -> Consult | None:
    """What has to be known before calls run or wait."""
    if state.is_unoffered:
        return Consult("tools")
    if asked := state.to_ask(calls):
        return Consult("approval", asked)
    if put := state.to_put(calls):
        return Consult("decision", put)
    return None


def unknown_yet(state: State) -> Consult | None:
    """What has to be known before the model is asked."""
    if state.must_wait:
        return Consult("prompt")
    if state.is_untold:
        return Consult("instructions")
    if state.is_unoffered:
        return Consult("tools")
    return Consult("summary") if state.is_crowded else None


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
        most = state.plan.limits.corrections
    elif is_cut(last.finish_reason) and not last.calls:
        if state.plan.on_length == "error":
            raise ModelError("the answer was cut off at the token limit; raise max_tokens, or ask for less", text=text)
        return None
    elif not text.strip() and not data.get("audio") and not last.calls:
        problem = "Your last answer was empty. Answer the question, or call a tool."
        most = min(1, state.plan.limits.corrections)
    else:
        return None
    return allowed(state, problem, last, most=most)


def allowed(state: State, problem: str | None, last: Entry, *, most: int | None = None) -> str | None:
    """The problem, if the model may still be corrected. Raises ModelError if it may not."""
    if problem is not None and state.tally.faults >= (state.corrections if most is None else most):
        text = last.message.text or "".join(record.call.arguments for record in last.calls)
        raise ModelError(f"the model got it wrong {state.tally.faults + 1} times in a row: {problem}", text=text)
    return problem


def fault(last: Entry | None) -> str:
    """What was wrong with the last calls, in short."""
    told = [record.result.content for record in last.calls if record.result is not None] if last is not None else []
    return told[-1] if told else "no usable answer"
