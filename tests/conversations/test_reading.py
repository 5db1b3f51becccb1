"""Of a long conversation no more is read than a run needs, and what is sent is what would be sent of the whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from agentkit import Agent, Limits, Transcript
from agentkit.conversations import Conversations, StoreDamaged, rows
from agentkit.errors import LimitReached, UsageError
from agentkit.events import StepFinished
from agentkit.history import ClearResults, Compaction, KeepTurns
from agentkit.testing import ScriptedModel, call, say
from tests.conversations.entries import asked, fill, run_sql, said


@pytest.fixture
def store(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Conversations]:
    monkeypatch.setattr(rows, "READ_BACK", 8)
    with Conversations(url, durability="process") as opened:
        yield opened


def plain(turns: int) -> list[dict[str, Any]]:
    return [
        message
        for n in range(turns)
        for message in ({"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"})
    ]


def sent(model: ScriptedModel) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in model.requests[-1].messages]


def look(n: int) -> str:
    """Look."""
    return f"seen {n} " * 9


def test_what_stands_before_is_not_read(store: Conversations, url: str) -> None:
    store.import_sync("a", plain(1_000))
    run_sql(url, "UPDATE agentkit_entries SET content = 'lost' WHERE position < 1980")
    agent = Agent(ScriptedModel(["Yes.", "No."]), history=KeepTurns(3), store=store)
    result = agent.run_sync("Is it so?", conversation="a")
    assert result.transcript.offset >= 1980
    assert store.tail_sync("a", 2).messages[1]["content"] == "Yes."
    for read in (lambda: store.load_sync("a"), lambda: agent.with_(history=()).run_sync("?", conversation="a")):
        with pytest.raises(StoreDamaged, match="entry 0 of conversation 'a'"):
            read()


def test_the_last_turns_are_sent_and_their_front_moves_seldom(store: Conversations) -> None:
    model = ScriptedModel(say(f"a{n}") for n in range(100))
    agent = Agent(model, history=KeepTurns(4, stride=3), store=store)
    whole = [(message["role"], message["content"]) for message in plain(40)]
    before: list[tuple[str, Any]] = []
    moved = 0
    for n in range(40):
        result = agent.run_sync(f"q{n}", conversation="a")
        assert len(result.transcript) < 8 * 4 * 2
        now = sent(model)
        assert now == whole[2 * n + 1 - len(now) : 2 * n + 1]
        assert min(2 * n + 1, 7) <= len(now) < 2 * (4 + 3)
        moved += now[: len(before)] != before
        before = now
    assert moved <= 40 // 3 + 2 * 40 // 8  # the stride's moves, and those of where the reading begins
    assert [entry.message.text for entry in store.load_sync("a")] == [text for _, text in whole]


def step_of(request: Any) -> Any:
    """A call for each question, then an answer; the more was sent, the more it counts."""
    messages = request.messages
    last, counted = messages[-1], (100 * len(messages), 10)
    if last["role"] == "tool":
        return say("Seen.", usage=counted)
    if str(last["content"]).startswith("q"):
        return call("look", n=int(last["content"][1:]))
    return say(f"A summary of {len(messages)}.", usage=counted)


@pytest.mark.sampled(3, each="history url")
@pytest.mark.parametrize("history", [(), (ClearResults(1),), (KeepTurns(2), ClearResults(1))], ids=["", "c", "k, c"])
def test_from_a_summary_on_the_same_is_sent_as_of_the_whole(
    store: Conversations, monkeypatch: pytest.MonkeyPatch, history: tuple[Any, ...]
) -> None:
    models = {name: ScriptedModel(step_of) for name in ("part", "whole")}
    offset = 0
    for n in range(30):
        for name, model in models.items():
            monkeypatch.setattr(rows, "READ_BACK", 8 if name == "part" else 10_000)
            compaction = Compaction(1_500, keep=3)
            agent = Agent(model, history=history, tools=[look], compaction=compaction, store=store)
            result = agent.run_sync(f"q{n}", conversation=name)
            offset = max(offset, result.transcript.offset)
        assert sent(models["part"]) == sent(models["whole"])
    part, whole = (store.load_sync(name) for name in models)
    assert [entry.covers for entry in part] == [entry.covers for entry in whole]
    assert any(entry.covers for entry in part) == (KeepTurns not in map(type, history))
    assert offset > 60


def test_a_system_message_is_sent_however_far_back_it_stands(store: Conversations) -> None:
    store.import_sync("a", [*plain(30), {"role": "system", "content": "Be brief."}, *plain(30)], trusted=True)
    model = ScriptedModel(["Yes.", "No."])
    agent = Agent(model, history=KeepTurns(2), store=store)
    for prompt in ("One?", "Two?"):
        result = agent.run_sync(prompt, conversation="a")
        assert sent(model)[0] == ("system", "Be brief.")
        assert result.transcript.offset <= 60


def test_limits_count_a_run_that_is_gone_on_with_from_its_beginning(store: Conversations) -> None:
    store.import_sync("a", plain(30))
    agent = Agent(ScriptedModel(map(str, range(20))), history=KeepTurns(1), store=store, limits=Limits(steps=6))

    def count() -> None:
        with agent.stream_sync("Count.", conversation="a") as run:
            for event in run:
                if isinstance(event, StepFinished):
                    run.send("Go on.")  # a turn more of the same run

    with pytest.raises(LimitReached, match="steps"):
        count()
    with pytest.raises(LimitReached, match="steps"):
        agent.run_sync(conversation="a")


def test_whose_conversation_it_is_by_now_is_found(store: Conversations) -> None:
    other = Agent(ScriptedModel(f"other {n}" for n in range(50)), name="other")
    desk = Agent(ScriptedModel([call("transfer_to_other")]), name="desk", handoffs=[other], history=KeepTurns(1))
    for n in range(20):
        result = desk.with_(store=store).run_sync(f"q{n}", conversation="a")
        assert (result.agent, result.output) == ("other", f"other {n}")
    assert result.transcript.offset > 8


@pytest.mark.parametrize("seed", range(3))
def test_any_end_of_it_is_as_it_was_written(store: Conversations, seed: int) -> None:
    chance = random.Random(seed)
    with store.open("a") as kept:
        written: list[str] = []
        for number in range(40):
            index = min(chance.randrange(len(written) + 3), len(written))
            entry = asked(str(number), ids=f"c{number}") if chance.random() < 0.5 else said(str(number))
            kept.record(index, entry)
            written[index : index + 1] = [entry]
    store.fork_sync("a", "b")
    for name in ("a", "b"):
        for count in range(1, len(written) + 1):
            ends = Transcript.load(f'{{"agentkit": 1, "entries": [{",".join(written[-count:])}]}}')
            assert store.tail_sync(name, count) == ends


def test_what_cannot_be_is_told(store: Conversations) -> None:
    fill(store, "a", [said(str(n)) for n in range(9)])
    with pytest.raises(UsageError, match="last= and enough="):
        store.open("a", last=1, enough=bool)
    with pytest.raises(UsageError, match="begins after 6 entries"):
        store.import_sync("b", store.tail_sync("a", 3))
    assert [known.name for known in store.list_sync()] == ["a"]
