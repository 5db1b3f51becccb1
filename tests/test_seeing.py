"""What can be seen of a run: exchanges, commands that repeat them, logs, and nothing that must not be seen."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

import agentkit
from agentkit import Agent, ChatModel, Limits
from agentkit.chat.exchange import Exchange
from agentkit.errors import AgentKitError, BadRequestError, ServerError
from agentkit.logs import log, redacted
from agentkit.testing import FakeEndpoint, call, fixed_clock, raw, say, status
from agentkit.testing.script import Item
from tests.drivers import DRIVERS, outcome
from tests.tiers import WHOLE

KEY = "sk-very-secret-0123456789"
drivers = pytest.mark.parametrize("driver", DRIVERS)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    agentkit.redact(None)
    agentkit.debug(False)


def at(fake: FakeEndpoint, **options: Any) -> ChatModel:
    return ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, **{"retries": 0, **options})


def echoing(item: Item) -> Item:
    """An answer that gives the key away in a header."""

    def respond(request: Any) -> Any:
        answer = item.respond(request)
        answer.headers["x-you-sent"] = request.headers["authorization"]
        return answer

    return Item("echoing", respond)


# The key


@drivers
@pytest.mark.parametrize(
    "item",
    [
        echoing(status(401, message=f"Incorrect API key provided: {KEY}", error_code=KEY)),
        echoing(status(500, f"<html>Bearer {KEY}</html>")),
        raw(200, {"content-type": "text/plain"}, f"what is {KEY}?".encode()),
        echoing(raw(200, {"content-type": "text/event-stream"}, b"data: {no\n\n", chunked=True)),
    ],
    ids=["401", "500", "no reply", "stream"],
)
def test_the_key_is_nowhere(driver, item, caplog):
    with FakeEndpoint(lambda _: item, api_key=KEY) as fake, fixed_clock(), caplog.at_level(logging.DEBUG, "agentkit"):
        error = outcome(DRIVERS[driver], Agent(at(fake, retries=1)), "hi")
    assert isinstance(error, AgentKitError)
    exchange = error.exchange
    places = [
        *(
            str(error),
            repr(error),
            repr(error.__dict__),
            caplog.text,
            repr(exchange),
            exchange.shown(),
            exchange.curl(),
        ),
        *(repr(exchange.headers), repr(exchange.response_headers), repr(exchange.response_body)),
        *(repr(pickle.dumps(error)), repr(error.__cause__), error.transcript.dump()),
    ]
    assert [place for place in places if KEY in str(place)] == []
    assert "$KEY" in exchange.curl()


def test_secrets_in_headers_of_the_users_own():
    headers = {"X-Api-Key": KEY, "x-tenant": "a"}
    with FakeEndpoint([say("ok")]) as fake:
        result = Agent(at(fake)).run_sync("hi", settings={"extra_headers": headers})
        assert fake.requests[0].headers["x-api-key"] == KEY
        [exchange] = result.exchanges
        assert dict(exchange.headers)["X-Api-Key"] == "$KEY" and dict(exchange.headers)["x-tenant"] == "a"


@drivers
def test_a_password_in_the_address_is_nowhere(driver):
    with FakeEndpoint(lambda _: status(500), api_key=None) as fake, fixed_clock():
        url = fake.base_url.replace("http://", "http://me:hush-hush@")
        model = ChatModel("m", base_url=url, api_key="k")
        error = outcome(DRIVERS[driver], Agent(model), "hi")
        assert isinstance(error, ServerError)
        seen = [repr(model), str(error), error.exchange.curl(), repr(error.exchange), error.transcript.dump()]
        assert [text for text in seen if "hush" in str(text)] == []
        assert model.endpoint.source == fake.base_url


# Again, by hand


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(
    "prompt",
    ["hi", "it's", 'say "no"', "$HOME `id` \\ !", "two\nlines", "ü 🙂", "@file", "a" * 5000],
    ids=range(8),
)
def test_the_command_sends_the_same(prompt):
    with FakeEndpoint(lambda _: "ok", api_key=KEY) as fake:
        result = Agent(at(fake)).run_sync(prompt, settings={"extra_headers": {"x-odd": "a $b `c` 'd' \"e\" \\f"}})
        [exchange] = result.exchanges
        done = subprocess.run(
            ["sh", "-c", exchange.curl() + " -s"], env={**os.environ, "KEY": KEY}, capture_output=True, check=True
        )
        assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "ok"
        first, second = fake.requests
        assert second.body == first.body == exchange.request_body
        names = [name for name, _ in exchange.headers]
        assert [second.headers[name] for name in names] == [first.headers[name] for name in names]


# Exchanges


@drivers
def test_an_error_has_its_exchange(driver):
    with FakeEndpoint([call("nothing"), status(400, message="No.")]) as fake, fixed_clock(at=5.0):
        error = outcome(DRIVERS[driver], Agent(at(fake)), "hi")
        assert isinstance(error, BadRequestError)
        exchange = error.exchange
        assert (exchange.status, exchange.started_at) == (400, 5.0)
        assert exchange.url == f"{fake.base_url}/chat/completions"
        assert exchange.request_body == fake.requests[1].body
        assert exchange.response_json["error"]["message"] == "No."
        assert exchange.response_headers["content-type"] == "application/json"


def test_pickles_and_reprs_of_errors_stay_small():
    with FakeEndpoint([status(500, "x" * 100_000)]) as fake:
        with pytest.raises(ServerError) as caught:
            at(fake).reply_sync("y" * 100_000)
        error = caught.value
        assert len(repr(error)) < 1000 and len(repr(error.exchange)) < 200 and len(str(error)) <= 500
        dump = pickle.dumps(error)
        assert len(dump) < 5000
        again = pickle.loads(dump)
        assert (str(again), again.status, again.retryable) == (str(error), 500, True)
        assert again.exchange.url == error.exchange.url and again.exchange.status == 500
        assert again.exchange.request_body == again.exchange.response_body == b""
        whole = pickle.loads(pickle.dumps(error.exchange))
        assert whole.request_body == error.exchange.request_body and len(whole.response_body) == 100_000


TURNS = 200 if WHOLE else 60
SIZE = 4096


def test_many_turns_cost_little_memory(request):
    def page(number: int) -> str:
        """A page."""
        return f"{number:04} " + "x" * (SIZE - 5)

    with FakeEndpoint() as fake:

        def answer(request: Any) -> Item:
            fake.requests.clear()  # what the endpoint keeps is not what is measured
            turn = sum(message["role"] == "assistant" for message in request.messages)
            return call("page", number=turn) if turn < TURNS else say("done")

        fake.play(answer)
        agent = Agent(at(fake), tools=[page], limits=Limits(steps=TURNS + 1))
        agent.run_sync("warm up", limits=Limits(steps=TURNS + 1))
        gc.collect()
        request.addfinalizer(tracemalloc.stop)
        tracemalloc.start()
        result = agent.run_sync("read")
    # not before the endpoint is gone, which may still hold the last request
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    assert len(result.exchanges) == TURNS + 1
    assert len(result.exchanges[-1].request_body) > TURNS * SIZE
    # the conversation twice (as messages, and as what was sent), and a little for each exchange; 200 copies were 80 MB
    assert kept < 2 * TURNS * SIZE + TURNS * 8 * 1024


def test_exchanges_may_be_left_out():
    with FakeEndpoint([say("a"), status(400)]) as fake:
        agent = Agent(at(fake), exchanges=False)
        assert agent.run_sync("hi").exchanges == ()
        with pytest.raises(BadRequestError) as caught:
            agent.run_sync("hi")
        assert caught.value.exchange is not None  # the one that failed is known by its error


# The user's own redactor


def without_names(text: str) -> str:
    return re.sub("Ada|Zoë", "[name]", text)


def test_one_redactor_for_all_that_is_written_down(caplog):
    with FakeEndpoint([status(503, message="Zoë is busy"), echoing(say("Hello, Ada!"))]) as fake, fixed_clock():
        agentkit.redact(without_names)
        with caplog.at_level(logging.DEBUG, "agentkit"):
            result = Agent(at(fake, retries=1)).run_sync(
                "I am Ada, she is Zoë.", settings={"extra_headers": {"x-user": "Ada"}}
            )
        assert "Ada" in fake.requests[0].body.decode()  # the endpoint gets what was said
        assert result.output == "Hello, Ada!"
        first, second = result.exchanges
        seen = [
            *(first.request_body.decode(), first.response_body.decode(), second.response_body.decode()),
            *(second.curl(), second.shown(), repr(second.headers), str(second.response_json), caplog.text),
            str(pickle.loads(pickle.dumps(second)).request_json),
        ]
        assert [text for text in seen if re.search("Ada|Zo", text)] == []
        assert all("[name]" in text for text in seen)
        agentkit.redact(None)
        assert "Ada" in second.curl()


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (rb"{\"a\": \"Zo\u00eb \u00e9 \ud83d\ude42 \ud83d \u0041 \n\"}", "[name] é 🙂 \\ud83d \\u0041 \\n"),
        (rb"Zo\\u00eb", r"Zo\\u00eb"),  # an escaped backslash, then a u
        (b"\\", "\\"),
    ],
)
def test_letters_that_json_escapes_are_seen_by_the_redactor(body, seen):
    agentkit.redact(without_names)
    exchange = Exchange("http://h", (), body, started_at=0)
    assert seen in exchange.request_body.decode()


def test_bytes_that_are_no_text_pass_through():
    agentkit.redact(lambda text: text.replace("a", "b"))
    with FakeEndpoint([raw(500, {}, b"a\xffa")]) as fake:
        with pytest.raises(ServerError) as caught:
            at(fake).reply_sync("x")
        assert caught.value.exchange.response_body == b"b\xffb"
    assert redacted("a") == "b"


# Logging


def test_it_is_quiet_by_default():
    code = (
        "from agentkit.testing import FakeEndpoint, status\nfrom agentkit import ChatModel\n"
        "with FakeEndpoint([status(503, headers={'retry-after': '0'}), 'ok']) as fake:\n"
        "    print(ChatModel('m', base_url=fake.base_url, api_key=fake.api_key).reply_sync('x').text)\n"
        "import logging; logging.getLogger('agentkit').error('never seen')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("ok\n", "")


@drivers
def test_debug_shows_each_exchange(driver, monkeypatch):
    stderr = io.StringIO()
    with FakeEndpoint([call("add", a=1), status(503, message="Busy."), say("three")]) as fake, fixed_clock():
        agentkit.debug()
        agentkit.debug()  # twice is once
        monkeypatch.setattr(sys, "stderr", stderr)
        DRIVERS[driver](Agent(at(fake, retries=1)), "one and two?")
        agentkit.debug(False)
        fake.play([say("unseen")])
        DRIVERS[driver](Agent(at(fake)), "hi")
    text = stderr.getvalue()
    assert text.count("Exchange(POST") == 3
    assert text.count("one and two?") == 3
    assert "→ 503" in text and "Busy." in text and "asked again" in text
    assert fake.api_key not in text


def test_debug_cuts_what_is_long(monkeypatch):
    stderr = io.StringIO()
    with FakeEndpoint([say("b" * 9000)]) as fake:
        agentkit.debug()
        monkeypatch.setattr(sys, "stderr", stderr)
        at(fake).reply_sync("a" * 20_000)
    assert len(stderr.getvalue()) < 10_000
    assert "characters …" in stderr.getvalue()


def test_debug_survives_a_terminal_that_is_gone(monkeypatch):
    agentkit.debug()
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.warning("told to nobody")
