"""Two processes on one conversation take turns, also where one stood still for longer than its lease."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from agentkit import Result
from agentkit.approval import Answer, Approve, Decision
from agentkit.conversations import Conversations
from agentkit.pending import PendingCall
from tests.conversations.entries import run_sql
from tests.crash.child import order_of
from tests.crash.scenes import PROMPT, TOOLS, Case, talk
from tests.crash.world import EXPIRED, Diary, World
from tests.forking import Child, forked

NO_RETRY = {name for name, made in TOOLS.items() if made.on_unknown != "retry"}


def told_by(child: Child) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(child.line())
    return told


def answered(waiting: PendingCall) -> Decision:
    """What is decided of a call: never that it runs again."""
    return Answer("by hand") if waiting.hold == "unknown" else Approve()


def check_starts(diary: Diary) -> None:
    """What may not be done twice was not started twice."""
    keys = [key for name, _, key in diary.lines("start") if name in NO_RETRY]
    assert len(set(keys)) == len(keys)


@pytest.mark.sampled(3, each="url")
@pytest.mark.parametrize("driver", ["sync", "asyncio", "stream on trio"])
@pytest.mark.parametrize("scene", ["plain", "within", "paused"])
def test_two_workers_begin_at_once(url: str, scene: str, driver: str, tmp_path: Path) -> None:
    diary = Diary(tmp_path / "diary")
    order = order_of(url=url, name="a", case=(scene, 1, driver), diary=str(tmp_path / "diary"))
    with (
        forked("tests.crash.child:run", {**order, "prompt": "One."}) as one,
        forked("tests.crash.child:run", {**order, "prompt": "Two."}) as two,
    ):
        outcomes = [told_by(each) for each in (one, two)]
        assert [each.wait() for each in (one, two)] == [0, 0]
    # while one waits for a decision, the other may have its turn: its prompt is refused
    assert {outcome.get("error", "UsageError") for outcome in outcomes} == {"UsageError"}
    assert any("text" in outcome for outcome in outcomes)
    starts = diary.lines("start")
    assert len({key for _, _, key in starts}) == len(starts)
    with Conversations(url, durability="process") as store:
        transcript = store.load_sync("a")
    assert not transcript.pending
    said = [entry.message.text for entry in transcript if entry.message.role == "user"]
    assert sorted(said) == ["One.", "Two."] or (scene == "paused" and len(said) == 1)
    diary.close()


PLACES = [
    ("opened", 1),
    ("asking", 2),
    ("answered", 2),
    ("writing", 3),  # the start of a call
    ("written", 3),
    ("writing", 5),
    ("written", 6),
    ("starting", 2),
    ("in a tool", 1),
    ("in a tool", 4),
    ("after a tool", 3),
    ("after a tool", 7),
]


@pytest.mark.sampled(4, each="url driver")
@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("driver", ["sync", "asyncio", "stream_sync", "stream on trio"])
def test_one_stands_still_and_another_goes_on(url: str, driver: str, place: tuple[str, int], tmp_path: Path) -> None:
    diary = Diary(tmp_path / "diary")
    case: Case = ("plain", 2, driver)
    order = order_of(url=url, name="a", case=case, diary=str(tmp_path / "diary"))
    with forked("tests.crash.child:run", {**order, "fuse": (*place, signal.SIGSTOP)}) as child:
        assert child.wait() is None
        run_sql(url, EXPIRED)
        with Conversations(url, durability="process") as store:
            prompt = None if store.load_sync("a").last else PROMPT
            result: Result = list(talk(case, store, "a", World(diary), prompt, answered))[-1]
            assert not result.pending
            child.send_signal(signal.SIGCONT)
            assert told_by(child)["error"] == "LeaseLost"
            assert child.wait() == 0
            assert store.load_sync("a") == result.transcript
    check_starts(diary)
    diary.close()
