"""What a run asks of the user's functions, and what it makes of their answers: generators that yield each call of one.

An error of such a function is the caller's own: the run ends with a UsageError that names the function and has the
error as its cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentkit.approval import decision_from
from agentkit.context import Context, Hook, Invoke, Retry, asked
from agentkit.errors import (
    AgentKitError,
    BadArguments,
    Blocked,
    ContentFilterError,
    ContextLengthError,
    ModelError,
    UsageError,
)
from agentkit.guards import Refuse
from agentkit.instructions import joined
from agentkit.messages import is_cut
from agentkit.output import WrongAnswer
from agentkit.outputs import READER, needs_reader, output_reader
from agentkit.state import Verdict
from agentkit.toolsets import offered

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from agentkit.chat.request import Request
    from agentkit.flow import SupportsFlow
    from agentkit.guards import InputGuard
    from agentkit.loop import Consult
    from agentkit.messages import Content, Reply
    from agentkit.state import State
    from agentkit.tools import Tool
    from agentkit.transcript import Pending

_LEAST_PART: Final = 1 / 8
"""Of a conversation that is too long to be summed up at once, no less is tried."""


@dataclass(slots=True, eq=False)
class Query:
    """Ask a model something beside the conversation; nothing of it is told. The outcome is an Answered."""

    model: SupportsFlow | None
    request: Request


class Answered(NamedTuple):
    """A model's reply, the model that gave it, what it cost, and when it came: in Unix time, and by the monotonic
    clock."""

    reply: Reply
    model: str | None
    cost: float | None
    at: float
    now: float


def consult(
    effect: Consult, state: State, context_of: Callable[[Pending | None], Context[Any]], now: float
) -> Generator[Invoke | Query, Any, list[Pending]]:
    """Ask, and record the answers in the state. Returns the calls that have their results by that.

    Raises:
        Blocked: a guard refused.
        UsageError: one of the functions failed, or gave what it must not.
    """
    match effect.about:
        case "instructions":
            yield from _instructions(state, context_of(None))
        case "tools":
            yield from _tools(state, context_of(None), now)
        case "approval":
            for pending in effect.calls:
                yield from _approval(state, pending, context_of(pending))
        case "decision":
            return (yield from _decisions(state, effect.calls, context_of))
        case "prompt":
            for guard in state.plan.input_guards:
                if guard.wait:
                    changed = yield from guard_input(guard, state.prompt, context_of(None))
                    if changed is not None:
                        state.reword(changed)
            state.waited()
        case "summary":
            yield from _summary(state)
        case "answer":
            state.judged((yield from _answer(state, context_of(None))), now=now)
    return []


def _asked(hook: Hook, context: Context[Any], *args: Any) -> Generator[Invoke, Any, Any]:
    return asked(hook, context, *args, words=(Retry, Refuse))


def _instructions(state: State, context: Context[Any]) -> Generator[Invoke, Any, None]:
    head: list[str] = []
    turn: list[str] = []
    for instruction in state.active.asked:
        text = yield from _asked(instruction.hook, context)
        if not isinstance(text, str | None):
            raise UsageError(f"the instructions function {instruction.hook.name} returned {text!r}, which is no text")
        (head if instruction.position == "head" else turn).append(text or "")
    state.land_instructions(joined(head), joined(turn))


def _tools(state: State, context: Context[Any], now: float) -> Generator[Invoke, Any, None]:
    tools = yield from offered([*state.active.tools.values(), *state.active.groups], context)
    if needs_reader(tools, state.transcript) and READER not in {tool.name for tool in tools}:
        tools.append(output_reader())
    state.offer({tool.name: tool for tool in tools}, now=now)


def _summary(state: State) -> Generator[Query, Any, None]:
    compaction = state.plan.compaction
    assert compaction is not None  # else it would not be asked for
    model = compaction.model
    assert not isinstance(model, str)  # the agent has made it a model
    request = state.request()
    request = request.with_(settings=compaction.asking(request.settings), output=None, context="")
    transcript, covers = state.to_sum_up(1.0)
    part, answered = 1.0, None
    while answered is None:
        try:
            answered = yield Query(model, request.with_(transcript=transcript))
        except ContextLengthError:
            too_long = transcript
            while transcript == too_long:
                part /= 2
                if part < _LEAST_PART:
                    raise
                transcript, covers = state.to_sum_up(part)
    _check_summary(answered.reply)
    state.sum_up(answered.reply, covers, at=answered.at, now=answered.now, model=answered.model, cost=answered.cost)


def _check_summary(reply: Reply) -> None:
    """Raise what is wrong with a summary: half of one would be taken for the whole conversation."""
    refusal, text = reply.message.data.get("refusal"), reply.text
    if refusal:
        raise ModelError(f"the model refuses to sum up the conversation: {refusal}", text=text)
    if reply.finish_reason == "content_filter":
        raise ContentFilterError("the endpoint's content filter stopped the summary", partial_text=text)
    if is_cut(reply.finish_reason):
        raise ModelError(
            "the summary of the conversation was cut off at the token limit; raise max_tokens, or ask for a shorter "
            "one with Compaction(prompt=…)",
            text=text,
        )
    if not text.strip():
        names = ", ".join(call.name for call in reply.tool_calls)
        told = f"it called {names}" if names else "its answer is empty"
        raise ModelError(f"the model did not sum up the conversation: {told}; another one may, Compaction(model=…)")


def _approval(state: State, pending: Pending, context: Context[Any]) -> Generator[Invoke, Any, None]:
    made = state.tools.get(pending.call.name)
    if made is None or not _fits(made, pending):
        return state.hold(pending, None)  # nobody is asked about a call that cannot run; run, it says why
    if made.external:
        return state.hold(pending, "answer")
    hook = made.approval
    needed = bool((yield from _asked(hook, context, pending.call))) if isinstance(hook, Hook) else hook
    return state.hold(pending, "approval" if needed else None)


def _fits(made: Tool, pending: Pending) -> bool:
    try:
        made.schema.validate(pending.call.arguments)
    except BadArguments:
        return False
    return True


def _decisions(
    state: State, calls: tuple[Pending, ...], context_of: Callable[[Pending | None], Context[Any]]
) -> Generator[Invoke, Any, list[Pending]]:
    hook = state.plan.approve
    assert hook is not None  # else it would not be asked
    landed: list[Pending] = []
    for pending in calls:
        said = yield from _asked(hook, context_of(pending), pending.call)
        if state.put(pending, decision_from(said, f"{pending.call.name} ({pending.call.id})")):
            landed.append(pending)
    return landed


def guard_input(guard: InputGuard, content: Content, context: Context[Any]) -> Generator[Invoke, Any, Content | None]:
    """What a guard makes of a prompt; None if it lets it pass. Raises Blocked."""
    name = guard.hook.name
    try:
        changed: Content | None = yield from _asked(guard.hook, context, content)
    except (Refuse, Retry) as error:
        raise Blocked(f"the input guard {name} refused: {error}", guard=name, reason=str(error)) from error
    return changed


def _answer(state: State, context: Context[Any]) -> Generator[Invoke, Any, Verdict]:
    plan = state.plan
    try:
        value = yield from _read(state, context)
        for validator in plan.validators:
            changed = yield from _asked(validator, context, value)
            value = value if changed is None else changed
    except (WrongAnswer, Retry) as error:
        return Verdict(problem=str(error))
    for guard in plan.output_guards:
        try:
            changed = yield from _asked(guard, context, value)
        except Retry as error:
            return Verdict(problem=str(error))
        except Refuse as error:
            raise Blocked(
                f"the output guard {guard.name} refused: {error}", guard=guard.name, reason=str(error)
            ) from error
        value = value if changed is None else changed
    return Verdict(value)


def _read(state: State, context: Context[Any]) -> Generator[Invoke, Any, Any]:
    """The answer's value as the output type has it."""
    last, output, answer = state.transcript.last, state.plan.output, state.answer
    assert last is not None  # it is the answer
    if output is None:
        return last.message.text
    if answer is None:
        return output.read_text(last.message.text)
    made = output.function(answer.call.name)
    if made is None:
        return output.read_call(answer.call.name, answer.call.arguments)
    try:
        return (yield made.bind(answer.call.arguments, context))
    except BadArguments as error:
        raise WrongAnswer(str(error)) from error
    except (Retry, AgentKitError):
        raise
    except Exception as error:
        raise UsageError(f"the output function {made.name} failed with {type(error).__name__}: {error}") from error
