"""An event loop does not stand still while the libraries for its first request come in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.http_server import Server, always, answer

PROGRAM = """
import sys, threading
import agentkit

at_home = []
def hook(event, args):
    if event == "import" and threading.current_thread() is threading.main_thread():
        at_home.append(args[0].partition(".")[0])
sys.addaudithook(hook)

async def ask():
    at_home.clear()
    model = agentkit.ChatModel("x", base_url=sys.argv[1], api_key="k", retries=0)
    print((await model.reply("Hello")).text)

if sys.argv[2] == "trio":
    import trio
    trio.run(ask)
else:
    import asyncio
    asyncio.run(ask())
heavy = {"httpx", "httpcore", "h11", "ssl", "certifi", "rich"} & set(at_home)
assert not heavy, heavy
assert "httpx" in sys.modules
"""
REPLY = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}'


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_first_request_imports_in_a_thread(backend):
    with Server(always(answer(REPLY, "content-type: application/json"))) as server:
        command = [sys.executable, "-c", PROGRAM, server.url, backend]
        assert subprocess.check_output(command, text=True) == "Hi\n"
