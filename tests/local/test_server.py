"""llama.cpp's server in this process: started once, ended at exit, never shared over a fork."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from agentkit import Agent
from agentkit.errors import UsageError
from agentkit.local import LocalServer, local_endpoint, serve, server
from tests.local.tiny_gguf import PLAIN, WITH_TOOLS, write_model

pytest.importorskip("xllamacpp")

ROOT = Path(__file__).parents[2]
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "tiny.gguf")


@pytest.fixture
def running(model):
    running = serve(str(model))
    yield running
    running.close()


def ask(running: LocalServer, *, key: str | None = None, **fields) -> httpx.Response:
    return httpx.post(
        f"{running.base_url}/chat/completions",
        headers={"Authorization": f"Bearer {key or running.api_key}"},
        json={"messages": HELLO, "max_tokens": 4, **fields},
        timeout=60,
        trust_env=False,
    )


def test_it_answers_whoever_has_the_key(running):
    reply = ask(running, ignore_eos=True)  # its random weights may else end it early
    assert reply.status_code == 200, reply.text
    assert reply.json()["model"] == "tiny"
    assert reply.json()["usage"]["completion_tokens"] == 4
    assert ask(running, key="another").status_code == 401


def test_one_server_a_file(running, model, tmp_path):
    (tmp_path / "link.gguf").symlink_to(model)
    with ThreadPoolExecutor(4) as pool:
        assert all(found is running for found in pool.map(serve, [str(model), str(tmp_path / "link.gguf")] * 2))


def test_threads_that_start_it_at_once_get_one(model):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(serve, [str(model)] * 4))
    try:
        assert len({each.base_url for each in found}) == 1
        assert all(each is found[0] for each in found)
    finally:
        found[0].close()


def test_a_file_each_has_its_own(running, tmp_path):
    other = serve(str(write_model(tmp_path / "other.gguf")))
    assert other.base_url != running.base_url
    assert other.api_key != running.api_key
    assert ask(other).json()["model"] == "other"
    other.close()
    assert ask(running).status_code == 200


def test_closed_it_is_gone_and_starts_anew(model):
    first = serve(str(model))
    first.close()
    first.close()
    with pytest.raises(httpx.TransportError):
        ask(first)
    second = serve(str(model))
    assert second is not first
    assert ask(second).status_code == 200
    second.close()


def test_closing_cuts_a_request_under_way(model):
    running = serve(str(model))
    url, headers = f"{running.base_url}/chat/completions", {"Authorization": f"Bearer {running.api_key}"}
    body = {"messages": HELLO, "max_tokens": 10**6, "ignore_eos": True, "stream": True}
    began, failed = threading.Event(), []

    def listen() -> None:
        try:
            with httpx.stream("POST", url, json=body, headers=headers, timeout=60, trust_env=False) as reply:
                for _ in reply.iter_bytes():
                    began.set()
        except httpx.TransportError as error:
            failed.append(error)

    listener = threading.Thread(target=listen)
    listener.start()
    assert began.wait(30)
    running.close()
    listener.join(30)
    assert not listener.is_alive()


@pytest.mark.parametrize(("template", "native"), [(PLAIN, False), (WITH_TOOLS, True)])
def test_native_tools_are_read_off_the_template(tmp_path, template, native):
    running = serve(str(write_model(tmp_path / "tiny.gguf", template=template)))
    try:
        assert running.native_tools is native
        endpoint = local_endpoint(str(tmp_path / "tiny.gguf"))
        endpoint.open_sync()
        assert endpoint.dialect.tools == ("native" if native else "json")
    finally:
        running.close()


@pytest.mark.parametrize(("trained", "expected"), [(512, 512), (100_000, server.MAX_CONTEXT)])
def test_the_context_is_the_models_own_up_to_a_bound(tmp_path, trained, expected):
    running = serve(str(write_model(tmp_path / "tiny.gguf", context=trained)))
    try:
        address = running.base_url.removesuffix("/v1")
        headers = {"Authorization": f"Bearer {running.api_key}"}
        facts = httpx.get(f"{address}/props", headers=headers, trust_env=False).json()
        assert facts["default_generation_settings"]["n_ctx"] == expected
    finally:
        running.close()


def test_a_broken_file_is_named(tmp_path):
    path = write_model(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(UsageError, match=r"cannot load .*tiny\.gguf"):
        serve(str(path))


def test_without_the_extra_it_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(UsageError, match=r"pip install 'agentkit\[local\]'"):
        serve(str(model))


def test_the_endpoint_starts_nothing_before_it_is_asked(tmp_path):
    path = tmp_path / "tiny.gguf"
    endpoint = local_endpoint(str(path))
    assert endpoint is local_endpoint(str(path))
    assert not endpoint.is_open
    with pytest.raises(UsageError, match=r"tiny\.gguf"):
        endpoint.open_sync()
    write_model(path)
    endpoint.open_sync()
    assert endpoint.is_open
    serve(str(path)).close()


def test_an_agent_runs_on_it(running, model):
    settings = {"max_tokens": 4, "extra_body": {"ignore_eos": True}}  # as above
    result = Agent(f"local:{model}").run_sync("Hello", settings=settings)
    assert result.usage.completion_tokens == 4


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7)])
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_one_thread_less_than_the_cores(monkeypatch, tmp_path, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    monkeypatch.setattr(server, "CPU_QUOTA", tmp_path / "none")
    assert server.thread_count() == threads


@pytest.mark.parametrize(
    ("quota", "threads"), [("max 100000", 63), ("300000 100000", 2), ("50000 100000", 1), ("?", 63)]
)
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_a_containers_quota_counts_as_cores(monkeypatch, tmp_path, quota, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(server, "CPU_QUOTA", tmp_path / "cpu.max")
    assert server.thread_count() == threads


PREPARE = """
import contextlib, json, os, sys, threading
from contextlib import closing
from http.client import HTTPConnection
from agentkit.local import serve

def request(running, read, **fields):
    body = {"messages": [{"role": "user", "content": "Hello"}], **fields}
    headers = {"Authorization": "Bearer " + running.api_key}
    with closing(HTTPConnection(running.base_url.split("/")[2], timeout=30)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        with connection.getresponse() as reply:
            return read(reply)

def check(running):
    assert json.loads(request(running, lambda reply: reply.read(), max_tokens=3))["model"] == "tiny"

running = serve(sys.argv[1])
"""
IDLE = "check(running)"
BUSY = """
began = threading.Event()
def read_on(reply):
    while reply.read(1):
        began.set()
def listen():
    with contextlib.suppress(Exception):  # its line is cut when the process ends
        request(running, read_on, max_tokens=10**6, ignore_eos=True, stream=True)
threading.Thread(target=listen, daemon=True).start()
assert began.wait(30)
"""
FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
if child := os.fork():
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 5, status
    check(running)
else:
"""
UNUSED = """
    sys.exit(5)
"""
ITS_OWN = """
    own = serve(sys.argv[1])
    assert own.base_url != running.base_url
    check(own)
    sys.exit(5)
"""
CLOSED = """
    running.close()
    serve(sys.argv[1]).close()
    sys.exit(5)
"""
FORKS = pytest.mark.skipif(sys.platform != "linux", reason="forking with threads is not for other systems")
SCRIPTS = [
    pytest.param(IDLE, id="idle"),
    pytest.param(BUSY, id="busy"),
    pytest.param(IDLE + "; running.close()", id="closed"),
    pytest.param("sys.exit()", id="unused"),
    pytest.param(FORK + UNUSED, id="fork", marks=FORKS),
    pytest.param(FORK + ITS_OWN, id="fork-own", marks=FORKS),
    pytest.param(FORK + CLOSED, id="fork-closed", marks=FORKS),
]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_process_ends_in_silence(model, script):
    command = [sys.executable, "-W", "error", "-c", PREPARE + script, str(model)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_part_is_loaded_with_the_first_local_model():
    assert importlib.import_module("agentkit.local").__all__ == ["LocalServer", "local_endpoint", "model_file", "serve"]
