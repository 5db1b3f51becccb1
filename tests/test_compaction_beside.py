"""A summary of the conversation beside what else an agent has: typed answers, limits, guards, approvals, sub-agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agentkit import (
    Agent,
    Approve,
    Context,
    InputGuard,
    Instruction,
    Limits,
    Message,
    Output,
    Transcript,
    tool,
)
from agentkit.conversations import Conversations
from agentkit.errors import (
    LimitReached,
)
from agentkit.events import Compacted, Event, Nested
from agentkit.history import ClearResults, Compaction, KeepTurns
from agentkit.testing import FakeEndpoint, call, calls, reply, say
from tests.compacting import (
    WINDOW,
    agent_of,
    chat_model,
    is_for_a_summary,
    near,
    page,
    past,
    summaries,
    told,
)
from tests.drivers import DRIVERS

drivers = pytest.mark.parametrize("driver", DRIVERS)


class Answer(BaseModel):
    value: int


@pytest.mark.parametrize("mode", ["native", "tool", "prompted"])
def test_a_summary_is_not_of_the_output_s_type(mode: Any) -> None:
    answer = reply({"role": "assistant", "content": '{"value": 3}'})
    script = [say("They talked."), call("final_answer", value=3) if mode == "tool" else answer]
    with FakeEndpoint(script) as fake:
        agent = agent_of(fake, output=Output(Answer, mode=mode), settings={"max_tokens": 7, "stop": "."})
        assert agent.run_sync("And now?", transcript=past()).output == Answer(value=3)
    asked, sent = fake.requests
    assert asked.json.keys() == {"model", "messages", "max_tokens"}
    assert asked.json["max_tokens"] == 200
    assert sent.json["max_tokens"] == 7


def test_a_forced_call_is_not_forced_of_the_summary() -> None:
    with FakeEndpoint([say("They talked."), call("page", number=1), say("Read.")]) as fake:
        agent = agent_of(fake, tools=[page], settings={"tool_choice": "page", "parallel_tool_calls": False})
        assert agent.run_sync("Read.", transcript=past()).output == "Read."
    assert [request.json.get("tool_choice") for request in fake.requests] == [
        "none",
        {"type": "function", "function": {"name": "page"}},
        None,
    ]


def test_a_model_without_tool_calling_sums_up_as_it_answers() -> None:
    with FakeEndpoint([say('{"answer": "They talked."}'), say('{"answer": "Yes."}')]) as fake:
        agent = agent_of(fake, tools=[page]).with_(model=chat_model(fake, tools="json"))
        result = agent.run_sync("And now?", transcript=past())
    assert result.output == "Yes."
    assert "page" not in str(fake.requests[0].json["response_format"])
    assert summaries(result.transcript)[0].message.text.endswith("They talked.")


def test_its_tokens_count_for_the_limits() -> None:
    with FakeEndpoint([say("They talked.", usage=(700, 30)), say("Yes.")]) as fake:
        agent = agent_of(fake, limits=Limits(tokens=730))
        with pytest.raises(LimitReached) as caught:
            agent.run_sync("And now?", transcript=past())
        transcript = caught.value.transcript
        assert len(summaries(transcript)) == 1
        assert agent.run_sync(transcript=transcript, limits=Limits(tokens=731)).output == "Yes."


def test_it_is_no_step() -> None:
    with FakeEndpoint([say("They talked."), say("Yes.")]) as fake:
        assert agent_of(fake, limits=Limits(steps=1)).run_sync("And now?", transcript=past()).output == "Yes."


@drivers
def test_a_sub_agent_sums_up_for_itself(driver: str) -> None:
    events: list[Event] = []
    inner_script = [call("page", number=1), near(call("page", number=2)), say("Read 1."), say("Both read.")]
    with FakeEndpoint(inner_script) as inner, FakeEndpoint([call("reader", prompt="Read."), say("Done.")]) as outer:
        reader = agent_of(inner, tools=[page], name="reader", compaction=Compaction(WINDOW, keep=1))
        lead = Agent(chat_model(outer), tools=[reader.as_tool()])
        result = DRIVERS[driver](lead, "Go.", on_event=events.append)
    assert result.output == "Done."
    assert [is_for_a_summary(request) for request in inner.requests] == [False, False, True, False]
    record = result.tool_calls[0]
    assert len(summaries(record.transcript)) == 1
    assert summaries(result.transcript) == []
    assert result.usage.total_tokens == 5 * 15 + 955
    assert [event.event for event in events if isinstance(event, Nested) and isinstance(event.event, Compacted)] == [
        Compacted(2, 2)
    ]


def test_instructions_of_the_moment_stand_before_what_is_asked_though_that_is_covered() -> None:
    def now(ctx: Context[str]) -> str:
        return f"It is {ctx.deps}."

    script = [call("page", number=1), near(call("page", number=2)), say("Read 1."), say("Read.")]
    with FakeEndpoint(script) as fake:
        agent = agent_of(
            fake,
            tools=[page],
            compaction=Compaction(WINDOW, keep=1),
            instructions=["Be brief.", Instruction(now, position="turn")],
        )
        assert agent.run_sync("Read.", deps="noon").output == "Read."
    assert told(fake.requests[2]) == ["Be brie", "Read.", "None", "page 1:", "Stop he"]
    assert told(fake.requests[3]) == ["Be brie", "Summary", "It is n", "Read.", "None", "page 2:"]


def test_a_guard_looks_at_the_prompt_and_not_at_the_summary() -> None:
    seen: list[Any] = []

    def look(content: Any) -> str:
        seen.append(content)
        return f"{content}!"

    script = [call("page", number=1), near(call("page", number=2)), say("Read 1."), say("Read.")]
    with FakeEndpoint(script) as fake:
        compaction = Compaction(WINDOW, keep=1)
        agent = agent_of(fake, tools=[page], compaction=compaction, input_guards=[InputGuard(look, wait=True)])
        first = agent.run_sync("Read.")
    assert seen == ["Read."]
    assert first.transcript.entries[0].message == Message({"role": "user", "content": "Read.!"})
    assert told(fake.requests[-1])[:2] == ["Summary", "Read.!"]


def test_calls_that_wait_for_a_decision_are_not_summed_up() -> None:
    @tool(approval=True)
    def delete(name: str) -> str:
        """Delete."""
        return f"deleted {name}"

    script = [
        call("page", number=1),
        calls(call("page", number=2), call("delete", name="x"), usage=(950, 5)),
        say("One."),
        say("Done."),
    ]
    with FakeEndpoint(script) as fake:
        agent = agent_of(fake, tools=[page, delete], compaction=Compaction(WINDOW, keep=1))
        paused = agent.run_sync("Go.")
        assert paused.status == "paused"
        assert summaries(paused.transcript) == []
        result = agent.run_sync(transcript=Transcript.load(paused.transcript.dump()), decisions=Approve())
    assert result.output == "Done."
    assert told(fake.requests[-1])[-1] == "deleted"
    assert [entry.covers for entry in summaries(result.transcript)] == [2]


def test_processors_and_a_summary_together() -> None:
    with FakeEndpoint([say("They talked."), say("Yes.")]) as fake:
        agent = agent_of(fake, history=[KeepTurns(2, stride=1), ClearResults(1)], compaction=Compaction(400, keep=2))
        result = agent.run_sync("And now?", transcript=past(4, 1500))
    assert told(fake.requests[0]) == ["q3 ????", "Stop he"]  # what is sent no more is not summed up either
    assert told(fake.requests[1]) == ["Summary", "a3", "And now"]
    assert result.output == "Yes."


def test_nothing_is_summed_up_that_is_not_sent_anyway() -> None:
    with FakeEndpoint([say("Yes.")]) as fake:
        agent = agent_of(fake, history=KeepTurns(1), compaction=Compaction(500, keep=2))
        result = agent.run_sync("And now? " + "x" * 3000, transcript=past(4, 1500))
    assert summaries(result.transcript) == []


def test_of_a_kept_conversation_that_was_read_from_its_middle(tmp_path: Path) -> None:
    store = Conversations(f"sqlite:///{tmp_path / 'kept.db'}")
    with FakeEndpoint(["a0", "a1", say("a2", usage=(450, 5)), "They talked.", "a3", "a4"]) as fake:
        agent = agent_of(fake, compaction=Compaction(100_000), store=store)
        for n in range(3):
            agent.run_sync(f"q{n} " + "?" * 800, conversation="c")
        crowded = agent.with_(compaction=Compaction(500, keep=1))
        crowded.run_sync("q3", conversation=store.open("c", last=4))
        agent.run_sync("q4", conversation="c")
    assert told(fake.requests[3]) == ["q1 ????", "a1", "q2 ????", "a2", "Stop he"]
    assert told(fake.requests[4]) == ["Summary", "q3"]
    assert [entry.covers for entry in summaries(store.load_sync("c"))] == [6]
    assert told(fake.requests[5]) == ["Summary", "q3", "a3", "q4"]
    store.close()
