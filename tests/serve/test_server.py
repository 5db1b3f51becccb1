"""Serving in a process of its own, until a signal comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.cancelling import soon
from tests.serve.test_cut import left_of
from tests.tiers import SOON_S

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
WORK = [{"role": "user", "content": "Work."}]
SCRIPT = """
import sys, threading, time
from pathlib import Path
from agentkit import Agent, ChatModel
from agentkit.serve import ServeLimits, create_app, serve
from agentkit.testing import FakeEndpoint, call, stall

folder, opened = Path(sys.argv[1]), threading.Event()

def look():
    while not (folder / "open").exists():
        time.sleep(0.005)
    opened.set()

threading.Thread(target=look, daemon=True).start()

def work(part: str) -> str:
    "Work."
    (folder / part).touch()
    opened.wait()
    return f"{part} done"

def reply(request):
    if "Say it" in str(request.messages[0]):
        (folder / "first").touch()
        return stall("All said.", until=opened)
    done = sum(message["role"] == "tool" for message in request.messages)
    return call("work", part=["first", "second"][done]) if done < 2 else "All done."

with FakeEndpoint(reply) as fake:
    agent = Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key), tools=[work])
    app = create_app({"bot": agent}, secret="a secret of the tests", limits=ServeLimits(ping_s=0.02))
    serve(app, port=0, drain_s=float(sys.argv[2]))
"""


class Process:
    """A server whose tool, and whose model if it is to say something, wait until the file `open` is there."""

    def __init__(self, folder: Path, drain_s: float = 60.0) -> None:
        command = [sys.executable, "-c", SCRIPT, str(folder), str(drain_s)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.folder = folder
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        lines: list[str] = []
        for line in self.process.stderr:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = found[0]
                return
        raise AssertionError(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=SOON_S)

    def post(self, messages: list[dict[str, Any]] = WORK, *, stream: bool = False) -> httpx.Response:
        body = {"model": "bot", "messages": messages, "stream": stream}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=60)

    def terminate(self) -> None:
        """Send SIGTERM once something is at work, and wait until it is heeded."""
        soon((self.folder / "first").exists)
        self.process.send_signal(signal.SIGTERM)
        soon(lambda: httpx.get(f"{self.url}/ready").status_code == 503)

    def open(self) -> None:
        (self.folder / "open").touch()


@pytest.fixture
def asking():
    """Asks in a thread."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@ways
def test_no_step_begins_and_another_process_goes_on(tmp_path, asking, stream):
    with Process(tmp_path) as server:
        answer = asking(server.post, stream=stream)
        server.terminate()
        refused = server.post()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        server.open()
        message, error = left_of(answer.result())
        assert error["code"] == "draining"
        assert server.process.wait(SOON_S) == 0
    assert not (tmp_path / "second").exists()
    (tmp_path / "first").unlink()
    with Process(tmp_path) as server:
        answer = server.post([*WORK, message])
        assert answer.json()["choices"][0]["message"]["content"] == "All done."
    assert (tmp_path / "second").exists()
    assert not (tmp_path / "first").exists()  # what was done is not done again


@ways
def test_a_reply_that_is_being_given_is_the_answer(tmp_path, asking, stream):
    with Process(tmp_path) as server:
        answer = asking(server.post, [{"role": "user", "content": "Say it."}], stream=stream)
        server.terminate()
        server.open()
        assert answer.result().status_code == 200
        if stream:
            assert answer.result().text.endswith("data: [DONE]\n\n")
        else:
            assert answer.result().json()["choices"][0]["message"]["content"] == "All said."
        assert server.process.wait(SOON_S) == 0


@ways
def test_it_does_not_wait_for_ever(tmp_path, asking, stream):
    with Process(tmp_path, 0.1) as server:
        answer = asking(server.post, stream=stream)
        soon((tmp_path / "first").exists)
        server.process.send_signal(signal.SIGTERM)
        message, _ = left_of(answer.result())
        assert message["agentkit_state"]
        assert server.process.wait(SOON_S) == 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    body = {"model": "bot", "messages": WORK, "stream": True}
    with (
        Process(tmp_path) as server,
        httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body) as run,
    ):
        lines = run.iter_lines()
        assert next(lines) == ": ping"
        server.terminate()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SOON_S) == -signal.SIGTERM
