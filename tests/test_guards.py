"""Guards of what goes in and what comes out: they pass, change, refuse, fail; beside the request or before it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from anyio import sleep
from anyio.lowlevel import checkpoint

from agentkit import (
    Agent,
    Approve,
    ChatModel,
    Context,
    InputGuard,
    Refuse,
    Result,
    Retry,
    Transcript,
    tool,
)
from agentkit.errors import BadRequestError, Blocked, UsageError
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, say, status
from agentkit.testing.script import hang, stall
from tests.cancelling import soon
from tests.drivers import DRIVERS, outcome
from tests.pausing import by_turn
from tests.test_pause import kinds
from tests.watching import WATCHERS, agent_for

drivers = pytest.mark.parametrize("driver", DRIVERS)


def echo(request: Any) -> str:
    """Say again what was said last."""
    return f"You said {request.messages[-1]['content']}"


# Of the input


def watch_words(content: str) -> str | None:
    if "bad" in content:
        raise Refuse("a bad word")
    return content.replace("secret", "…") if "secret" in content else None


async def watch_words_async(content: str) -> str | None:
    await checkpoint()
    return watch_words(content)


def watch_with_context(context: Context[str], content: str) -> str | None:
    assert context.deps == "Ada"
    assert context.transcript.messages[-1]["content"] == content
    assert (context.step, context.usage.total_tokens) == (0, 0)
    return watch_words(content)


GUARDS: dict[str, Any] = {
    "sync": watch_words,
    "async": watch_words_async,
    "with the context": watch_with_context,
    "waited for": InputGuard(watch_words, wait=True),
    "async, waited for": InputGuard(watch_words_async, wait=True),
}
guards = pytest.mark.parametrize("guard", GUARDS.values(), ids=GUARDS)


@drivers
@guards
def test_what_goes_in_passes_is_changed_or_refused(guard: Any, driver: str) -> None:
    model = ScriptedModel(echo)
    agent = Agent(model, input_guards=[guard])
    events: list[Any] = []
    args = {"deps": "Ada", "on_event": events.append}
    passed = DRIVERS[driver](agent, "hello", **args)
    assert passed.output == "You said hello"
    assert passed.transcript.entries[0].guarded
    assert kinds(events) == ["StepFinished", "RunFinished"]

    changed = DRIVERS[driver](agent, "my secret", **args)
    assert changed.output == "You said my …"
    assert "secret" not in changed.transcript.dump()
    assert changed.usage.total_tokens == 15

    events.clear()
    error = outcome(DRIVERS[driver], agent, "a bad one", **args)
    assert isinstance(error, Blocked)
    name = guard.hook.name if isinstance(guard, InputGuard) else guard.__name__
    assert (error.guard, error.reason) == (name, "a bad word")
    assert str(error) == f"the input guard {name} refused: a bad word"
    assert events == []
    assert error.transcript is not None
    assert [m["role"] for m in error.transcript.messages] == []
    # what was refused is never sent; another prompt may pass
    again = outcome(DRIVERS[driver], agent, None, transcript=error.transcript, **args)
    assert isinstance(again, UsageError)
    assert "a guard refused the last message" in str(again)
    more = DRIVERS[driver](agent, "fine", transcript=Transcript.load(error.transcript.dump()), **args)
    assert more.output == "You said fine"


@drivers
@pytest.mark.parametrize("place", ["before the head", "in the body"])
@pytest.mark.parametrize("ends", ["refused", "changed"])
def test_it_breaks_off_the_request_beside_it(ends: str, place: str, driver: str) -> None:
    asked: list[FakeEndpoint] = []

    def guard(content: str) -> str | None:
        if content == "other":
            return None
        asked[0].wait_until(lambda: len(asked[0].requests) == 1)
        if ends == "refused":
            raise Refuse("no")
        return "other"

    def answer(request: Any) -> Any:
        if request.messages[-1]["content"] == "other":
            return say("so be it")
        return hang() if place == "before the head" else stall(say(["It ", "is"]), after_events=2)

    events: list[Any] = []
    with FakeEndpoint(answer) as fake:
        asked.append(fake)
        ended = outcome(DRIVERS[driver], agent_for(fake, input_guards=[guard]), "please", on_event=events.append)
        fake.wait_until(fake.requests[0].disconnected.is_set)
        if ends == "refused":
            assert isinstance(ended, Blocked)
            assert events == []
            assert len(fake.requests) == 1
        else:
            assert isinstance(ended, Result)
            assert ended.output == "so be it"
            assert "It" not in "".join(getattr(event, "text", "") for event in events)
            assert [request.messages for request in fake.requests][1] == [{"role": "user", "content": "other"}]


@pytest.mark.parametrize("watch", WATCHERS.values(), ids=WATCHERS)
def test_what_streams_meanwhile_is_told_when_it_has_passed(watch: Callable[..., Any]) -> None:
    may_pass, told = threading.Event(), list[Any]()

    def slow(content: str) -> None:
        assert may_pass.wait(5)

    def listen(event: Any) -> None:
        told.append((type(event).__name__, may_pass.is_set()))

    def answer(_: Any) -> Any:
        threading.Timer(0.05, may_pass.set).start()
        return say(["One ", "two ", "three."])

    with FakeEndpoint(answer) as fake:
        seen = watch(agent_for(fake, input_guards=[slow]), "please", on_event=listen)
    assert seen.text == "One two three."
    assert seen.kinds == ["TextDelta", "StepFinished", "RunFinished"]
    assert all(passed for _, passed in told)


@drivers
def test_one_that_is_waited_for_comes_before_the_request(driver: str) -> None:
    order: list[str] = []

    def first(content: str) -> str:
        order.append(f"first {content}")
        return content + "!"

    def second(content: str) -> None:
        order.append(f"second {content}")

    def beside(content: str) -> None:
        order.append(f"beside {content}")

    def answer(request: Any) -> str:
        order.append("asked")
        return echo(request)

    guards = [InputGuard(first, wait=True), beside, InputGuard(second, wait=True)]
    result = DRIVERS[driver](Agent(ScriptedModel(answer), input_guards=guards), "hi")
    assert result.output == "You said hi!"
    assert order[:2] == ["first hi", "second hi!"]
    assert sorted(order[2:]) == ["asked", "beside hi!"]


@drivers
def test_a_refusal_counts_whatever_the_others_say(driver: str) -> None:
    changed = threading.Event()

    def change(content: str) -> str:
        changed.set()
        return "other"

    async def refuse(content: str) -> None:
        while not changed.is_set():  # noqa: ASYNC110  # it is set in a thread
            await sleep(0.001)
        await sleep(0.01)
        raise Refuse("no")

    model = ScriptedModel(echo)
    for guards in ([change, refuse], [refuse, change], [change, refuse, change]):
        changed.clear()
        error = outcome(DRIVERS[driver], Agent(model, input_guards=guards), "please")
        assert isinstance(error, Blocked)
        assert error.guard == "refuse"


@drivers
def test_several_run_side_by_side(driver: str) -> None:
    met: list[str] = []

    def meet(name: str) -> Callable[[str], None]:
        def guard(content: str) -> None:
            met.append(name)
            soon(lambda: len(met) == 3)

        return guard

    result = DRIVERS[driver](Agent(ScriptedModel(echo), input_guards=[meet("a"), meet("b"), meet("c")]), "hi")
    assert result.output == "You said hi"


@drivers
@pytest.mark.parametrize("wait", [False, True])
def test_one_that_fails_is_the_callers_own_fault(wait: bool, driver: str) -> None:
    def broken(content: str) -> None:
        raise OSError("on fire")

    model = ScriptedModel(echo)
    error = outcome(DRIVERS[driver], Agent(model, input_guards=[InputGuard(broken, wait=wait)]), "hi")
    assert type(error) is UsageError
    assert str(error) == "input guard broken failed with OSError: on fire"
    assert isinstance(error.__cause__, OSError)


@drivers
def test_the_endpoints_error_is_told_once_the_guards_are_through(driver: str) -> None:
    agent = Agent(ScriptedModel([status(400, message="too bad")]), input_guards=[watch_words])
    assert type(outcome(DRIVERS[driver], agent, "hello")) is BadRequestError


@drivers
def test_each_message_of_the_caller_is_guarded_once(driver: str) -> None:
    seen: list[tuple[str, str]] = []

    def beside(content: str) -> None:
        seen.append(("beside", content))

    def waited(content: str) -> None:
        seen.append(("waited", content))

    @tool(approval=True)
    def act() -> str:
        """Act."""
        return "acted"

    agent = Agent(by_turn(call("act"), "done", "more done"), tools=[act],
                  input_guards=[beside, InputGuard(waited, wait=True)])  # fmt: skip
    paused = DRIVERS[driver](agent, "one")
    done = DRIVERS[driver](agent, None, transcript=Transcript.load(paused.transcript.dump()), decisions=Approve())
    DRIVERS[driver](agent, "two", transcript=done.transcript)
    assert seen == [("waited", "one"), ("beside", "one"), ("waited", "two"), ("beside", "two")]


def test_a_message_that_is_sent_meanwhile_is_guarded_too() -> None:
    seen: list[str] = []
    agent = Agent(by_turn(call("act"), "done"), tools=[tool(name="act")(lambda: "acted")],
                  input_guards=[InputGuard(seen.append, wait=True)])  # fmt: skip
    with agent.stream_sync("one") as run:
        for event in run.steps():
            if event.step == 1:
                run.send("two")
    assert seen == ["one", "two"]


def test_calls_do_not_start_early_before_it_has_passed() -> None:
    started: list[bool] = []
    passed = threading.Event()

    @tool(read_only=True)
    def look() -> str:
        """Look."""
        started.append(passed.is_set())
        return "seen"

    def slow(content: str) -> None:
        soon(lambda: len(fake.requests) == 1)
        passed.set()

    script = [calls(call("look"), call("look")), say("done")]
    with FakeEndpoint(script) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        with Agent(model, tools=[look], input_guards=[slow]).stream_sync("hi") as run:
            list(run)
    assert started == [True, True]


# Of the output


def no_names(output: Any) -> Any:
    if "Bob" in str(output):
        raise Refuse("it has a name")
    return output.upper() if isinstance(output, str) and "ann" in output else None


async def no_names_async(context: Context[str], output: Any) -> Any:
    await checkpoint()
    assert (context.deps, context.step) == ("Ada", context.transcript.last.step)  # type: ignore[union-attr]
    return no_names(output)


@drivers
@pytest.mark.parametrize("guard", [no_names, no_names_async])
def test_what_comes_out_passes_is_changed_or_refused(guard: Any, driver: str) -> None:
    def run(answer: str) -> Any:
        return outcome(DRIVERS[driver], Agent(by_turn(answer), output_guards=[guard]), "who?", deps="Ada")

    assert run("nobody").output == "nobody"
    assert (run("ann").output, run("ann").text) == ("ANN", "ann")
    error = run("It is Bob")
    assert isinstance(error, Blocked)
    assert (error.guard, error.reason) == (guard.__name__, "it has a name")
    assert error.transcript is not None
    assert error.transcript.messages[-1]["content"] == "It is Bob"


@drivers
@pytest.mark.parametrize("mode", ["native", "tool"])
def test_a_typed_answer_is_guarded_after_its_validators(mode: str, driver: str) -> None:
    def again(value: int) -> None:
        if value == 10:
            raise Retry("another")

    def not_twenty(value: int) -> int | None:
        if value == 20:
            raise Refuse("twenty")
        return None

    def run(*values: int) -> Any:
        said = [call("final_answer", value=n) if mode == "tool" else f'{{"value": {n}}}' for n in values]
        agent = Agent(by_turn(*said, "5"), output=int, validators=[lambda v: v * 10], output_guards=[again, not_twenty])
        return outcome(DRIVERS[driver], agent, "please"), agent

    assert run(3)[0].output == 30
    assert run(1, 3)[0].output == 30
    error, agent = run(2)
    assert isinstance(error, Blocked)
    # the conversation goes on from there
    more = DRIVERS[driver](agent, "and?", transcript=Transcript.load(error.transcript.dump()))
    assert (more.status, more.output) == ("done", 50)


def test_an_output_guard_that_fails_is_the_callers_own_fault() -> None:
    error = outcome(DRIVERS["sync"], Agent(by_turn("so"), output_guards=[lambda _: 1 // 0]), "please")
    assert type(error) is UsageError
    assert isinstance(error.__cause__, ZeroDivisionError)


@drivers
def test_a_refused_prompt_is_kept_and_never_sent(driver: str) -> None:
    def no_secrets(content: str) -> None:
        if "secret" in content:
            raise Refuse("it has a secret")

    model = ScriptedModel(echo)
    agent = Agent(model, input_guards=[InputGuard(no_secrets, wait=True)])
    error = outcome(DRIVERS[driver], agent, "the secret is 42")
    assert error.transcript is not None
    again = Transcript.load(error.transcript.dump())
    assert "secret" in again.dump()
    result = DRIVERS[driver](agent, "and now?", transcript=again)
    assert result.output == "You said and now?"
    assert [[m["content"] for m in request.messages] for request in model.requests] == [["and now?"]]
