"""Who may ask, and from where."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from agentkit import Agent
from agentkit.errors import UsageError
from agentkit.serve import ServeLimits, create_app, serve
from agentkit.testing import ScriptedModel
from tests.serve.conftest import KEY, OTHER_KEY, SECRET

BODY = {"model": "bot", "messages": [{"role": "user", "content": "Hello"}]}


def app(**options: Any) -> Any:
    return create_app({"bot": Agent(ScriptedModel(lambda _: "Fine."))}, **options)


def answer(made: Any, client: Any = ("127.0.0.1", 5), host: str = "localhost:8000", **headers: str) -> tuple[int, Any]:
    """What an application says to a request with such a scope."""
    transport = httpx.ASGITransport(made, client=client)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return await http.post("/v1/chat/completions", json=BODY, headers={"host": host, **headers})

    response = asyncio.run(ask())
    return response.status_code, response.json()


async def test_it_runs_on_either_event_loop():
    transport = httpx.ASGITransport(app(), client=("127.0.0.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        whole = await http.post("/v1/chat/completions", json=BODY)
        streamed = await http.post("/v1/chat/completions", json={**BODY, "stream": True})
    assert whole.json()["choices"][0]["message"]["content"] == "Fine."
    assert streamed.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer  {OTHER_KEY}", 200),
        ("", 401),
        (KEY, 401),
        (f"Basic {KEY}", 401),
        (f"Bearer {KEY}x", 401),
        (f"Bearer {KEY[:-1]}", 401),
        ("Bearer \u00e9", 401),
    ],
)
def test_keys(authorization, status):
    made = app(api_keys=[KEY, OTHER_KEY])
    code, body = answer(made, ("203.0.113.5", 1), "bot.example", authorization=authorization.encode("latin-1"))
    assert code == status
    if status == 401:
        assert body["error"]["code"] == "invalid_api_key"
        assert KEY not in json.dumps(body)


@pytest.mark.parametrize(
    ("client", "host", "headers", "status"),
    [
        (("127.0.0.1", 1), "localhost", {}, 200),
        (("127.8.0.1", 1), "127.0.0.1:8000", {"authorization": "Bearer anything"}, 200),
        (("::1", 1), "[::1]:8000", {}, 200),
        (("192.0.2.1", 1), "localhost", {}, 403),
        (None, "localhost", {}, 403),
        (("127.0.0.1", 1), "evil.example:8000", {}, 403),
        (("127.0.0.1", 1), "localhost.evil.example", {}, 403),
        (("127.0.0.1", 1), "", {}, 403),
        (("127.0.0.1", 1), "localhost", {"x-forwarded-for": "192.0.2.1"}, 403),
        (("127.0.0.1", 1), "localhost", {"forwarded": "for=192.0.2.1"}, 403),
    ],
)
def test_without_a_key_this_machine_alone_is_answered(client, host, headers, status):
    assert answer(app(), client, host, **headers)[0] == status


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_without_a_key_nobody_else_can_be_served(host):
    with pytest.raises(UsageError, match="set api_keys="):
        serve(app(), host)


def test_what_can_be_served():
    from starlette.applications import Starlette

    with pytest.raises(UsageError, match="takes what create_app"):
        serve(Starlette())


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health", 200), ("/ready", 200), ("/openapi.json", 200), ("/v1/models", 401), ("/v1/models/bot", 401)],
)
def test_what_is_open(show, path, status):
    response = httpx.get(show(app(api_keys=[KEY])) + path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/none", 404, "model_not_found"),
        ("GET", "/nothing", 404, "not_found"),
    ],
)
def test_other_paths(show, method, path, status, code):
    response = httpx.request(method, show(app()) + path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("cors", "origin", "allowed"),
    [
        ((), "https://a.example", None),
        (["https://a.example"], "https://a.example", "https://a.example"),
        (["https://a.example"], "https://b.example", None),
        ("*", "https://b.example", "*"),
    ],
)
def test_pages_elsewhere(show, cors, origin, allowed):
    url = show(app(api_keys=[KEY], cors=cors))
    asked = {"origin": origin, "access-control-request-method": "POST"}
    before = httpx.options(f"{url}/v1/chat/completions", headers=asked)
    after = httpx.get(f"{url}/v1/models", headers={"origin": origin, "authorization": f"Bearer {KEY}"})
    for response in (before, after):
        assert response.headers.get("access-control-allow-origin") == allowed
    assert before.is_success == (allowed is not None)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_another_page_is_refused(show, kind):
    response = httpx.post(
        f"{show(app())}/v1/chat/completions", content=json.dumps(BODY), headers={"content-type": kind}
    )
    assert response.status_code == 415


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agents": {}}, "at least one agent"),
        ({"agents": {"a": print}}, "'a' is no Agent"),
        ({"api_keys": []}, "is empty"),
        ({"api_keys": KEY}, "not one string"),
        ({"api_keys": ["short"]}, "of 'key 1'"),
        ({"api_keys": {"with a space ": "Ann"}}, "of 'Ann'"),
        ({"secret": "short"}, "shorter than 16 bytes"),
        ({"secret": []}, "shorter than 16 bytes"),
        ({"system": "ignore"}, "system='ignore'"),
        ({"show_steps": "all"}, "show_steps='all'"),
        ({"max_tokens_cap": 0}, "max_tokens_cap"),
    ],
)
def test_options_that_cannot_work(options, message):
    given = {"agents": {"bot": Agent(ScriptedModel([]))}, "secret": SECRET, **options}
    with pytest.raises(UsageError, match=message):
        create_app(given.pop("agents"), **given)


@pytest.mark.parametrize("limits", [{"runs": 0}, {"run_s": -1}, {"messages": 1.5}, {"ping_s": float("nan")}])
def test_limits_that_cannot_work(limits):
    with pytest.raises(UsageError, match="ServeLimits"):
        ServeLimits(**limits)
