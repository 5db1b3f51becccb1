"""Runs that are ended with kill -9, at every step and within it, and gone on with by another process."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agentkit import Result, Transcript
from agentkit.approval import Answer, Approve, Decision, Deny
from agentkit.conversations import Conversations
from agentkit.errors import UsageError
from agentkit.landing import UNKNOWN
from agentkit.pending import PendingCall, pending_calls
from agentkit.testing import FakeEndpoint, call, say, stall
from agentkit.transcript import CallRecord
from tests.conversations.entries import run_sql
from tests.crash.child import order_of
from tests.crash.scenes import PROMPT, SCENES, TOOLS, Case, talk
from tests.crash.streaming import agent_of
from tests.crash.world import EXPIRED, KINDS, Diary, World, value_of
from tests.drivers import DRIVERS
from tests.forking import forked
from tests.tiers import SOON_S, WHOLE

WAYS = [name for name in DRIVERS if name != "sync in a loop"]
CASES: list[Case] = [(list(SCENES)[number % len(SCENES)], number, WAYS[number % len(WAYS)]) for number in range(20)]
POINTS = 6
"""At how many places a run is ended, of some hundred; all of them in scripts/deep."""


def keys_of(transcript: Transcript) -> Iterator[tuple[str, str, CallRecord]]:
    """Each call with its idempotency key and what it is decided by, those of helpers too."""
    for index, entry in enumerate(transcript):
        for position, record in enumerate(entry.calls):
            yield transcript.key(entry.run, index, position), record.call.id, record
            if record.transcript is not None:
                for key, path, inner in keys_of(record.transcript):
                    yield key, f"{record.call.id}/{path}", inner


@dataclass
class Found:
    """What a run that was killed had recorded, and what its tools had done by then."""

    transcript: Transcript
    diary: Diary
    results: dict[str, tuple[str, str]] = field(default_factory=dict)
    doubtful: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The calls that started and have no result, by their ids: the tool and the key."""

    def __post_init__(self) -> None:
        for key, path, record in keys_of(self.transcript):
            if record.result is not None:
                self.results[key] = (record.result.status, record.result.content)
            elif record.started_at is not None and record.call.name in TOOLS:
                self.doubtful[path] = (record.call.name, key)
        self.starts = self.diary.lines("start")

    def check(self) -> None:
        """What was told to be written is there, and nothing has started that was not."""
        kept = [self.transcript.dump_entry(index).decode() for index in range(len(self.transcript))]
        newest: dict[int, list[str]] = {}
        for index, entry in self.diary.lines("written"):
            newest[index] = [entry]
        for index, entry in self.diary.lines("writing")[len(self.diary.lines("written")) :]:
            newest.setdefault(index, [""]).append(entry)
        assert all(kept[index] in entries for index, entries in newest.items() if index < len(kept))
        assert all("" in entries for index, entries in newest.items() if index >= len(kept))
        known = self.results.keys() | {key for _, key in self.doubtful.values()}
        for name, _, key in self.starts:
            assert key in known or (TOOLS[name].read_only and TOOLS[name].on_unknown == "retry")

    def asked_about(self) -> dict[str, str]:
        """The calls in doubt that the caller is to decide of, with their keys."""
        return {path: key for path, (name, key) in self.doubtful.items() if TOOLS[name].on_unknown == "ask"}


class Decider:
    """Approves what waits for an approval, and says something by chance of what is in doubt."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.made: dict[str, Decision] = {}

    def __call__(self, waiting: PendingCall) -> Decision:
        if waiting.hold == "approval":
            return Approve()
        decision = self._chance.choice([Approve(), Answer("by hand"), Deny("no")])
        self.made[waiting.key] = decision
        return decision


def go_on(case: Case, store: Conversations, name: str, found: Found, chance: random.Random) -> tuple[Result, Decider]:
    """Go on with what was found, in this process."""
    decide, world = Decider(chance), World(found.diary)
    prompt = None if len(found.transcript) else PROMPT
    asked = {path for path in found.asked_about() if "/" not in path}
    if len(found.transcript) and chance.random() < 0.3:
        prompt = "Go on."
        if waiting := asked | {each.id for each in pending_calls(found.transcript)}:
            with pytest.raises(UsageError) as refused:
                list(talk(case, store, name, world, prompt, decide))
            assert all(path in str(refused.value) for path in waiting)
            assert store.load_sync(name) == found.transcript
            prompt = None
    results = list(talk(case, store, name, world, prompt, decide))
    assert {each.id: each.key for each in results[0].pending if each.hold == "unknown"} == found.asked_about()
    assert not any(each.hold == "unknown" for result in results[1:] for each in result.pending)
    return results[-1], decide


def check_outcome(found: Found, result: Result, decider: Decider, expected: str) -> None:
    """Nothing is lost, nothing is done twice that must not be, and what was in doubt became what was said of it."""
    after = {key: record for key, _, record in keys_of(result.transcript)}
    results = {key: (record.result.status, record.result.content) for key, record in after.items() if record.result}
    assert results.keys() == after.keys()
    assert found.results.items() <= results.items()
    starts = found.diary.lines("start")
    since = starts[len(found.starts) :]
    assert not {key for _, _, key in since} & found.results.keys()
    in_doubt = {key: name for name, key in found.doubtful.values()}
    for name, n, key in starts:
        assert after[key].call.parsed == {"n": n}
        times = sum(other == key for _, _, other in starts)
        may_run_again = TOOLS[name].on_unknown == "retry" or isinstance(decider.made.get(key), Approve)
        assert times == 1 or (times == 2 and may_run_again)
        told = results[key]
        if key not in in_doubt or may_run_again:
            assert told == ("ok", value_of(name, n))
        elif TOOLS[name].on_unknown == "fail":
            assert told == ("failed", UNKNOWN)
        else:
            said = {"denied": "This call was denied: no", "ok": "by hand"}
            assert told == (told[0], said[told[0]])
    for key, name in in_doubt.items():
        if TOOLS[name].on_unknown == "retry":
            assert key in {again for _, _, again in since}
    if all(status == "ok" and content != "by hand" for status, content in results.values()):
        assert result.text == expected


def chosen(seen: dict[str, int], chance: random.Random) -> list[tuple[str, int]]:
    """The places at which a run is ended: all, or some of different kinds."""
    if WHOLE:
        return [(kind, number + 1) for kind in KINDS for number in range(seen[kind])]
    return [(kind, chance.randrange(seen[kind]) + 1) for kind in chance.sample(KINDS, POINTS)]


def run(**order: Any) -> tuple[int | None, dict[str, Any]]:
    """Have a process do it to its end; its exit code and what it told."""
    with forked("tests.crash.child:run", order_of(**order)) as child:
        told = json.loads(child.line() or "{}")
        return child.wait(), told


@pytest.mark.slow
@pytest.mark.timeout(1_800)  # scripts/deep ends each of these runs some 230 times
@pytest.mark.sampled(6, each="url scene driver")
@pytest.mark.parametrize(("scene", "number", "driver"), CASES)
def test_a_killed_run_is_gone_on_with(url: str, tmp_path: Path, scene: str, number: int, driver: str) -> None:
    case = (scene, number, driver)
    code, whole = run(url=url, case=case, name="whole", diary=str(tmp_path / "whole"))
    assert code == 0
    assert (whole["pauses"] > 0) == (scene == "paused")
    chance = random.Random(number)
    for kind, place in chosen(whole["seen"], chance):
        name = f"{kind} {place}"
        diary = Diary(tmp_path / name)
        code, told = run(url=url, case=case, name=name, diary=str(tmp_path / name), fuse=(kind, place))
        # threads may take another way than they took in the whole run, and not come by there
        assert code == -signal.SIGKILL or told["text"] == whole["text"], name
        run_sql(url, EXPIRED)
        with Conversations(url, durability="process") as store:
            known = [each.name for each in store.list_sync() if each.name == name]
            found = Found(store.load_sync(name) if known else Transcript(), diary)
            found.check()
            result, decider = go_on(case, store, name, found, chance)
            assert store.load_sync(name) == result.transcript
            check_outcome(found, result, decider, whole["text"])
        diary.close()


@pytest.mark.parametrize("piece", [1, 2])
def test_a_run_that_is_killed_while_its_reply_comes_in(url: str, piece: int) -> None:
    script = [call("pay", n=1), stall(say("It is paid now."), after_events=4), say("It is paid.")]
    with FakeEndpoint(script, api_key=None) as fake:
        code, _ = run(url=url, name="a", base_url=fake.base_url, fuse=("event", piece))
        assert code == -signal.SIGKILL
        assert fake.requests[1].disconnected.wait(SOON_S)
        run_sql(url, EXPIRED)
        with Conversations(url, durability="process") as store:
            result = store.load_sync("a").entries[1].calls[0].result
            assert result is not None and result.content == "paid 1"
            assert agent_of(fake.base_url, store).run_sync(conversation="a").output == "It is paid."
        assert len(fake.requests) == 3
