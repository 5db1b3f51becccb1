"""Runs whose caller has them end before their next step, as a server does that is about to end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Approve, tool
from agentkit.conversations import Conversations
from agentkit.errors import Blocked, UsageError
from agentkit.guards import Refuse
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls
from agentkit.testing.script import drip
from tests.compacting import agent_of, past, summaries
from tests.drivers import DRIVERS, some_driver
from tests.pausing import SHAPES, Ran, Told, by_turn, look
from tests.test_pause import check_end, reloaded, said
from tests.tiers import SOON_S
from tests.watching import agent_for

ROOT = Path(__file__).parent.parent

STEPS = {"plain": 1, "within": 2, "twice": 3, "handed": 1}
"""How many steps a run needs to get on: to make a call of an agent's is one too."""


def after(steps: int) -> Callable[[], bool]:
    """Pauses once so many steps have begun."""
    asked = count()
    return lambda: next(asked) >= steps


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_goes_on_wherever_it_was_paused(shape: str, driver: str) -> None:
    """It is paused again and again, each time in another process so to say: nothing is lost, and nothing done twice."""
    ran: Ran = []
    args: dict[str, Any] = {"deps": ran}
    prompt: str | None = "please"
    pauses = 0
    while (result := DRIVERS[driver](SHAPES[shape](), prompt, **args, pause=after(STEPS[shape]))).status == "paused":
        args["transcript"] = reloaded(result.transcript)
        args["decisions"] = Approve() if result.pending else None
        prompt, pauses = None, pauses + 1
        assert pauses < 10
    assert pauses >= 2
    check_end(result, ("ok", "paid 3"), [3], ran)
    undisturbed = SHAPES[shape]().run_sync("please", deps=[], approve=lambda _: True)
    assert said(result) == said(undisturbed)
    assert len(result.tool_calls) == len(undisturbed.tool_calls)


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_step_begins(driver: str) -> None:
    model = by_turn(call("look"), "done")
    result = DRIVERS[driver](Agent(model, tools=[look]), "please", pause=lambda: True)
    assert (result.status, result.pending, len(model.requests)) == ("paused", (), 0)
    with pytest.raises(UsageError, match=r"paused by its pause=; go on with run\(transcript=result\.transcript\)"):
        _ = result.output
    # one step is a reply, or its calls
    result = DRIVERS[driver](Agent(model, tools=[look]), None, transcript=result.transcript, pause=after(1))
    assert Told(result.transcript).of("look").started_at is None
    assert len(model.requests) == 1


@pytest.mark.parametrize("driver", ["stream_sync", "stream on asyncio", "stream on trio"])
def test_calls_that_began_early_are_ended_and_those_beside_them(driver: str) -> None:
    ran: list[str] = []

    @tool(read_only=True)
    def early() -> str:
        """Look."""
        ran.append("early")
        return "seen"

    def late() -> str:
        """Act."""
        ran.append("late")
        return "done"

    with FakeEndpoint([drip(calls(call("early"), call("late")), 0.0), "done"]) as fake:
        agent = agent_for(fake, [early, late])
        paused = DRIVERS[driver](agent, "please", pause=after(1))
        assert (paused.status, sorted(ran)) == ("paused", ["early", "late"])
        assert agent.run_sync(transcript=paused.transcript).output == "done"


def test_no_summary_is_asked_for() -> None:
    agent = agent_of(script=["They talked.", "Yes."])
    paused = agent.run_sync("And now?", transcript=past(), pause=lambda: True)
    assert not summaries(paused.transcript)
    result = agent.run_sync(transcript=paused.transcript)
    assert (len(summaries(result.transcript)), result.output) == (1, "Yes.")


@pytest.mark.parametrize("case", ["validators", "output_guards"])
def test_an_answer_that_is_there_is_checked(case: str) -> None:
    agent = Agent(ScriptedModel(["yes"]), **{case: [str.upper]})
    assert agent.run_sync("please", pause=after(1)).output == "YES"


def test_a_prompt_is_guarded_when_the_run_goes_on() -> None:
    def guard(prompt: object) -> None:
        raise Refuse(f"not {prompt}")

    agent = Agent(ScriptedModel(["done"]), input_guards=[guard])
    paused = agent.run_sync("please", pause=lambda: True)
    with pytest.raises(Blocked, match="not please"):
        some_driver("guard")(agent, None, transcript=reloaded(paused.transcript))


PROCESS = """
import signal, sys, time
from pathlib import Path
from agentkit import Agent
from agentkit.conversations import Conversations
from agentkit.testing import ScriptedModel, call, calls

ending, gate = [], Path(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: (ending.append(1), gate.touch()))

def work(what: str) -> str:
    "Work."
    print(what, flush=True)
    while not gate.exists():
        time.sleep(0.005)
    return "done"

def reply(request):
    done = sum(message["role"] == "assistant" for message in request.messages)
    return call("work", what="ab"[done]) if done < 2 else "All done."

with Conversations(f"sqlite:///{sys.argv[1]}") as store:
    agent = Agent(ScriptedModel(reply), tools=[work], store=store)
    prompt = sys.argv[3] if len(sys.argv) > 3 else None
    result = agent.run_sync(prompt, conversation="ann", pause=lambda: bool(ending))
    print(result.status, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM there")
def test_a_kept_conversation_goes_on_after_sigterm(tmp_path: Path) -> None:
    def begun(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROCESS, str(tmp_path / "bot.db"), str(tmp_path / "gate"), *more]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    with begun("Do both.") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "a\n"
        first.send_signal(signal.SIGTERM)
        assert first.communicate(timeout=SOON_S)[0] == "paused\n"
        assert first.returncode == 0
    with begun() as second:
        assert second.communicate(timeout=SOON_S)[0] == "b\ndone\n"
    with Conversations(f"sqlite:///{tmp_path}/bot.db") as store:
        assert [entry.message.role for entry in store.load_sync("ann")] == [
            "user",
            "assistant",
            "assistant",
            "assistant",
        ]
