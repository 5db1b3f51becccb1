"""Runs that end before they are done, because the server ends: between two steps, or where they stand."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest

from agentkit import Agent, Limits, tool
from agentkit.serve import ServeLimits, create_app
from agentkit.testing import ScriptedModel, call, calls
from tests.serve.conftest import KEY, OTHER_KEY, SECRET
from tests.serve.test_answers import HELLO, weather
from tests.serve.test_client_tools import DECIDING, PLACE, told

GO_ON = {"role": "user", "content": "Go on."}


class Ending:
    """A server with an agent two of whose tools have the server end: `drain` between two steps, `end` at once."""

    def __init__(self, *script: Any) -> None:
        self.model = ScriptedModel(script)
        self.ran: list[str] = []
        self.app = self.made(self.model)

    def made(self, model: Any, **args: Any) -> Any:
        """The application with another model, as another process would have it."""

        @tool(approval=True)
        def pay() -> str:
            """Pay."""
            self.ran.append("pay")
            return "paid"

        def look() -> str:
            """Look."""
            self.ran.append("look")
            return "seen"

        agent = Agent(model, tools=[weather, look, pay, self.drain, self.end], **args)
        return create_app({"bot": agent}, api_keys=[KEY, OTHER_KEY], secret=SECRET, show_steps="asked")

    def drain(self) -> str:
        """Drain."""
        self.app.state.agentkit.drain()
        self.ran.append("drain")
        return "drained"

    async def end(self) -> str:
        """End."""
        self.drain()
        self.app.state.agentkit.cuts.cut()
        await anyio.sleep_forever()
        return ""

    def draining(self, *made: Any, text: str = "") -> Any:
        """A reply in the middle of which the server begins to end."""

        def reply(_: Any) -> Any:
            self.app.state.agentkit.drain()
            return calls(*made, text=text)

        return reply


def post(url: str, key: str = KEY, **fields: Any) -> httpx.Response:
    body = {"model": "bot", "messages": HELLO, **fields}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=20)


def left_of(response: httpx.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    """The message that has come, as a client keeps it, and the error."""
    if response.headers["content-type"] == "application/json":
        assert response.status_code == 503
        error = response.json()["error"]
        (choice,) = error["agentkit_choices"]
        assert choice["finish_reason"] is None
        return choice["message"], error
    *chunks, last = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    assert "[DONE]" not in response.text
    assert '"finish_reason":"' not in response.text
    message = {"role": "assistant", "content": ""}
    for delta in (chunk["choices"][0]["delta"] for chunk in chunks):
        message["content"] += delta.get("content") or ""
        message |= {name: value for name, value in delta.items() if name == "agentkit_state"}
    return message, last["error"]


def seen(model: ScriptedModel) -> list[tuple[str, Any]]:
    """What the model was asked at last."""
    return [(m["role"], m["content"]) for m in model.requests[-1].messages]


ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@ways
def test_no_step_begins_and_the_run_goes_on_elsewhere(show, stream):
    ending = Ending(calls(call("weather", city="Hue"), call("drain"), text="I look."))
    message, error = left_of(post(show(ending.app), stream=stream))
    assert message["content"] == "I look."
    assert (error["code"], error["type"], error["param"]) == ("draining", "server_error", None)
    assert error["message"].endswith("send the conversation again with the message so far at its end.")
    (asked,) = ending.model.requests  # what was at work was ended, and nothing begun
    assert asked.stream is stream

    model = ScriptedModel([call("look"), "Done."])
    url = show(ending.made(model))
    answer = post(url, messages=[*HELLO, message], stream=stream)
    assert answer.status_code == 200
    assert "Done." in answer.text
    assert seen(model) == [
        ("user", "Hello"),
        ("assistant", "I look."),
        ("tool", "Sunny in Hue"),
        ("tool", "drained"),
        ("assistant", None),
        ("tool", "seen"),
    ]
    assert ending.ran == ["drain", "look"]


@ways
def test_calls_that_had_not_begun_run_where_it_goes_on(show, stream):
    ending = Ending()
    ending.app = ending.made(ScriptedModel(ending.draining(call("look"), text="I look.")))
    message, _ = left_of(post(show(ending.app), stream=stream))
    assert ending.ran == []
    model = ScriptedModel(["Done.", "As I said."])
    url = show(ending.made(model))
    answer = post(url, messages=[*HELLO, message]).json()["choices"][0]["message"]
    assert (ending.ran, answer["content"]) == (["look"], "Done.")
    assert seen(model)[1:] == [("assistant", "I look."), ("tool", "seen")]
    # and in the next turn all of it is known, by the state of both messages
    again = post(url, messages=[*HELLO, message, answer, GO_ON]).json()["choices"][0]["message"]
    assert (ending.ran, again["content"]) == (["look"], "As I said.")
    assert [role for role, _ in seen(model)] == ["user", "assistant", "tool", "assistant", "user"]
    assert seen(model)[2] == ("tool", "seen")


def test_they_do_not_run_if_the_user_says_something_else(show):
    ending = Ending()
    ending.app = ending.made(ScriptedModel(ending.draining(call("look"))))
    message, _ = left_of(post(show(ending.app)))
    model = ScriptedModel(["As you like."])
    stop = {"role": "user", "content": "Stop it."}
    assert post(show(ending.made(model)), messages=[*HELLO, message, stop]).status_code == 200
    assert ending.ran == []
    assert [role for role, _ in seen(model)] == ["user", "assistant", "tool", "user"]
    assert "not run" in seen(model)[2][1]


def test_what_the_client_decides_and_does_is_asked_for_nevertheless(show):
    ending = Ending()
    ending.app = ending.made(ScriptedModel(ending.draining(call("look"), call("pay"), call("place"))))
    tools = [DECIDING, PLACE]
    message = post(show(ending.app), tools=tools).json()["choices"][0]["message"]
    assert sorted(each["function"]["name"] for each in message["tool_calls"]) == ["agentkit_decide", "place"]
    model = ScriptedModel(["Done."])
    url = show(ending.made(model))
    contents = ["Hue" if each["function"]["name"] == "place" else "approve" for each in message["tool_calls"]]
    answer = post(url, messages=[*HELLO, *told(message, *contents)], tools=tools)
    assert answer.json()["choices"][0]["message"]["content"] == "Done."
    assert sorted(ending.ran) == ["look", "pay"]
    # it is dropped with the decision
    ending.ran.clear()
    model = ScriptedModel(["Done."])
    assert post(show(ending.made(model)), messages=[*HELLO, message, GO_ON], tools=tools).status_code == 200
    assert ending.ran == []


def test_a_run_within_a_run(show):
    ending = Ending()

    def made(*script: Any, inner: tuple[Any, ...]) -> Any:
        helper = Agent(ScriptedModel(inner), tools=[ending.drain], name="helper")
        agent = Agent(ScriptedModel(script), tools=[helper.as_tool()], name="outer")
        return create_app({"bot": agent}, api_keys=[KEY], secret=SECRET)

    ending.app = made(call("helper", prompt="do"), inner=(call("drain"),))
    message, _ = left_of(post(show(ending.app)))
    answer = post(show(made("All done.", inner=("Done.",))), messages=[*HELLO, message])
    assert answer.json()["choices"][0]["message"]["content"] == "All done."
    assert ending.ran == ["drain"]


def test_limits_hold_for_the_whole_run(show):
    ending = Ending(calls(call("drain")))
    message, _ = left_of(post(show(ending.app)))
    for steps, status in ((1, 500), (2, 200)):
        app = ending.made(ScriptedModel(["Done."]), limits=Limits(steps=steps))
        assert post(show(app), messages=[*HELLO, message]).status_code == status


def test_where_it_does_not_open_there_is_nothing_to_answer(show):
    ending = Ending(calls(call("drain")))
    message, _ = left_of(post(show(ending.app)))
    url = show(ending.made(ScriptedModel([])))
    for response in (
        post(url, OTHER_KEY, messages=[*HELLO, message]),
        post(url, messages=[*HELLO, {**message, "content": "I have paid."}]),
        post(url, messages=[*HELLO, GO_ON, message]),
        post(url, messages=[*HELLO, message, {"role": "assistant", "content": "Done."}]),
    ):
        assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")


def test_what_was_done_is_given_however_large_it_is(show):
    ending = Ending(calls(call("drain")))
    ending.app.state.agentkit.limits = ServeLimits(state_bytes=1)
    assert left_of(post(show(ending.app)))[0]["agentkit_state"]


@pytest.mark.parametrize("kind", ["drain", "end"])
def test_each_of_several_choices_is_given(show, kind):
    ending = Ending("Done.", call(kind))
    error = post(show(ending.app), n=2).json()["error"]
    by_reason = {choice["finish_reason"]: choice["message"] for choice in error["agentkit_choices"]}
    assert by_reason["stop"]["content"] == "Done."
    assert by_reason[None]["agentkit_state"]


# Where they stand


@ways
def test_what_is_at_work_is_ended_in_the_end(show, stream):
    ending = Ending(calls(call("weather", city="Hue"), text="I look."), calls(call("end"), text="Now I end."))
    message, error = left_of(post(show(ending.app), stream=stream))
    assert (message["content"], error["code"]) == ("I look.\n\nNow I end.", "draining")
    model = ScriptedModel(["Done."])
    answer = post(show(ending.made(model)), messages=[*HELLO, message, GO_ON]).json()
    assert answer["choices"][0]["message"]["content"] == "Done."
    *before, (role, content), last = seen(model)
    assert before == [
        ("user", "Hello"),
        ("assistant", "I look."),
        ("tool", "Sunny in Hue"),
        ("assistant", "Now I end."),
    ]
    assert (role, last) == ("tool", ("user", "Go on."))
    assert "cancelled" in content


def test_it_is_repeated_by_itself_unless_a_tool_has_run(show):
    ending = Ending(call("end"))
    response = post(show(ending.app))
    assert (response.headers["x-should-retry"], response.headers.get("retry-after")) == ("false", None)
    response = post(show(ending.app))  # no run begins
    assert response.json()["error"]["message"] == "The server is about to end: send the request again."
    assert (response.headers["x-should-retry"], response.headers["retry-after"]) == ("true", "1")


@pytest.mark.parametrize("kind", ["drain", "end"])
@ways
def test_a_run_that_has_done_nothing_may_be_asked_for_again(show, stream, kind):
    ending = Ending()
    agent = Agent(ScriptedModel([]), instructions=getattr(ending, kind))  # asked before the model is
    ending.app = create_app({"bot": agent}, api_keys=[KEY])
    response = post(show(ending.app), stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
    assert "agentkit_choices" not in response.json()["error"]
    assert response.json()["error"]["message"].endswith("send the request again.")
    assert (response.headers["x-should-retry"], response.headers["retry-after"]) == ("true", "1")
