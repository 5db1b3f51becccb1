"""A conversation that nears the model's window is summed up, in each driver; the transcript keeps all of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from agentkit import (
    Agent,
    Approve,
    ChatModel,
    Context,
    Instruction,
    Limits,
    Message,
    Output,
    Price,
    Result,
    Transcript,
    Usage,
    tool,
)
from agentkit.errors import (
    AgentKitError,
    BadRequestError,
    ContentFilterError,
    ContextLengthError,
    LimitReached,
    ModelError,
)
from agentkit.events import Compacted, Event, Nested, StepFinished, TextDelta
from agentkit.history import SUMMARISE, ClearResults, Compaction, KeepTurns
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, override, reply, say, status
from agentkit.testing.script import Item, Request, Step
from tests.drivers import DRIVERS, outcome

drivers = pytest.mark.parametrize("driver", DRIVERS)
WINDOW = 1000
TOO_LONG = status(400, message="This is too long.", error_code="context_length_exceeded")


def page(number: int) -> str:
    """Read a page."""
    return f"page {number}: " + "x" * 800


def past(turns: int = 4, chars: int = 800) -> Transcript:
    """A conversation of so many turns, each of so many characters."""
    found: list[dict[str, Any]] = []
    for n in range(turns):
        found += [{"role": "user", "content": f"q{n} " + "?" * chars}, {"role": "assistant", "content": f"a{n}"}]
    return Transcript.load(found)


def agent_of(fake: FakeEndpoint | None = None, *, script: Any = None, **args: Any) -> Agent[Any, Any]:
    args.setdefault("compaction", Compaction(WINDOW, keep=2))
    return Agent(ScriptedModel(script) if fake is None else chat_model(fake), **args)


def chat_model(fake: FakeEndpoint, **args: Any) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, retries=0, **args)


def result_of(result: Result, index: int) -> str:
    landed = result.tool_calls[index].result
    assert landed is not None
    return landed.content


def near(item: Item) -> Item:
    """The same calls, of a model that says that its window is nearly full."""
    return calls(item, usage=(WINDOW - 50, 5))


def is_for_a_summary(request: Request) -> bool:
    return bool(request.messages[-1]["content"] == SUMMARISE)


def summaries(transcript: Transcript | None) -> list[Any]:
    assert transcript is not None
    return [entry for entry in transcript if entry.covers]


def told(request: Request) -> list[str]:
    return [str(message["content"])[:7] for message in request.messages]


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


# With what else there is


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
        agent = agent_of(fake, tools=[page], compaction=Compaction(WINDOW, keep=1), input_guards=[look], name="reader")
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
