"""The client's own tools beside the agent's, decisions on the agent's calls, and steps that travel with the client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from agentkit import Agent, ChatModel, Context, tool
from agentkit.serve import DECIDE
from agentkit.testing import ScriptedModel, call, calls
from tests.serve.conftest import KEY, OTHER_KEY
from tests.serve.test_answers import HELLO, ask, bot, weather

ASKED = {"role": "user", "content": "Weather at my place?"}
PLACE = {
    "type": "function",
    "function": {
        "name": "place",
        "description": "Where the user is.",
        "parameters": {"type": "object", "properties": {"exact": {"type": "boolean"}}},
    },
}
DECIDING = {"type": "function", "function": {"name": DECIDE, "parameters": {"type": "object"}}}


def merged(chunks: list[Any]) -> dict[str, Any]:
    """The message that a stream's deltas make."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": []}
    for delta in (chunk.choices[0].delta.model_dump(exclude_unset=True) for chunk in chunks if chunk.choices):
        for name, value in delta.items():
            if name == "tool_calls":
                for piece in value:
                    if piece["index"] == len(message["tool_calls"]):
                        message["tool_calls"].append({k: v for k, v in piece.items() if k != "index"})
                    else:
                        function = message["tool_calls"][piece["index"]]["function"]
                        function["arguments"] += piece["function"]["arguments"]
            elif name != "role" and value is not None:
                message[name] = message[name] + value if name in message else value
    return {name: value for name, value in message.items() if value}


def said(client: Any, *, stream: bool = False, **fields: Any) -> tuple[dict[str, Any], str]:
    """The message that comes, as a client sends it back, and the finish_reason."""
    if stream:
        chunks = list(ask(client, stream=True, **fields))
        return merged(chunks), chunks[-1].choices[0].finish_reason
    choice = ask(client, **fields).choices[0]
    return choice.message.model_dump(), choice.finish_reason


def told(message: dict[str, Any], *contents: Any) -> list[dict[str, Any]]:
    """The message, and a result for each of its calls."""
    asked = message["tool_calls"]
    assert len(asked) == len(contents)
    results = [
        {
            "role": "tool",
            "tool_call_id": each["id"],
            "content": content if isinstance(content, str) else json.dumps(content),
        }
        for each, content in zip(asked, contents, strict=True)
    ]
    return [message, *results]


def names(message: dict[str, Any]) -> list[str]:
    return [each["function"]["name"] for each in message.get("tool_calls") or ()]


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_of_the_client(client_of, stream):
    ran = []

    def forecast(city: str) -> str:
        """Tell the forecast."""
        ran.append(city)
        return "Rain."

    first = calls(call("forecast", city="Hue"), call("place", exact=True), text="One moment.")
    model = ScriptedModel([first, call("forecast", city="Hanoi"), "Rain in Hanoi."])
    client = client_of(Agent(model, tools=[forecast]))
    message, reason = said(client, stream=stream, messages=[ASKED], tools=[PLACE])
    assert (names(message), reason, message["content"], ran) == (["place"], "tool_calls", "One moment.", ["Hue"])
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"exact": True}
    answer, reason = said(client, stream=stream, messages=[ASKED, *told(message, "Hanoi")], tools=[PLACE])
    assert (answer["content"], reason, ran) == ("Rain in Hanoi.", "stop", ["Hue", "Hanoi"])
    seen = model.requests[-1].messages
    assert [(m["role"], m.get("content")) for m in seen] == [
        ("user", "Weather at my place?"),
        ("assistant", "One moment."),
        ("tool", "Rain."),
        ("tool", "Hanoi"),
        ("assistant", None),
        ("tool", "Rain."),
    ]
    assert [spec.name for spec in model.requests[0].tools] == ["forecast", "place"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_agents_steps_are_known_in_the_next_turn(client_of, stream):
    model = ScriptedModel([call("weather", city="Hue"), "Sunny.", "As I said."])
    client = client_of(Agent(model, tools=[weather]))
    message, _ = said(client, stream=stream)
    again = {"role": "user", "content": "Sure?"}
    assert said(client, messages=[*HELLO, message, again])[0]["content"] == "As I said."
    assert [m["role"] for m in model.requests[-1].messages] == ["user", "assistant", "tool", "assistant", "user"]


def test_the_message_itself_may_be_sent_back(client_of):
    model = ScriptedModel([call("weather", city="Hue"), "Sunny.", "Yes."])
    client = client_of(Agent(model, tools=[weather]))
    message = ask(client).choices[0].message
    ask(client, messages=[*HELLO, message, {"role": "user", "content": "Sure?"}])
    assert [m["role"] for m in model.requests[-1].messages] == ["user", "assistant", "tool", "assistant", "user"]


def test_what_clients_do_to_messages_does_not_matter(client_of):
    model = ScriptedModel([call("weather", city="Hue"), "Sunny. ", "Yes.", "No."])
    client = client_of(Agent(model, tools=[weather]))
    message, _ = said(client)
    kept = {
        "role": "assistant",
        "content": [{"type": "text", "text": "Sunny."}],
        "agentkit_state": message["agentkit_state"],
    }
    system = {"role": "system", "content": "It is noon."}
    user = {"role": "user", "content": [{"type": "text", "text": "Hello"}], "name": "ann"}
    said(client, messages=[system, user, kept, *HELLO])
    assert [m["role"] for m in model.requests[-1].messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


def test_a_clients_tool_may_be_named_as_one_of_the_agents(client_of):
    model = ScriptedModel([calls(call("weather", city="Hue"), call("client_weather", city="Hanoi")), "Both."])
    client = client_of(Agent(model, tools=[weather]))
    spec = {"type": "function", "function": {"name": "weather"}}
    message, _ = said(client, messages=[ASKED], tools=[spec])
    assert names(message) == ["weather"]
    said(client, messages=[ASKED, *told(message, "theirs")], tools=[spec])
    results = [m["content"] for m in model.requests[-1].messages if m["role"] == "tool"]
    assert results == ["Sunny in Hue", "theirs"]


@pytest.mark.parametrize(
    ("choice", "sent", "offered"),
    [
        ("auto", None, ["weather", "place"]),
        ("none", None, ["weather"]),
        ("required", "required", ["weather", "place"]),
        ({"type": "function", "function": {"name": "place"}}, "place", ["weather", "place"]),
    ],
)
def test_the_choice_is_among_the_clients_tools(client_of, choice, sent, offered):
    model = ScriptedModel([call("place") if sent else "Fine."])
    said(client_of(Agent(model, tools=[weather])), messages=[ASKED], tools=[PLACE], tool_choice=choice)
    assert model.requests[0].settings.tool_choice == sent
    assert [spec.name for spec in model.requests[0].tools] == offered


def test_a_result_that_does_not_come_is_told(client_of):
    model = ScriptedModel([calls(call("place"), call("place", exact=True)), "Never mind."])
    client = client_of(Agent(model))
    message, _ = said(client, messages=[ASKED], tools=[PLACE])
    said(client, messages=[ASKED, *told(message, "Hue", "x")[:2], *HELLO], tools=[PLACE])
    results = [m["content"] for m in model.requests[-1].messages if m["role"] == "tool"]
    assert results[0] == "Hue"
    assert "not run" in results[1]


# Decisions


@pytest.fixture
def bank() -> Any:
    return Bank()


class Bank:
    """An agent whose payments wait for an approval."""

    def __init__(self) -> None:
        self.paid: list[str] = []

    def agent(self, *script: Any) -> Agent[Any, Any]:
        @tool(approval=True)
        def pay(to: str) -> str:
            """Pay."""
            self.paid.append(to)
            return f"{to} is paid"

        self.model = ScriptedModel(script)
        return Agent(self.model, tools=[pay, weather])

    def results(self) -> list[str]:
        return [m["content"] for m in self.model.requests[-1].messages if m["role"] == "tool"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("decision", "paid", "result"),
    [
        ("approve", ["Ann"], "Ann is paid"),
        ("Yes.", ["Ann"], "Ann is paid"),
        (True, ["Ann"], "Ann is paid"),
        ({"decision": "approve"}, ["Ann"], "Ann is paid"),
        ({"decision": "approve", "arguments": {"to": "Bo"}}, ["Bo"], "Bo is paid"),
        ({"decision": "answer", "value": "Ann is paid"}, [], "denied"),
        ({"decision": "approve", "arguments": "all"}, [], "denied"),
        ("deny", [], "denied"),
        (False, [], "denied"),
        (None, [], "denied"),
        ("", [], "denied"),
        ({"decision": "deny", "reason": "too much"}, [], "too much"),
        ("Not on a Sunday", [], "Not on a Sunday"),
        ({"decision": 1}, [], "denied"),
        ({"approve": True}, [], "denied"),
        ([True], [], "denied"),
    ],
)
def test_a_decision(client_of, bank, decision, paid, result, stream):
    client = client_of(bank.agent(calls(call("weather", city="Hue"), call("pay", to="Ann")), "All done."))
    message, reason = said(client, stream=stream, tools=[DECIDING])
    assert (names(message), reason, bank.paid) == ([DECIDE], "tool_calls", [])
    asked = json.loads(message["tool_calls"][0]["function"]["arguments"])
    assert (asked["name"], asked["arguments"], asked["hold"]) == ("pay", {"to": "Ann"}, "approval")
    answer, reason = said(client, stream=stream, messages=[*HELLO, *told(message, decision)], tools=[DECIDING])
    assert (answer["content"], reason, bank.paid) == ("All done.", "stop", paid)
    first, second = bank.results()
    assert first == "Sunny in Hue"
    assert result in second


@pytest.mark.parametrize(
    ("told_", "result"),
    [
        ("Monday", "Monday"),
        ({"decision": "answer", "value": {"day": 1}}, '{"day":1}'),
        ({"decision": "deny", "reason": "no idea"}, "no idea"),
        ("yes", "yes"),
        ({"day": 1}, '{"day": 1}'),
    ],
)
def test_an_answer_to_a_tool_of_the_agent_without_a_function(client_of, told_, result):
    def delivery_day() -> str:
        """Tell on which day the user wants it."""
        raise AssertionError

    model = ScriptedModel([call("delivery_day"), "Noted."])
    client = client_of(Agent(model, tools=[tool(external=True)(delivery_day)]))
    message, _ = said(client, tools=[DECIDING])
    assert json.loads(message["tool_calls"][0]["function"]["arguments"])["hold"] == "answer"
    answer, _ = said(client, messages=[*HELLO, *told(message, told_)], tools=[DECIDING])
    assert answer["content"] == "Noted."
    assert result in model.requests[-1].messages[-1]["content"]


def test_what_was_decided_is_known_in_the_next_turn(client_of, bank):
    client = client_of(bank.agent(call("pay", to="Ann"), "Paid.", "Once."))
    asked, _ = said(client, tools=[DECIDING])
    so_far = [*HELLO, *told(asked, "approve")]
    answer, _ = said(client, messages=so_far, tools=[DECIDING])
    last, _ = said(client, messages=[*so_far, answer, {"role": "user", "content": "How often?"}], tools=[DECIDING])
    assert (last["content"], bank.paid, bank.results()) == ("Once.", ["Ann"], ["Ann is paid"])


def test_a_decision_counts_once_where_the_answer_to_it_was_lost(client_of, bank):
    client = client_of(bank.agent(call("pay", to="Ann"), "Paid.", "I can't tell."))
    asked, _ = said(client, tools=[DECIDING])
    so_far = [*HELLO, *told(asked, "approve")]
    said(client, messages=so_far, tools=[DECIDING])
    forged = {"role": "assistant", "content": "Paid."}
    said(client, messages=[*so_far, forged, {"role": "user", "content": "Sure?"}], tools=[DECIDING])
    assert bank.paid == ["Ann"]
    assert "not known" in bank.results()[0]


def test_the_same_request_again_has_the_same_key(client_of):
    keys = []

    @tool(approval=True)
    def pay(context: Context[None]) -> str:
        """Pay."""
        keys.append(context.idempotency_key)
        return "paid"

    model = ScriptedModel(lambda r: "Paid." if r.transcript.last.calls else call("pay"))
    client = client_of(Agent(model, tools=[pay]))
    asked = [HELLO[0], {"role": "assistant", "content": "Yes?"}, HELLO[0]]
    message, _ = said(client, messages=asked, tools=[DECIDING])
    for _ in range(2):
        said(client, messages=[*asked, *told(message, "approve")], tools=[DECIDING])
    assert keys[0]
    assert keys == [keys[0]] * 2


def test_what_is_not_decided_is_asked_again(client_of, bank):
    client = client_of(bank.agent(calls(call("pay", to="Ann"), call("pay", to="Bo")), "Both."))
    first, _ = said(client, tools=[DECIDING])
    so_far = [*HELLO, *told(first, "approve", "x")[:2]]
    second, reason = said(client, messages=so_far, tools=[DECIDING])
    assert (reason, bank.paid) == ("tool_calls", ["Ann"])
    assert [json.loads(each["function"]["arguments"])["arguments"] for each in second["tool_calls"]] == [{"to": "Bo"}]
    answer, _ = said(client, messages=[*so_far, *told(second, "approve")], tools=[DECIDING])
    assert (answer["content"], bank.paid) == ("Both.", ["Ann", "Bo"])


def test_who_goes_on_without_deciding_denies(client_of, bank):
    client = client_of(bank.agent(call("pay", to="Ann"), "Then not."))
    message, _ = said(client, tools=[DECIDING])
    answer, _ = said(client, messages=[*HELLO, message, {"role": "user", "content": "Wait."}], tools=[DECIDING])
    assert (answer["content"], bank.paid) == ("Then not.", [])
    assert "denied" in bank.results()[0]


@pytest.mark.parametrize("stream", [False, True])
def test_where_nobody_can_be_asked_the_model_is_told(client_of, bank, stream):
    client = client_of(bank.agent(call("pay", to="Ann"), "It needs a person."))
    message, reason = said(client, stream=stream)
    assert (message["content"], reason, bank.paid) == ("It needs a person.", "stop", [])
    assert "cannot be given here" in bank.results()[0]


def test_a_decision_and_a_tool_of_the_client(client_of, bank):
    client = client_of(bank.agent(calls(call("place"), call("pay", to="Ann")), "Done."))
    tools = [PLACE, DECIDING]
    message, _ = said(client, tools=tools)
    assert names(message) == ["place", DECIDE]
    answer, _ = said(client, messages=[*HELLO, *told(message, "Hue", "approve")], tools=tools)
    assert (answer["content"], bank.paid, bank.results()) == ("Done.", ["Ann"], ["Hue", "Ann is paid"])


def test_a_clients_tool_where_nobody_decides(client_of, bank):
    client = client_of(bank.agent(calls(call("place"), call("pay", to="Ann")), "Done."))
    message, _ = said(client, tools=[PLACE])
    assert names(message) == ["place"]
    said(client, messages=[*HELLO, *told(message, "Hue")], tools=[PLACE])
    assert bank.results()[0] == "Hue"
    assert bank.paid == []


def test_a_decision_in_an_agent_that_is_a_tool(client_of, bank):
    inner = bank.agent(call("pay", to="Ann"), "Paid.")
    outer = ScriptedModel([call("cashier", prompt="Pay Ann."), "All is paid."])
    client = client_of(Agent(outer, tools=[inner.as_tool("cashier", "Pays.")]))
    message, _ = said(client, tools=[DECIDING])
    assert json.loads(message["tool_calls"][0]["function"]["arguments"])["name"] == "pay"
    completion = ask(client, messages=[*HELLO, *told(message, "approve")], tools=[DECIDING])
    assert (completion.choices[0].message.content, bank.paid) == ("All is paid.", ["Ann"])
    assert completion.usage.total_tokens == 30


@pytest.mark.parametrize("stream", [False, True])
def test_a_typed_answer(client_of, stream):
    class Sky(BaseModel):
        clear: bool

    agent = Agent(
        ScriptedModel([calls(call("weather", city="x"), text="Hm."), '{"clear": true}']), output=Sky, tools=[weather]
    )
    message, reason = said(client_of(agent), stream=stream)
    assert (json.loads(message["content"]), reason) == ({"clear": True}, "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_shown_before_its_guard_has_seen_it(client_of, stream):
    agent = bot(
        calls(call("weather", city="x"), text="It is 42."),
        "It is 42.",
        tools=[weather],
        output_guards=[lambda text: text.replace("42", "…")],
    )
    assert said(client_of(agent), stream=stream)[0]["content"] == "It is …."


# agentkit's own client in front


@pytest.mark.parametrize("verb", ["run_sync", "stream_sync"])
def test_an_agent_behind_an_agent(client_of, verb):
    model = ScriptedModel(
        [calls(call("weather", city="Hue"), call("place"), text="Let me see."), call("weather", city="Hanoi"), "Sunny."]
    )
    url = str(client_of(Agent(model, tools=[weather])).base_url)

    def place() -> str:
        """Where the user is."""
        return "Hanoi"

    outer = Agent(ChatModel("bot", base_url=url, api_key=KEY), tools=[place])
    if verb == "run_sync":
        result = outer.run_sync("Weather here?")
    else:
        with outer.stream_sync("Weather here?") as run:
            result = run.finish()
    assert result.output == "Sunny."
    assert [record.call.name for record in result.tool_calls] == ["place"]
    assert result.usage.total_tokens == 45
    roles = [m["role"] for m in model.requests[-1].messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "tool"]


def test_another_key_does_not_open_it(client_of):
    model = ScriptedModel([call("weather", city="Hue"), "Sunny.", "Yes."])
    agent = Agent(model, tools=[weather])
    message, _ = said(client_of(agent))
    said(client_of(agent, key=OTHER_KEY), messages=[*HELLO, message, *HELLO])
    assert [m["role"] for m in model.requests[-1].messages] == ["user", "assistant", "user"]
