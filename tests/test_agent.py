"""The façade: what an agent is made of, what a run may be given, and what it gives back."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from inline_snapshot import snapshot

from agentkit import Agent, ChatModel, Context, Image, Limits, Result, Settings, Transcript, tool
from agentkit.errors import LimitReached, ModelError, ServerError, UsageError
from agentkit.events import Event, RunFinished, StepFinished, TextDelta, ToolFinished, ToolProgress, ToolStarted
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, fixed_clock, say, status
from tests.drivers import DRIVERS
from tests.scenarios import CONSTRUCTION_ERRORS

drivers = pytest.mark.parametrize("driver", DRIVERS)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def whose(ctx: Context[str]) -> str:
    """Tell whose this is."""
    return ctx.deps


def asked(model: ScriptedModel, number: int = 0) -> list[Any]:
    """What stood in a request's messages, in short."""
    return [(message["role"], message["content"]) for message in model.requests[number].messages]


# Making


@pytest.mark.parametrize(("arguments", "words"), CONSTRUCTION_ERRORS, ids=[words for _, words in CONSTRUCTION_ERRORS])
def test_what_cannot_work_is_refused_when_the_agent_is_made(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Agent(ScriptedModel([]), **arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "opnai:gpt-5"}, "unknown prefix 'opnai' in 'opnai:gpt-5': did you mean 'openai'?"),
        ({"model": "gpt-5"}, "model 'gpt-5' names no endpoint"),
        ({"on_length": "raise"}, "on_length='raise' is not one of 'return', 'error'"),
        ({"settings": {"temperature": 3}}, "temperature is a number from 0 to 2, not 3"),
        ({"settings": {"tool_choice": "required"}}, "forces a call, but the tools are: none"),
    ],
)
def test_names_and_numbers_are_checked_when_the_agent_is_made(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Agent(**{"model": ScriptedModel([]), **arguments})
    assert words in str(caught.value)


def test_with_gives_a_changed_copy() -> None:
    agent = Agent(ScriptedModel(["first"]), tools=[add], instructions="Be brief.", name="one", settings={"seed": 1})
    other = agent.with_(
        model=ScriptedModel(["second"]), tools=[whose], instructions=["Be long.", "Be kind."], name="two"
    )
    assert (agent.instructions, list(agent.tools), agent.name) == ("Be brief.", ["add"], "one")
    assert (other.instructions, list(other.tools), other.name) == ("Be long.\n\nBe kind.", ["whose"], "two")
    assert other.settings == agent.settings == Settings(seed=1)
    assert (agent.run_sync("x").output, other.run_sync("x").output) == ("first", "second")
    same = agent.with_()
    assert (same.tools, same.limits, same.model) == (agent.tools, agent.limits, agent.model)
    with pytest.raises(
        UsageError, match="Agent has no argument modle, tols; it has model, output, tools, instructions, validators"
    ):
        agent.with_(modle="x", tols=[])
    with pytest.raises(UsageError, match="temperature"):
        agent.with_(settings={"temperature": 9})


def test_an_agent_tells_what_it_is() -> None:
    assert repr(Agent(ChatModel("openai:gpt-5"), tools=[add])) == (
        "Agent(ChatModel('gpt-5', Endpoint('https://api.openai.com/v1', openai)), tools=['add'])"
    )
    assert "tools" not in repr(Agent("openai:gpt-5"))


# Running


@drivers
def test_what_a_run_is_given_goes_over_the_agents_own(driver: str) -> None:
    model = ScriptedModel([calls(call("add", a=1, b=2), call("whose")), say("ok")])
    agent: Agent[Any] = Agent("openai:gpt-5", tools=[add], settings={"seed": 1, "temperature": 0.0})
    ended = DRIVERS[driver](
        agent,
        "x",
        model=model,
        tools=[whose],
        deps="Ada",
        settings={"temperature": 1.0},
        limits=Limits(steps=2),
    )
    assert [record.result.content for record in ended.tool_calls] == ["3", "Ada"]
    assert model.requests[0].settings == Settings(seed=1, temperature=1.0)
    assert [spec.name for spec in model.requests[0].tools] == ["add", "whose"]
    with pytest.raises(LimitReached):
        DRIVERS[driver](agent, "x", model=ScriptedModel([call("add", a=1, b=2)] * 2), limits=Limits(steps=1))
    assert agent.limits == Limits()


def test_a_models_name_is_taken_for_one_run(scripted_endpoint: str) -> None:
    agent: Agent[Any] = Agent(ScriptedModel(["mine"]))
    assert agent.run_sync("x", model="any-model").output == "As you say."
    assert agent.run_sync("x").output == "mine"


def test_a_runs_tool_takes_the_place_of_the_agents() -> None:
    def other(a: int) -> str:
        """Do something else."""
        return f"other {a}"

    agent: Agent[Any] = Agent(ScriptedModel([call("add", a=1), say("ok")]), tools=[add])
    ended = agent.run_sync("x", tools=[tool(name="add")(other)])
    assert ended.tool_calls[0].result is not None
    assert ended.tool_calls[0].result.content == "other 1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"promt": "x"}, "a run has no argument promt; it has transcript, conversation, busy, decisions, approve"),
        ({"settings": {"temprature": 1}}, "did you mean 'temperature'?"),
        ({"settings": {"tool_choice": "sub"}}, "the tools are: add"),
        ({"settings": {"n": 3}}, "n > 1"),
        ({"tools": [whose, whose]}, "two tools are named 'whose'"),
        ({"transcript": [{"role": "system", "content": "obey"}]}, "message 0 is a system message"),
        ({"model": "gpt-5"}, "names no endpoint"),
    ],
)
def test_what_a_run_cannot_be_given_is_refused_before_anything_is_asked(arguments: dict[str, Any], words: str) -> None:
    model = ScriptedModel(["never"])
    agent: Agent[Any] = Agent(model, tools=[add])
    with pytest.raises(UsageError) as caught:
        agent.run_sync("x", **arguments)
    assert words in str(caught.value)
    assert model.requests == []


@pytest.mark.parametrize("past", [None, [], Transcript()])
def test_there_must_be_something_to_answer(past: Any) -> None:
    with pytest.raises(UsageError, match="nothing to answer: give a prompt, or a transcript that has messages"):
        Agent(ScriptedModel([])).run_sync(transcript=past)


def test_a_prompt_may_be_parts() -> None:
    model = ScriptedModel(["a cat"])
    Agent(model).run_sync(["What is this?", Image(b"PNG"), {"type": "text", "text": "Look well."}])
    assert asked(model) == [
        (
            "user",
            [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,UE5H"}},
                {"type": "text", "text": "Look well."},
            ],
        )
    ]
    with pytest.raises(UsageError, match="a content part is a string, Image, Audio, File"):
        Agent(model).run_sync([3])  # type: ignore[list-item]


# Going on


@drivers
def test_a_transcript_goes_on(driver: str) -> None:
    model = ScriptedModel([call("add", a=1, b=2), say("3"), say("30")])
    agent: Agent[Any] = Agent(model, tools=[add], instructions="Be brief.")
    first = DRIVERS[driver](agent, "1 + 2?")
    second = DRIVERS[driver](agent, "times ten?", transcript=first.transcript)
    assert second.output == "30"
    assert asked(model, 2) == [
        ("system", "Be brief."),
        ("user", "1 + 2?"),
        ("assistant", None),
        ("tool", "3"),
        ("assistant", "3"),
        ("user", "times ten?"),
    ]
    assert [(message["role"], message["content"]) for message in second.new_messages] == [
        ("user", "times ten?"),
        ("assistant", "30"),
    ]
    assert (second.tool_calls, len(first.tool_calls)) == ((), 1)
    assert (first.usage.total_tokens, second.usage.total_tokens) == (30, 15)
    assert len(first.transcript) == 3
    assert first.transcript.messages == second.transcript.messages[:4]


@pytest.mark.parametrize("form", ["list", "dump", "json"])
def test_it_may_be_given_as_a_list_or_a_dump(form: str) -> None:
    first = Agent(ScriptedModel([call("add", a=1, b=2), say("3")]), tools=[add]).run_sync("1 + 2?").transcript
    given: Any = {"list": first.messages, "dump": first.dump(), "json": first.dump().encode()}[form]
    model = ScriptedModel(["30"])
    assert Agent(model).run_sync("times ten?", transcript=given).output == "30"
    assert [role for role, _ in asked(model)] == ["user", "assistant", "tool", "assistant", "user"]


def test_two_runs_on_one_transcript_never_see_each_other() -> None:
    base = Agent(ScriptedModel(["hello"])).run_sync("hi").transcript
    before = base.dump()
    models = [ScriptedModel([call("add", a=n, b=n), say(str(n))]) for n in range(3)]
    ends = [Agent(model, tools=[add]).run_sync(f"run {n}", transcript=base) for n, model in enumerate(models)]
    assert base.dump() == before
    for number, (model, ended) in enumerate(zip(models, ends, strict=True)):
        assert [content for role, content in asked(model, 1) if role == "user"] == ["hi", f"run {number}"]
        assert len(ended.transcript) == 5


def test_a_finished_transcript_without_a_prompt_is_its_answer() -> None:
    model = ScriptedModel(["hello"])
    first = Agent(model).run_sync("hi")
    assert Agent(model).run_sync(transcript=first.transcript).output == "hello"
    assert len(model.requests) == 1


def test_an_errors_transcript_goes_on() -> None:
    agent: Agent[Any] = Agent(ScriptedModel([call("add", a=1, b=2), status(400, message="no"), say("3")]), tools=[add])
    with pytest.raises(Exception, match="no") as caught:
        agent.run_sync("1 + 2?")
    error = pickle.loads(pickle.dumps(caught.value))
    ended = agent.run_sync(transcript=error.transcript)
    assert (ended.output, ended.usage.total_tokens, len(ended.tool_calls)) == ("3", 30, 1)


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [([say("no", refusal="I will not")], ModelError, "no"), ([say("")] * 2, ModelError, "")],
)
def test_an_error_says_what_the_model_said(script: list[Any], error: type[ModelError], text: str) -> None:
    with pytest.raises(error) as caught:
        Agent(ScriptedModel(script)).run_sync("x")
    assert caught.value.text == text
    assert caught.value.transcript is not None


def test_what_a_result_has() -> None:
    with fixed_clock():
        agent: Agent[Any] = Agent(ScriptedModel([call("add", a=1, b=2), say("3", finish_reason="length")]), tools=[add])
        ended = agent.run_sync("1 + 2?")
    assert (ended.output, ended.text, str(ended), ended.status, ended.finish_reason) == (
        "3",
        "3",
        "3",
        "done",
        "length",
    )
    assert [(record.call.name, record.started_at) for record in ended.tool_calls] == [("add", 1_700_000_000.0)]
    assert ended.new_messages == ended.transcript.messages
    assert (ended.usage.prompt_tokens, ended.usage.completion_tokens) == (20, 10)


# Events


def short(event: Event) -> str:
    match event:
        case TextDelta(text, step):
            return f"text {text!r} {step}"
        case ToolStarted(made, step):
            return f"started {made.name} {step}"
        case ToolProgress(made, value, step):
            return f"progress {made.name} {value} {step}"
        case ToolFinished(made, result, step):
            return f"finished {made.name} {result.content} {step}"
        case StepFinished(reply, step):
            return f"step {reply.finish_reason} {step}"
        case RunFinished(result, step):
            return f"run {result.output} {step}"
        case _:
            return type(event).__name__


def counting() -> Any:
    """Count."""
    yield 1
    yield 2


@drivers
@pytest.mark.parametrize("inline", [False, True])
def test_events_come_in_order(driver: str, inline: bool) -> None:
    told: list[str] = []
    count = tool(name="count", inline=inline)(counting)
    agent: Agent[Any] = Agent(ScriptedModel([call("count"), say("two")]), tools=[count])
    DRIVERS[driver](agent, "x", on_event=lambda event: told.append(short(event)))
    assert [line for line in told if not line.startswith("ToolCallDelta")] == snapshot(
        [
            "step tool_calls 1",
            "started count 1",
            "progress count 1 1",
            "progress count 2 1",
            "finished count 2 1",
            "text 'two' 2",
            "step stop 2",
            "run two 2",
        ]
    )


@drivers
def test_a_retry_is_told(driver: str) -> None:
    told: list[str] = []
    with FakeEndpoint([status(500), say("ok")]) as fake, fixed_clock() as time:
        agent: Agent[Any] = Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key))
        DRIVERS[driver](agent, "x", on_event=lambda event: told.append(short(event)))
    assert told == ["Retrying", "text 'ok' 1", "step stop 1", "run ok 1"]
    assert len(time.waits) == 1


# Exchanges


def over_the_wire(fake: FakeEndpoint, **options: Any) -> Agent[Any]:
    return Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, retries=0), tools=[add], **options)


@drivers
def test_exchanges_show_what_went_over_the_wire_without_the_key(driver: str) -> None:
    with FakeEndpoint([call("add", a=1, b=2), say("3")], api_key="sk-very-secret") as fake:
        ended = DRIVERS[driver](over_the_wire(fake), "1 + 2?")
        first, second = ended.exchanges
        assert [exchange.request_body for exchange in ended.exchanges] == [request.body for request in fake.requests]
        assert first.request_json["messages"] == [{"role": "user", "content": "1 + 2?"}]
        assert (first.status, second.status) == (200, 200)
        assert b"tool_calls" in first.response_body
        curl = second.curl()
    assert curl.startswith(f"curl {first.url} \\\n  -H ")
    assert "$KEY" in curl
    assert "very-secret" not in curl + repr(ended.exchanges) + str(first.headers)
    again = pickle.loads(pickle.dumps(first))
    assert (again.request_body, again.response_body, again.curl()) == (
        first.request_body,
        first.response_body,
        first.curl(),
    )


@drivers
def test_exchanges_can_be_left_out(driver: str) -> None:
    with FakeEndpoint([say("ok"), status(500)]) as fake:
        agent = over_the_wire(fake, exchanges=False)
        assert DRIVERS[driver](agent, "x").exchanges == ()
        with pytest.raises(ServerError) as caught:
            DRIVERS[driver](agent, "x")
    assert caught.value.exchange is not None
    assert caught.value.exchange.status == 500


def test_a_result_can_be_kept() -> None:
    ended = Agent(ScriptedModel([call("add", a=1, b=2), say("3")]), tools=[add]).run_sync("x")
    again: Result = pickle.loads(pickle.dumps(ended))
    assert (again.output, again.transcript, again.usage) == (ended.output, ended.transcript, ended.usage)
