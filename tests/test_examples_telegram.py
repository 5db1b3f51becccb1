"""The bot on a chat platform, against a platform on this machine that fails as real ones do."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections import defaultdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import httpx
import pytest

from agentkit import Agent
from agentkit.conversations import Conversations
from agentkit.testing import ScriptedModel, status
from tests.loading import loaded
from tests.tiers import SOON_S

BUSY = (429, {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 0}})
DOWN = (502, {"ok": False, "error_code": 502, "description": "Bad Gateway"})
BLOCKED = (403, {"ok": False, "error_code": 403, "description": "Forbidden: bot was blocked by the user"})
UNKNOWN = (401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
PAGE = (504, "<html>Gateway Time-out</html>")
CUT = (200, None)


class Platform:
    """What Telegram does, as far as a bot sees it.

    `written` are messages, chat and text; `faults`, what its methods answer before they work. Once the bot has got what
    was written and asks for more, this process gets a SIGTERM.
    """

    def __init__(self, written, faults=None):
        self.updates = [
            {"update_id": number, "message": {"chat": {"id": chat}} | ({"text": text} if text else {"photo": []})}
            for number, (chat, text) in enumerate(written, 40)
        ]
        self.faults = {method: iter(those) for method, those in (faults or {}).items()}
        self.calls = []
        self.sent = defaultdict(list)
        self.typing = threading.Semaphore(0)
        self.over = threading.Event()

    def answer(self, method, fields):
        self.calls.append((method, fields))
        if (fault := next(self.faults.get(method, iter(())), None)) is not None:
            return fault
        result = True
        if method == "getUpdates":
            result = [update for update in self.updates if update["update_id"] >= fields["offset"]]
            if not result and fields["timeout"]:
                os.kill(os.getpid(), signal.SIGTERM)
                self.over.wait()
        if method == "sendChatAction":
            self.typing.release()
        if method == "sendMessage":
            self.sent[fields["chat_id"]].append(fields["text"])
        return 200, {"ok": True, "result": result}

    def __enter__(self):
        platform = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                fields = json.loads(self.rfile.read(int(self.headers["content-length"])))
                code, body = platform.answer(self.path.rpartition("/")[2], fields)
                if platform.over.is_set() or body is None:
                    self.close_connection = True
                    return
                content = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(code)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/bot/"


@pytest.fixture(scope="module")
def anyio_backend():
    """The bot goes by the order in which asyncio starts tasks."""
    return "asyncio"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.delenv("AGENTKIT_MODEL", raising=False)
    module = loaded("telegram_bot", monkeypatch)
    monkeypatch.setattr(module, "PAUSE_S", 0)
    return module


async def serve(example, platform, script, tmp_path, **args):
    """The bot, until it ends."""
    with anyio.fail_after(SOON_S):
        async with (
            httpx.AsyncClient(base_url=platform.url, timeout=SOON_S) as client,
            Conversations(f"sqlite:///{tmp_path / 'bot.db'}") as store,
        ):
            agent = Agent(ScriptedModel(script), store=store, **args)
            await example.Bot(agent, example.Telegram(client)).serve()


async def test_each_chat_is_a_conversation_of_its_own(example, tmp_path):
    written = [(1, "I am Ann."), (2, "I am Bo."), (1, None), (1, "What is my name?"), (2, "What is my name?")]
    with Platform(written) as platform:
        await serve(example, platform, example.respond, tmp_path)
    assert platform.sent == {1: ["Hello!", "You are Ann."], 2: ["Hello!", "You are Bo."]}
    # It says that all have arrived, so that they do not come again at the next start.
    assert ("getUpdates", {"offset": 45, "timeout": 0}) in platform.calls


async def test_a_chat_is_answered_in_order(example, tmp_path):
    said = [f"number {n}" for n in range(8)]
    with Platform([(1, text) for text in said]) as platform:
        await serve(example, platform, lambda request: request.messages[-1]["content"], tmp_path)
    assert platform.sent == {1: said}


async def test_it_knows_its_chats_after_a_restart(example, tmp_path):
    for written, said in (("I am Ann.", "Hello!"), ("What is my name?", "You are Ann.")):
        with Platform([(1, written)]) as platform:
            await serve(example, platform, example.respond, tmp_path)
        assert platform.sent == {1: [said]}


@pytest.mark.parametrize("method", ["getUpdates", "sendMessage", "sendChatAction"])
async def test_what_fails_for_a_while_is_tried_again(example, tmp_path, method):
    with Platform([(1, "I am Ann.")], {method: [BUSY, DOWN, PAGE, CUT, BUSY]}) as platform:
        await serve(example, platform, example.respond, tmp_path)
    assert platform.sent == {1: ["Hello!"]}
    if method != "sendChatAction":  # the answer does not wait for that
        assert [name for name, _ in platform.calls].count(method) >= 6


async def test_who_blocked_the_bot_does_not_stop_it(example, tmp_path, caplog):
    with Platform([(1, "Hi."), (1, "I am Ann."), (1, "Bye.")], {"sendMessage": [BLOCKED]}) as platform:
        await serve(example, platform, example.respond, tmp_path)
    assert platform.sent == {1: ["Hello!"] * 2}
    assert "chat 1 has no answer: sendMessage: 403 Forbidden: bot was blocked by the user" in caplog.text


async def test_a_bot_that_may_not_ask_ends(example, tmp_path):
    with Platform([], {"getUpdates": [UNKNOWN]}) as platform, pytest.raises(ExceptionGroup) as raised:
        await serve(example, platform, example.respond, tmp_path)
    assert str(raised.value.exceptions[0]) == "getUpdates: 401 Unauthorized"


async def test_where_the_model_fails_the_user_is_told(example, tmp_path, caplog):
    with Platform([(1, "Hi."), (1, "I am Ann.")]) as platform:
        await serve(example, platform, [status(500), "Hello again!"], tmp_path)
    assert platform.sent == {1: ["I am sorry, something went wrong. Please ask again.", "Hello again!"]}
    assert "chat 1: the agent failed" in caplog.text


async def test_it_shows_that_it_types_until_the_answer_is_there(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "TYPING_S", 0.01)

    async def slowly():
        for _ in range(3):
            assert await anyio.to_thread.run_sync(partial(platform.typing.acquire, timeout=SOON_S))

    with Platform([(7, "Hi.")]) as platform:
        await serve(example, platform, example.respond, tmp_path, instructions=slowly)
    typing = {"chat_id": 7, "action": "typing"}
    assert [fields for name, fields in platform.calls if name == "sendChatAction"][:3] == [typing] * 3


async def test_an_answer_that_never_comes_does_not_hold_up_the_end(example, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(example, "GRACE_S", 0.05)
    with Platform([(1, "Hi.")]) as platform:
        await serve(example, platform, example.respond, tmp_path, instructions=anyio.sleep_forever)
    assert platform.sent == {}
    assert "some answers took longer than 0.05 s, and were given up" in caplog.text


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("a" * 4096, [4096]),
        ("a" * 4097, [4096, 1]),
        ("a" * 4000 + " " + "b" * 4000, [4001, 4000]),
        ("a " * 100 + "\n" + "b " * 2000, [201, 4000]),
        ("\n" + "a" * 4096, [1, 4096]),
        ("  def f():\n" * 1000, [4092, 4092, 2816]),
    ],
)
def test_long_answers_are_cut(example, text, lengths):
    pieces = list(example.pieces(text))
    assert [len(piece) for piece in pieces] == lengths
    assert "".join(pieces) == text


def test_the_token_is_not_logged(example, caplog):
    caplog.set_level(logging.DEBUG, "bot")

    async def ask():
        async with httpx.AsyncClient(base_url="http://127.0.0.1:1/bot-the-token/") as client:
            with anyio.move_on_after(0.05):
                await example.Telegram(client).call("getMe")

    anyio.run(ask)
    assert "getMe failed: ConnectError" in caplog.text
    assert "the-token" not in "".join(record.getMessage() for record in caplog.records if record.name == "bot")
