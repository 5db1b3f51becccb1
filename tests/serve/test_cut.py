"""Runs that the server ends before they are done, because it ends itself."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest

from agentkit import Agent
from agentkit.serve import create_app
from agentkit.testing import ScriptedModel, call, calls
from tests.serve.conftest import KEY, SECRET
from tests.serve.test_answers import HELLO, weather

GO_ON = {"role": "user", "content": "Go on."}


class Ending:
    """A server with an agent one of whose tools has the server end."""

    def __init__(self, *script: Any) -> None:
        self.model = ScriptedModel(script)
        self.app = self.made(self.model)

    def made(self, model: Any) -> Any:
        agent = Agent(model, tools=[weather, self.end])
        return create_app({"bot": agent}, api_keys=[KEY], secret=SECRET)

    async def end(self) -> str:
        """End."""
        self.app.state.agentkit.drain()
        self.app.state.agentkit.cuts.cut()
        await anyio.sleep_forever()
        return ""


def post(url: str, **fields: Any) -> httpx.Response:
    body = {"model": "bot", "messages": HELLO, **fields}
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=20)


def message_of(response: httpx.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    """The message that has come, and the error after it."""
    *chunks, error = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    message = {"role": "assistant", "content": ""}
    for delta in (chunk["choices"][0]["delta"] for chunk in chunks):
        message["content"] += delta.get("content") or ""
        message |= {name: value for name, value in delta.items() if name == "agentkit_state"}
    return message, error["error"]


def test_a_stream_says_so_and_gives_what_was_done(show):
    ending = Ending(calls(call("weather", city="Hue"), text="I look."), calls(call("end"), text="Now I end."))
    response = post(show(ending.app), stream=True)
    message, error = message_of(response)
    assert message["content"] == "I look.\n\nNow I end."
    assert (error["code"], error["type"]) == ("draining", "server_error")
    assert "[DONE]" not in response.text
    assert '"finish_reason":"' not in response.text

    model = ScriptedModel(["Done."])
    answer = post(show(ending.made(model)), messages=[*HELLO, message, GO_ON]).json()
    assert answer["choices"][0]["message"]["content"] == "Done."
    told = [(m["role"], m["content"]) for m in model.requests[0].messages]
    assert told[:4] == [
        ("user", "Hello"),
        ("assistant", "I look."),
        ("tool", "Sunny in Hue"),
        ("assistant", "Now I end."),
    ]
    assert [role for role, _ in told[4:]] == ["tool", "user"]
    assert "cancelled" in told[4][1]


@pytest.mark.parametrize("n", [1, 2])
def test_a_whole_answer_is_an_error(show, n):
    ending = Ending(*[call("end")] * n)
    response = post(show(ending.app), n=n)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
    assert response.headers["x-should-retry"] == "false"  # a tool has run
    assert post(show(ending.app)).headers["x-should-retry"] == "true"


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_that_has_done_nothing_may_be_asked_for_again(show, stream):
    ending = Ending()
    agent = Agent(ScriptedModel([]), instructions=ending.end)  # asked before the model is
    ending.app = create_app({"bot": agent}, api_keys=[KEY])
    response = post(show(ending.app), stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
    assert (response.headers["x-should-retry"], response.headers["retry-after"]) == ("true", "1")
