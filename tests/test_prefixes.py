"""A run that stops anywhere, after any single landing, goes on in another process to the end that it would have had."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentkit import Transcript
from agentkit.state import State
from agentkit.testing import ScriptedModel, fixed_clock
from agentkit.transcript import Entry
from tests.scenarios import SCENARIOS, Scenario
from tests.stepping import Stepper

# Those that only the wire has, and the one that raises what the driver keeps for itself.
TABLE = {
    each.name: each for each in SCENARIOS if not each.over_the_wire_only and each.agent.get("on_tool_error") != "raise"
}
ROOT = Path(__file__).parent.parent


class Stop(NamedTuple):
    """A run that stopped: its scenario, the replies that it had had, and its transcript."""

    scenario: str
    point: int
    replies: int
    given: str  # a dump, or a plain list as JSON


class End(NamedTuple):
    """How a run ended, and what it had used."""

    kind: str
    text: str
    dump: str
    messages: list[dict[str, Any]]
    counters: dict[str, Any]


def stops(scenario: Scenario, *, plain: bool) -> Iterator[Stop]:
    stepper = Stepper(scenario.build(ScriptedModel(scenario.script())), **scenario.run)
    for point, state in enumerate(stepper.states()):
        transcript = state.transcript
        given = json.dumps(transcript.messages) if plain else transcript.dump()
        yield Stop(scenario.name, point, state.tally.steps, given)


def end_of(scenario: Scenario, stop: Stop | None) -> End:
    """Run it from its start, or go on from where it stopped."""
    model = ScriptedModel(scenario.script()[0 if stop is None else stop.replies :])
    agent = scenario.build(model)
    with fixed_clock():
        try:
            if stop is None:
                ended: Any = agent.run_sync("please", **scenario.run)
            else:
                ended = agent.run_sync(transcript=Transcript.load(stop.given, trusted=True), **scenario.run)
            kind, text = "done", ended.output
        except Exception as error:
            ended, kind, text = error, type(error).__name__, str(error)
    transcript = ended.transcript
    tally = State(agent.plan, transcript, new_run="none", at=0.0, began=0.0).tally
    counters = {
        "steps": tally.steps,
        "tool_calls": tally.tool_calls,
        "usage": tally.usage.data,
        "faults": tally.faults,
        "repeated": list(tally.repeated),
        "elapsed_s": tally.elapsed_s,
    }
    return End(kind, text, transcript.dump(), transcript.messages, counters)


def go_on(stopped: list[Stop]) -> list[End]:
    """How these runs end in another process."""
    code = (
        "import json, sys\n"
        "from tests.test_prefixes import TABLE, Stop, end_of\n"
        "stops = [Stop(*each) for each in json.load(sys.stdin)]\n"
        "json.dump([end_of(TABLE[stop.scenario], stop) for stop in stops], sys.stdout)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=json.dumps(stopped),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [End(*each) for each in json.loads(done.stdout)]


def test_any_prefix_goes_on_in_another_process_to_the_same_end() -> None:
    stopped = [stop for scenario in TABLE.values() for stop in stops(scenario, plain=False)]
    whole = {name: end_of(scenario, None) for name, scenario in TABLE.items()}
    assert len(stopped) > 3 * len(TABLE)
    for stop, end in zip(stopped, go_on(stopped), strict=True):
        assert end == whole[stop.scenario], (stop.scenario, stop.point)


def said(end: End) -> list[dict[str, Any]]:
    """All that was said but the hints, for a plain list can't tell how often a call was made before."""
    return [message for message in end.messages if not str(message["content"]).startswith("You have called")]


def test_as_a_plain_list_it_goes_on_to_the_same_end() -> None:
    whole = {name: end_of(scenario, None) for name, scenario in TABLE.items()}
    # What a plain list can't tell starts at zero: a limit is reached later, and a tool that asks hears of another step.
    done = [name for name, end in whole.items() if end.kind == "done" and "whoami" not in end.dump]
    done = [name for name in done if TABLE[name].told_by_a_list]
    stopped = [stop for name in done for stop in stops(TABLE[name], plain=True)]
    for stop, end in zip(stopped, go_on(stopped), strict=True):
        right = whole[stop.scenario]
        assert (end.kind, end.text, said(end)) == (right.kind, right.text, said(right)), (stop.scenario, stop.point)


@pytest.mark.parametrize("form", ["dump", "plain"])
def test_a_finished_run_is_finished(form: str) -> None:
    scenario = TABLE["one call"]
    *_, last = stops(scenario, plain=form == "plain")
    assert end_of(scenario, last).text == "5"


def test_a_result_that_was_not_seen_to_land_is_asked_for_again_under_the_same_key() -> None:
    scenario = TABLE["deps and the key of a call"]
    started = [
        stop for stop in stops(scenario, plain=False) if "started_at" in stop.given and '"result"' not in stop.given
    ]
    assert len(started) == 1
    assert "Ada run-1:1:0 1" in end_of(scenario, started[0]).dump


def test_a_prefix_is_no_longer_than_what_had_landed() -> None:
    lengths = [len(Transcript.load(stop.given)) for stop in stops(TABLE["calls together"], plain=False)]
    assert lengths == [1, 2, 2, 2, 2, 2, 2, 2, 3]
    assert all(isinstance(entry, Entry) for entry in Transcript.load(next(stops(TABLE["one call"], plain=False)).given))
