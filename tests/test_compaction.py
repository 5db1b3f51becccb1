"""A conversation that nears the model's window is summed up, in each driver; the transcript keeps all of it."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit import (
    ChatModel,
    Limits,
    Price,
    Transcript,
    Usage,
)
from agentkit.errors import (
    AgentKitError,
    BadRequestError,
    ContentFilterError,
    ContextLengthError,
    LimitReached,
    ModelError,
)
from agentkit.events import Compacted, Event, StepFinished, TextDelta
from agentkit.history import Compaction
from agentkit.testing import FakeEndpoint, ScriptedModel, call, override, say, status
from agentkit.testing.script import Request, Step
from tests.compacting import (
    TOO_LONG,
    WINDOW,
    agent_of,
    chat_model,
    is_for_a_summary,
    near,
    page,
    past,
    result_of,
    summaries,
    told,
)
from tests.drivers import DRIVERS, outcome

drivers = pytest.mark.parametrize("driver", DRIVERS)


# By its size


@drivers
def test_a_conversation_near_the_window_is_summed_up_first(driver: str) -> None:
    events: list[Event] = []
    with FakeEndpoint([say("They talked.", usage=(700, 30)), say("Yes.")]) as fake:
        agent = agent_of(fake, instructions="Be brief.")
        result = DRIVERS[driver](agent, "And now?", transcript=past(), on_event=events.append)
        (entry,) = summaries(result.transcript)
        last = result.transcript.entries[-1]
        assert (entry.source, entry.run, entry.finish_reason) == (fake.base_url, last.run, "stop")
    assert result.output == "Yes."
    asked, sent = fake.requests
    assert is_for_a_summary(asked)
    assert told(asked) == ["Be brie", "q0 ????", "a0", "q1 ????", "a1", "q2 ????", "a2", "q3 ????", "Stop he"]
    assert "stream" not in asked.json
    assert told(sent) == ["Be brie", "Summary", "a3", "And now"]
    assert sent.messages[1]["content"].endswith("messages:\n\nThey talked.")
    assert (entry.author, entry.covers, entry.model, entry.usage) == ("loop", 7, "m", Usage(700, 30, 730))
    # the transcript keeps all
    assert [m["content"][:2] for m in result.transcript.messages[:8]] == [
        "q0",
        "a0",
        "q1",
        "a1",
        "q2",
        "a2",
        "q3",
        "a3",
    ]
    assert len(result.transcript) == 11
    # of the summary nothing is told but that it was made
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Yes."
    assert [event for event in events if isinstance(event, Compacted)] == [Compacted(7, 0)]
    assert [event.step for event in events if isinstance(event, StepFinished)] == [1]
    assert result.usage == Usage(710, 35, 745)
    assert len(result.exchanges) == 2


@drivers
def test_within_a_run_with_tool_calls(driver: str) -> None:
    script: list[Step] = [
        call("page", number=1),
        near(call("page", number=2)),
        "Read 1.",
        call("page", number=3),
        "Done.",
    ]
    with FakeEndpoint(script) as fake:
        agent = agent_of(fake, tools=[page], compaction=Compaction(WINDOW, keep=1))
        result = DRIVERS[driver](agent, "Read three pages.")
    assert result.output == "Done."
    assert [is_for_a_summary(request) for request in fake.requests] == [False, False, True, False, False]
    _, _, summary, after, _ = fake.requests
    assert summary.json["tool_choice"] == "none"
    assert summary.json["tools"] == after.json["tools"]
    roles = [message["role"] for message in after.messages]
    assert roles == ["user", "user", "assistant", "tool"]  # the summary, what is asked, and what was not answered to
    assert after.messages[1]["content"] == "Read three pages."
    assert [record.call.parsed["number"] for record in result.tool_calls] == [1, 2, 3]
    assert result_of(result, 0).startswith("page 1")


def test_the_counts_of_repeated_calls_and_faults_go_on_over_a_summary() -> None:
    same = call("page", number=1)
    model = ScriptedModel([same, same, near(same), "Page 1.", same, same])
    agent = agent_of(script=[], tools=[page], compaction=Compaction(WINDOW, keep=1))
    with pytest.raises(LimitReached, match="5 times running") as caught:
        agent.run_sync("Read.", model=model)
    assert [entry.covers for entry in summaries(caught.value.transcript)] == [3]
    wrong = call("page")
    model = ScriptedModel([wrong, same, near(wrong), "So far.", wrong, wrong])
    with pytest.raises(ModelError, match="3 times in a row") as faulty:
        agent.run_sync("Read.", model=model, limits=Limits(corrections=2))
    assert [entry.covers for entry in summaries(faulty.value.transcript)] == [3]


@drivers
def test_a_run_that_is_resumed_does_not_sum_up_again(driver: str) -> None:
    script = [say("They talked.", usage=(700, 30)), status(500), say("Yes.")]
    with FakeEndpoint(script) as fake:
        agent = agent_of(fake)
        failed = outcome(DRIVERS[driver], agent, "And now?", transcript=past())
        assert isinstance(failed, AgentKitError)
        assert failed.transcript is not None
        restored = Transcript.load(failed.transcript.dump())
        assert restored == failed.transcript
        result = DRIVERS[driver](agent, None, transcript=restored)
    assert result.output == "Yes."
    assert [is_for_a_summary(request) for request in fake.requests] == [True, False, False]
    assert fake.requests[1].messages == fake.requests[2].messages
    assert result.usage.total_tokens == 745  # what was used before counts


def test_the_next_run_goes_on_from_the_summary() -> None:
    with FakeEndpoint([say("They talked."), say("Yes."), say("No.")]) as fake:
        agent = agent_of(fake)
        first = agent.run_sync("And now?", transcript=past())
        agent.run_sync("Really?", transcript=Transcript.load(first.transcript.dump()))
    assert told(fake.requests[2]) == ["Summary", "a3", "And now", "Yes.", "Really?"]


def test_the_usage_from_before_a_summary_is_no_reason_for_another() -> None:
    script = [say("a", usage=(990, 5)), say("Sum."), status(500), say("b", usage=(100, 5)), say("c")]
    with FakeEndpoint(script) as fake:
        agent = agent_of(fake, compaction=Compaction(WINDOW, keep=1))
        first = agent.run_sync("?", transcript=past(2, 20))
        with pytest.raises(AgentKitError) as caught:
            agent.run_sync("??", transcript=first.transcript)
        again = agent.run_sync("???", transcript=caught.value.transcript)
        agent.run_sync("????", transcript=again.transcript)
    assert [is_for_a_summary(request) for request in fake.requests] == [False, True, False, False, False]


def test_a_summary_is_summed_up_in_turn() -> None:
    sums = iter(range(9))

    def answer(request: Request) -> Step:
        return say(f"sum {next(sums)}" if is_for_a_summary(request) else "ok", usage={})

    with FakeEndpoint(answer) as fake:
        agent = agent_of(fake)
        transcript = past(2)
        for n in range(8):
            transcript = agent.run_sync(f"q{n} " + "!" * 700, transcript=transcript).transcript
    covers = [entry.covers for entry in summaries(transcript)]
    assert len(covers) > 1
    assert covers == sorted(set(covers))
    second = [request for request in fake.requests if is_for_a_summary(request)][1]
    assert second.messages[0]["content"].endswith("sum 0")
    for request in fake.requests:
        assert len(request.body) < 4 * WINDOW


def test_what_is_too_long_to_be_summed_up_at_once_is_summed_up_in_pieces() -> None:
    def answer(request: Request) -> Step:
        if len(request.body) > 5 * WINDOW:
            return TOO_LONG
        return say("sum" if is_for_a_summary(request) else "ok")

    with FakeEndpoint(answer) as fake:
        result = agent_of(fake).run_sync("And now?", transcript=past(12))
    assert result.output == "ok"
    assert len(summaries(result.transcript)) > 2
    assert [entry.covers for entry in summaries(result.transcript)][-1] == 23
    assert not any(len(request.body) > 5 * WINDOW for request in fake.requests)


def test_a_part_is_summed_up_where_the_whole_is_too_long_after_all() -> None:
    limit = 2600

    def answer(request: Request) -> Step:
        if len(request.body) > limit:
            return TOO_LONG
        return say("sum" if is_for_a_summary(request) else "ok")

    with FakeEndpoint(answer) as fake:  # the window is smaller than was said
        agent = agent_of(fake)
        result = agent.run_sync("And now?", transcript=past(6))
        assert result.output == "ok"
        asked = [len(request.body) > limit for request in fake.requests if is_for_a_summary(request)]
        assert True in asked and False in asked
        limit = 0
        with pytest.raises(ContextLengthError) as caught:
            agent.run_sync("And now?", transcript=past(6))
    assert summaries(caught.value.transcript) == []


def test_one_result_that_is_longer_than_the_window_is_summed_up_from_its_ends() -> None:
    def whole() -> str:
        """Read all."""
        return "head" + "x" * 100_000 + "tail"

    with FakeEndpoint([call("whole"), say("Read.", usage=(26_000, 5)), say("It was long."), say("ok")]) as fake:
        agent = agent_of(fake, tools=[whole], compaction=Compaction(WINDOW, keep=1))
        first = agent.run_sync("Read all.")
        result = agent.run_sync("And?", transcript=first.transcript)
    assert result.output == "ok"
    shown = next(message["content"] for message in fake.requests[2].messages if message["role"] == "tool")
    assert len(shown) <= WINDOW
    assert shown.startswith("headx") and shown.endswith("xtail") and "characters left out" in shown
    assert result_of(first, 0).endswith("tail")


# Where the endpoint says so


@drivers
@pytest.mark.parametrize("guarded", [False, True], ids=["", "guarded"])
def test_once_more_where_the_endpoint_finds_it_too_long(driver: str, guarded: bool) -> None:
    seen: list[Any] = []
    args: dict[str, Any] = {"input_guards": [seen.append]} if guarded else {}
    with FakeEndpoint([TOO_LONG, say("They talked."), say("Yes.")]) as fake:
        agent = agent_of(fake, compaction=Compaction(100_000, keep=2), **args)
        result = DRIVERS[driver](agent, "And now?", transcript=past())
    assert result.output == "Yes."
    assert [is_for_a_summary(request) for request in fake.requests] == [False, True, False]
    assert [entry.covers for entry in summaries(result.transcript)] == [7]
    assert seen == (["And now?"] if guarded else [])


@drivers
def test_not_twice_for_the_same_request(driver: str) -> None:
    with FakeEndpoint([TOO_LONG, say("They talked."), TOO_LONG, say("Yes.")]) as fake:
        agent = agent_of(fake, compaction=Compaction(100_000, keep=2))
        error = outcome(DRIVERS[driver], agent, "And now?", transcript=past())
        assert isinstance(error, ContextLengthError)
        assert len(summaries(error.transcript)) == 1
        assert DRIVERS[driver](agent, None, transcript=error.transcript).output == "Yes."


def test_but_again_later_in_the_run() -> None:
    script = [call("page", number=1), TOO_LONG, say("one"), call("page", number=2), call("page", number=3)]
    with FakeEndpoint([*script, TOO_LONG, say("two"), say("done")]) as fake:
        agent = agent_of(fake, tools=[page], compaction=Compaction(100_000, keep=1))
        result = agent.run_sync("Read.", transcript=past(1))
    assert result.output == "done"
    assert len(summaries(result.transcript)) == 2


def test_with_nothing_to_sum_up_it_is_the_error_that_it_is() -> None:
    with FakeEndpoint([TOO_LONG]) as fake, pytest.raises(ContextLengthError) as caught:
        agent_of(fake).run_sync("?")
    assert len(caught.value.transcript or ()) == 1


def test_without_compaction_too() -> None:
    with FakeEndpoint([TOO_LONG]) as fake, pytest.raises(ContextLengthError):
        agent_of(fake, compaction=None).run_sync("?", transcript=past())


# Who sums up, and what goes wrong


@drivers
def test_another_model_sums_up(driver: str) -> None:
    with FakeEndpoint([say("They talked.", usage=(1000, 100))]) as cheap, FakeEndpoint([say("Yes.")]) as fake:
        other = ChatModel("mini", base_url=cheap.base_url, api_key=cheap.api_key, price=Price(1, 10))
        agent = agent_of(
            fake,
            compaction=Compaction(WINDOW, keep=2, model=other, prompt="Sum up!"),
            settings={"temperature": 0.5, "tool_choice": "required"},
            tools=[page],
        ).with_(model=chat_model(fake, price=Price(0, 0)), settings={"temperature": 0.5})
        result = DRIVERS[driver](agent, "And now?", transcript=past())
        (entry,) = summaries(result.transcript)
        assert (entry.model, entry.source) == ("mini", cheap.base_url)
    (asked,) = cheap.requests
    assert (asked.json["model"], asked.messages[-1]["content"]) == ("mini", "Sum up!")
    assert "temperature" not in asked.json
    assert entry.cost == pytest.approx(0.002)
    assert result.cost == pytest.approx(0.002)
    assert entry.cost == Transcript.load(result.transcript.dump()).entries[-2].cost


def test_a_model_for_summaries_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEndpoint([say("They talked."), say("Yes.")]) as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", fake.api_key)
        agent = agent_of(fake, compaction=Compaction(WINDOW, keep=2, model="openai:gpt-5-nano"))
        agent.run_sync("And now?", transcript=past())
    assert [request.json["model"] for request in fake.requests] == ["gpt-5-nano", "m"]


def test_a_model_that_is_put_in_place_of_all_sums_up_too() -> None:
    never = ScriptedModel([])
    agent = agent_of(script=[], compaction=Compaction(WINDOW, keep=2, model=never))
    with override(model=ScriptedModel(["They talked.", "Yes."])):
        assert agent.run_sync("And now?", transcript=past()).output == "Yes."
    assert never.requests == []


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (status(400, message="no"), BadRequestError, "no"),
        (say(""), ModelError, "did not sum up the conversation: its answer is empty"),
        (call("page", number=1), ModelError, "did not sum up the conversation: it called page"),
        (say("", refusal="I won't."), ModelError, "refuses to sum up the conversation: I won't."),
        (say("They ta", finish_reason="length"), ModelError, "was cut off at the token limit"),
        (say("They ta", finish_reason="content_filter"), ContentFilterError, "content filter stopped the summary"),
    ],
)
@pytest.mark.parametrize("driver", ["sync", "trio", "stream on asyncio"])
def test_a_summary_that_fails_ends_the_run(driver: str, item: Step, error: Any, message: str) -> None:
    with FakeEndpoint([item, say("They talked."), say("Yes.")]) as fake:
        agent = agent_of(fake, tools=[page])
        failed = outcome(DRIVERS[driver], agent, "And now?", transcript=past())
        assert type(failed) is error
        assert message in str(failed)
        assert summaries(failed.transcript) == []
        assert failed.transcript is not None
        assert len(failed.transcript) == 9
        assert DRIVERS[driver](agent, None, transcript=failed.transcript).output == "Yes."
