"""Going step by step, speaking into a running run, and listening slowly."""

from __future__ import annotations

import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from agentkit import Agent, Limits, ToolCall
from agentkit.errors import LimitReached, UsageError
from agentkit.events import StepFinished, TextDelta, ToolFinished, ToolStarted
from agentkit.streams import BACKLOG
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, say
from agentkit.testing.script import delayed
from tests.scenarios import add
from tests.watching import DONE, STOP, agent_for, stream_of, told

SCRIPT = [call("note", n=1), call("note", n=2), "done"]


class Notes:
    """A tool that notes what it was called with."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def note(self, n: int) -> str:
        """Take a note."""
        self.taken.append(n)
        return "noted"


# Step by step


def test_the_run_stands_still_between_steps_sync():
    notes = Notes()
    with FakeEndpoint(SCRIPT) as fake, agent_for(fake, [notes.note]).stream_sync("x") as run:
        for number, step in enumerate(run.steps(), 1):
            assert (step.step, len(fake.requests), notes.taken) == (number, number, [1, 2][: number - 1])
        assert (number, run.result.output) == (3, "done")


async def test_the_run_stands_still_between_steps():
    notes = Notes()
    with FakeEndpoint(SCRIPT) as fake:
        async with agent_for(fake, [notes.note]).stream("x") as run:
            number = 0
            async for step in run.steps():
                number += 1
                await settle()
                assert (step.step, len(fake.requests), notes.taken) == (number, number, [1, 2][: number - 1])
                assert len(run.transcript) == 2 * number - (number - 1)
            assert (number, run.result.output) == (3, "done")


async def settle() -> None:
    """Let everything go on that can go on without the network."""
    for _ in range(50):
        await checkpoint()
    await anyio.to_thread.run_sync(lambda: None)
    for _ in range(50):
        await checkpoint()


def test_one_may_look_and_stop_sync():
    notes = Notes()
    with FakeEndpoint(SCRIPT) as fake:
        with agent_for(fake, [notes.note]).stream_sync("x") as run:
            step = next(run.steps())
            assert [each.name for each in step.reply.tool_calls] == ["note"]
        assert (len(fake.requests), notes.taken) == (1, [])
        assert [m["role"] for m in run.transcript.messages] == ["user", "assistant", "tool"]


async def test_one_may_look_and_stop():
    notes = Notes()
    with FakeEndpoint(SCRIPT) as fake:
        async with agent_for(fake, [notes.note]).stream("x") as run:
            step = await anext(run.steps())
            assert [each.name for each in step.reply.tool_calls] == ["note"]
        assert (len(fake.requests), notes.taken) == (1, [])
        assert [m["role"] for m in run.transcript.messages] == ["user", "assistant", "tool"]


async def test_from_steps_back_to_all_events():
    with FakeEndpoint(SCRIPT) as fake:
        async with agent_for(fake, [Notes().note]).stream("x") as run:
            await anext(run.steps())
            assert isinstance(await anext(run), ToolStarted)
            assert (await run.finish()).output == "done"


async def test_a_listener_that_gave_up_waiting_may_come_back():
    going_on = threading.Event()
    with FakeEndpoint([delayed("hello there", until=going_on)]) as fake:
        async with agent_for(fake).stream("x") as run:
            with anyio.move_on_after(0.05):
                await anext(run)
            going_on.set()
            assert await anext(run) == TextDelta("hello", 1)


async def test_two_listeners_share_the_events():
    with FakeEndpoint([delayed("a b c d", 0.05)]) as fake:
        async with agent_for(fake).stream("x") as run:
            async with anyio.create_task_group() as group:
                group.start_soon(run.finish)
                group.start_soon(run.finish)
            assert run.result.output == "a b c d"


# Speaking into a run


def users(request) -> list:
    return [m["content"] for m in request.messages if m["role"] == "user"]


def test_what_is_sent_goes_in_before_the_next_question_sync():
    with FakeEndpoint(SCRIPT) as fake, agent_for(fake, [Notes().note]).stream_sync("x") as run:
        for event in run:
            if isinstance(event, ToolFinished) and event.step == 1:
                run.send("Be brief.")
        assert [users(request) for request in fake.requests] == [["x"], ["x", "Be brief."], ["x", "Be brief."]]
        roles = [m["role"] for m in fake.requests[1].messages]
        assert roles == ["user", "assistant", "tool", "user"]


async def test_what_is_sent_goes_in_before_the_next_question():
    with FakeEndpoint(SCRIPT) as fake:
        async with agent_for(fake, [Notes().note]).stream("x") as run:
            async for step in run.steps():
                if step.step == 1:
                    run.send("Be brief.")
        assert [users(request) for request in fake.requests] == [["x"], ["x", "Be brief."], ["x", "Be brief."]]
        roles = [m["role"] for m in fake.requests[1].messages]
        assert roles == ["user", "assistant", "tool", "user"]


@pytest.mark.parametrize("sync", [True, False])
def test_another_thread_may_send_while_the_run_waits(sync):
    going_on = threading.Event()
    with FakeEndpoint([delayed(call("note", n=1), until=going_on), "done"]) as fake:

        def speak(run):
            fake.wait_until(lambda: bool(fake.requests))
            run.send("From elsewhere.")
            going_on.set()

        agent = agent_for(fake, [Notes().note])
        if sync:
            with agent.stream_sync("x") as run:
                speaker = threading.Thread(target=speak, args=[run])
                speaker.start()
                run.finish()
        else:

            async def main() -> None:
                async with agent.stream("x") as run, anyio.create_task_group() as group:
                    group.start_soon(anyio.to_thread.run_sync, speak, run)
                    await run.finish()

            anyio.run(main)
        assert [users(request) for request in fake.requests] == [["x"], ["x", "From elsewhere."]]


def test_what_is_sent_to_an_answer_is_answered_too():
    with FakeEndpoint(["first", "second"]) as fake, agent_for(fake).stream_sync("x") as run:
        for event in run:
            if event == TextDelta("first", 1):
                run.send("And?")
        assert run.result.output == "second"
        assert users(fake.requests[1]) == ["x", "And?"]


async def test_what_is_sent_to_an_answer_is_answered_too_async():
    with FakeEndpoint(["first", "second"]) as fake:
        async with agent_for(fake).stream("x") as run:
            async for step in run.steps():
                if step.step == 1:
                    run.send("And?")
            assert run.result.output == "second"


async def test_what_comes_too_late_or_is_no_message_is_refused():
    with FakeEndpoint(["first"]) as fake:
        async with agent_for(fake).stream("x") as run:
            with pytest.raises(UsageError):
                run.send(17)
            await run.finish()
            with pytest.raises(UsageError, match="has finished"):
                run.send("And?")
            assert len(run.transcript) == 2


def test_a_message_does_not_get_past_a_limit():
    with FakeEndpoint(["first"]) as fake:
        with agent_for(fake, limits=Limits(steps=1)).stream_sync("x") as run:
            run.send("And?")
            run.send("And then?")
            assert run.finish().output == "first"
        with agent_for(fake, limits=Limits(steps=1)).stream_sync("x", transcript=run.transcript) as second:
            fake.play(["second"])
            for event in second:
                if isinstance(event, TextDelta):
                    second.send("And?")
                    break
            with pytest.raises(LimitReached, match="steps=1"):
                second.finish()
            assert second.transcript.messages[-1] == {"role": "user", "content": "And?"}


# Slow listeners


async def test_reading_goes_only_so_far_ahead_of_the_listener():
    pieces = [told("x")] * (3 * BACKLOG)
    with FakeEndpoint([stream_of(*pieces, STOP, DONE)]) as fake:
        async with agent_for(fake).stream("x") as run:
            await anext(run)
            count = 1
            await anyio.sleep(0.3)  # the endpoint could send it all by now
            assert len(run.transcript) == 1  # and yet the reply is not whole
            async for event in run:
                count += isinstance(event, TextDelta)
            assert (count, len(run.result.output)) == (len(pieces), len(pieces))


async def test_a_scripted_model_waits_for_its_listener_too():
    model = ScriptedModel([say(["x"] * (3 * BACKLOG))])
    async with Agent(model).stream("x") as run:
        await anext(run)
        await settle()
        assert len(run.transcript) == 1
        assert len((await run.finish()).output) == 3 * BACKLOG


async def test_a_listener_that_pauses_holds_no_tool_back():
    ran = anyio.Event()

    async def look(key: str) -> str:
        """Look something up."""
        ran.set()
        return key

    with FakeEndpoint([call("look", key="a"), "done"]) as fake:
        async with agent_for(fake, [look]).stream("x") as run:
            await anext(run)
            await ran.wait()
            assert (await run.finish()).output == "done"


def test_a_listener_that_pauses_holds_back_none_of_several_tools_sync():
    ran = threading.Barrier(3)

    def look(key: str) -> str:
        """Look something up."""
        ran.wait(20)
        return key

    script = [calls(call("look", key="a"), call("look", key="b")), "done"]
    with FakeEndpoint(script) as fake, agent_for(fake, [look]).stream_sync("x") as run:
        for event in run:
            if isinstance(event, ToolStarted):
                ran.wait(20)  # here, in the listener: both have to be at work already
                break
        assert run.finish().output == "done"


def test_what_threads_tell_comes_to_the_listener_in_its_own_thread():
    here = threading.get_ident()
    heard = []
    script = [calls(ToolCall("1", "add", '{"a":1,"b":2}'), ToolCall("2", "add", '{"a":3,"b":4}')), "done"]
    with FakeEndpoint(script) as fake:
        agent = agent_for(fake, [add])
        with agent.stream_sync("x", on_event=lambda _: heard.append(threading.get_ident())) as run:
            assert any(isinstance(event, StepFinished) for event in run)
            run.finish()
    assert set(heard) == {here}
