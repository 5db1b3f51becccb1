"""A run that pauses in one process goes on in another; and one that is cancelled while calls wait."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Answer, Approve, Context, Deny, Limits, ToolCall, Transcript, calling, tool
from agentkit.approval import Decision
from agentkit.errors import AgentKitError, Cancelled
from agentkit.testing import ScriptedModel, call, calls, fixed_clock
from tests.cancelling import soon, threads
from tests.drivers import DRIVERS, outcome
from tests.pausing import SHAPES, Ran, Told, by_turn, pay, plain
from tests.test_cancel import CANCELLED

ROOT = Path(__file__).parent.parent
MANY = calls(call("look"), call("pay", amount=3), call("ask_user", question="which?"), call("pay", amount=4))
DECISIONS: list[Decision] = [Approve({"amount": 2}), Answer(["this"]), Deny("no")]


def pause(shape: str) -> str:
    """A paused run's dump."""
    return SHAPES[shape](MANY).run_sync("please", deps=[]).transcript.dump()


def go_on(shape: str, dump: str, number: int) -> tuple[str, Ran]:
    """The dump after so many of the decisions, and what was paid by them."""
    ran: Ran = []
    transcript = Transcript.load(dump)
    for _ in range(number):
        paused = SHAPES[shape](MANY).run_sync(transcript=transcript, deps=ran)
        first = paused.pending[0]
        by = {
            "pay": DECISIONS[0] if first.call.arguments == '{"amount": 3}' else DECISIONS[2],
            "ask_user": DECISIONS[1],
        }
        decided = {first.id: by[first.call.name]}
        transcript = SHAPES[shape](MANY).run_sync(transcript=transcript, deps=ran, decisions=decided).transcript
    return transcript.dump(), ran


def elsewhere(function: str, arguments: list[list[Any]]) -> list[Any]:
    """What a function of this module gives for each of these, in another process."""
    code = (
        f"import json, sys\nfrom tests.test_pause_processes import {function}\n"
        f"json.dump([{function}(*each) for each in json.load(sys.stdin)], sys.stdout)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    given: list[Any] = json.loads(done.stdout)
    return given


def comparable(dump: str) -> Any:
    """A dump without the times and the names of runs."""
    text = json.dumps(json.loads(dump), sort_keys=True)
    run = Transcript.load(dump).entries[0].run
    data = json.loads(text.replace(run, "RUN"))

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in ("at", "elapsed_s", "started_at")}
        return [strip(each) for each in value] if isinstance(value, list) else value

    return strip(data)


def test_in_another_process() -> None:
    paused = elsewhere("pause", [[shape] for shape in SHAPES])
    asked = [[shape, dump, number] for shape, dump in zip(SHAPES, paused, strict=True) for number in range(4)]
    for (shape, dump, number), (ended, ran) in zip(asked, elsewhere("go_on", asked), strict=True):
        assert comparable(dump) == comparable(pause(shape))
        here, ran_here = go_on(shape, pause(shape), number)
        assert comparable(ended) == comparable(here)
        assert [each[:2] for each in ran] == [list(each[:2]) for each in ran_here] == [["pay", 2]] * (number > 0)
        run = Transcript.load(dump).entries[0].run
        assert all(key.startswith(run) for _, _, key in ran)
        assert (Transcript.load(ended).messages[-1]["content"] == "done") == (number == 3)


def test_a_dump_says_the_same_in_every_process() -> None:
    with fixed_clock():
        here = [pause(shape) for shape in SHAPES]
    with fixed_clock():
        assert [pause(shape) for shape in SHAPES] == here


# Cancelled while calls wait


@pytest.fixture(autouse=True)
def _idle_threads_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "IDLE_S", 0.02)


@pytest.mark.parametrize("nested", [False, True])
def test_what_waits_is_still_waiting_after_a_cancel(nested: bool) -> None:
    working = threading.Event()

    def work(context: Context[Ran]) -> str:
        """Work until it is cancelled."""
        working.set()
        ends = time.monotonic() + 10
        while not context.cancelled and time.monotonic() < ends:
            time.sleep(0.002)
        return "late"

    def make() -> Agent[Any]:
        agent = Agent(by_turn(calls(call("pay", amount=3), call("work")), "done"), tools=[pay, work], name="inner")
        return Agent(by_turn(call("inner", prompt="do"), "done"), tools=[agent.as_tool()]) if nested else agent

    with make().stream_sync("please", deps=[]) as run:

        def cancel() -> None:
            assert working.wait(5)
            run.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(Cancelled):
            list(run)
        thread.join()
    transcript = Transcript.load(run.transcript.dump())
    assert Told(transcript).result("work") == ("cancelled", CANCELLED)
    assert Told(transcript).of("pay").result is None
    soon(lambda: threads() == [])
    ran: Ran = []
    found = make().run_sync(transcript=transcript, deps=ran)
    assert [each.call.name for each in found.pending] == ["pay"]
    result = make().run_sync(transcript=transcript, deps=ran, decisions=Approve())
    assert result.output == "done"
    assert [amount for _, amount, _ in ran] == [3]


@tool(approval=True, on_unknown="ask")
def pay_async_by_hand() -> str:
    """A tool whose call is never approved."""
    return "never"


@pytest.mark.parametrize("left_at", ["RunFinished", "ToolFinished", "StepFinished"])
def test_a_stream_that_is_left_can_be_gone_on_from(left_at: str) -> None:
    def make() -> Agent[Any]:
        script = by_turn(calls(call("pay_async_by_hand"), call("pay", amount=1)), "done")
        return Agent(script, tools=[pay, pay_async_by_hand])

    def approve(made: Any) -> bool | None:
        return True if made.name == "pay" else None

    ran: Ran = []
    with make().stream_sync("please", deps=ran, approve=approve) as run:
        for event in run:
            if type(event).__name__ == left_at:
                break
    transcript = Transcript.load(run.transcript.dump())
    result = make().run_sync(transcript=transcript, deps=ran, approve=approve)
    assert [each.call.name for each in result.pending] == ["pay_async_by_hand"]
    assert [amount for _, amount, _ in ran] == [1]


# Transcripts from elsewhere


@pytest.mark.parametrize("name", ["sync", "trio"])
def test_a_plain_list_of_ones_own_waits_for_what_its_tools_wait_for(name: str) -> None:
    def asked(made: ToolCall) -> list[dict[str, Any]]:
        return [{"role": "user", "content": "go"}, {"role": "assistant", "content": None, "tool_calls": [made.data]}]

    ran: Ran = []
    for made, hold in (
        (ToolCall("c", "functions.pay", '{"amount": 3}'), "approval"),
        (ToolCall("c", "lend", '{"amount": 100}'), "approval"),
        (ToolCall("c", "ask_user", '{"question": "?"}'), "answer"),
    ):
        given = Transcript.load(asked(made), trusted=True)
        result = DRIVERS[name](plain(), None, transcript=given, deps=ran)
        assert [each.hold for each in result.pending] == [hold]
    assert ran == []
    # one that is not trusted is told that its calls were not run
    result = plain().run_sync("Go on.", transcript=asked(ToolCall("c", "pay", '{"amount": 3}')), deps=ran)
    assert (result.status, ran) == ("done", [])


def test_an_answer_of_ones_own_list_is_an_answer() -> None:
    made = ToolCall("c", "functions.final_answer", '{"value": 3}')
    given = [{"role": "user", "content": "go"}, {"role": "assistant", "content": None, "tool_calls": [made.data]}]
    agent = Agent(ScriptedModel([]), output=int)
    assert agent.run_sync(transcript=Transcript.load(given, trusted=True)).output == 3


def test_an_error_of_a_paused_transcript_can_be_pickled() -> None:
    paused = SHAPES["within"](MANY).run_sync("please", deps=[])
    assert pickle.loads(pickle.dumps(paused.transcript)) == paused.transcript
    args = {"transcript": paused.transcript, "limits": Limits(steps=1), "deps": []}
    decided = {each.id: Deny() for each in paused.pending}
    error = outcome(DRIVERS["sync"], SHAPES["within"](MANY), None, decisions=decided, **args)
    assert isinstance(error, AgentKitError)
    assert pickle.loads(pickle.dumps(error)).transcript == error.transcript
