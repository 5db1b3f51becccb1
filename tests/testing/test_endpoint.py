"""The fake endpoint over real connections: http.client, raw sockets, httpx."""

from __future__ import annotations

import asyncio
import gc
import http.client
import itertools
import json
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from agentkit.testing.endpoint import FakeEndpoint
from agentkit.testing.script import (
    call,
    cut,
    delayed,
    drip,
    error_event,
    garbled,
    hang,
    raw,
    reset,
    say,
    stall,
    status,
)
from tests.tiers import WHOLE

USER = {"role": "user", "content": "hi"}
PLAIN = {"model": "m", "messages": [USER]}
STREAM = {**PLAIN, "stream": True}
DEEP = {"type": "function", "function": {"name": "deep", "parameters": {"type": "object"}}}
for _ in range(400):
    DEEP["function"]["parameters"] = {"type": "object", "properties": {"a": DEEP["function"]["parameters"]}}
BOTH = pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["json", "stream"])


def client(fake, **options):
    headers = {"authorization": f"Bearer {fake.api_key}"}
    return httpx.Client(base_url=fake.base_url, headers=headers, trust_env=False, **options)


def post(fake, body=PLAIN, **options):
    with client(fake, **options) as http_client:
        return http_client.post("/chat/completions", json=body)


def connect(fake):
    host, port = fake.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def request_bytes(fake, body=PLAIN, *, headers=""):
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {fake.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    )
    return head.encode() + content


def receive_all(sock):
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def text_of(answer):
    return answer.json()["choices"][0]["message"]["content"]


# Scripts


def test_a_list_is_played_in_order():
    with FakeEndpoint([say("one"), "two", call("add", a=1)]) as fake:
        assert [text_of(post(fake)) for _ in range(3)] == ["one", "two", None]


def test_a_script_that_is_over():
    with FakeEndpoint(["one"], check=False) as fake:
        post(fake)
        answer = post(fake)
        assert answer.status_code == 500
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json()["error"]["message"] == "the script is over: request 2 has no item left"
        assert fake.problems == ["the script is over: request 2 has no item left"]


def test_a_function_of_the_request():
    with FakeEndpoint(lambda request: say(request.messages[-1]["content"] + "!")) as fake:
        assert text_of(post(fake)) == "hi!"


def test_a_function_that_raises():
    with FakeEndpoint(lambda request: request.json["nothing"], check=False) as fake:
        assert post(fake).status_code == 500
        assert fake.problems == ["the script failed at request 1: KeyError: 'nothing'"]


def test_an_endless_script():
    with FakeEndpoint(itertools.cycle(["a", "b"])) as fake:
        assert [text_of(post(fake)) for _ in range(4)] == ["a", "b", "a", "b"]


def test_another_script():
    with FakeEndpoint() as fake:
        assert text_of(post(fake)) == "ok"
        fake.play(["new"])
        assert text_of(post(fake)) == "new"


def test_a_text_is_no_script():
    with pytest.raises(TypeError, match="write \\[say"):
        FakeEndpoint("hello")


def test_problems_fail_the_test_that_overlooks_them():
    with pytest.raises(AssertionError, match="- the script is over: request 1"), FakeEndpoint([]) as fake:
        post(fake)


def test_problems_are_told_beside_another_error():
    def overlooks():
        with FakeEndpoint([]) as fake:
            post(fake)
            raise KeyError

    with pytest.raises(KeyError) as caught:
        overlooks()
    assert "the script is over" in caught.value.__notes__[0]


# Requests


def test_requests_are_kept():
    with FakeEndpoint(["one", "two"]) as fake, client(fake) as http_client:
        before = time.monotonic()
        for name in "ab":
            http_client.post("/chat/completions?version=1", json=PLAIN, headers={"X-Name": name})
        first, second = fake.requests
    assert (first.method, first.path, first.query) == ("POST", "/v1/chat/completions", "version=1")
    assert (first.headers["x-name"], second.headers["x-name"]) == ("a", "b")
    assert json.loads(first.body) == first.json == PLAIN
    assert first.messages == [USER]
    assert not first.wants_stream
    assert (first.number, second.number, second.connection) == (1, 2, 1)
    assert before <= first.received_at_s <= second.received_at_s <= time.monotonic()
    assert not first.disconnected.is_set()


def test_models():
    with FakeEndpoint([]) as fake, client(fake) as http_client:
        assert http_client.get("/models").json()["data"][0]["id"] == "fake-model"


@pytest.mark.parametrize(
    ("method", "path", "changes", "code", "words"),
    [
        ("POST", "/v1/completions", {}, 404, "Invalid URL (POST /v1/completions)"),
        ("GET", "/v1/chat/completions", {}, 405, "Not allowed to GET"),
        ("POST", "/v1/models", {}, 405, "Not allowed to POST"),
        ("POST", "/v1/chat/completions", {"authorization": "Bearer sk-other"}, 401, "Incorrect API key provided."),
        ("POST", "/v1/chat/completions", {"authorization": ""}, 401, "You didn't provide an API key."),
        ("GET", "/v1/models", {"authorization": ""}, 401, "You didn't provide an API key."),
        ("POST", "/v1/chat/completions", {"authorization": "", "api-key": "sk-fake"}, 200, ""),
        ("POST", "/v1/chat/completions", {"content": b"{oops"}, 400, "could not parse the JSON body"),
        ("POST", "/v1/chat/completions", {"content": b""}, 400, "could not parse the JSON body"),
        ("POST", "/v1/chat/completions", {"content": b"[" * 100_000}, 400, "could not parse the JSON body"),
        (
            "POST",
            "/v1/chat/completions",
            {"content": json.dumps({**PLAIN, "tools": [DEEP]}).encode()},
            400,
            "too deeply",
        ),
        ("POST", "/v1/chat/completions", {"content-type": "text/plain"}, 400, "Unsupported content type"),
        ("POST", "/v1/chat/completions", {"content": b'{"model": "m"}'}, 400, "'messages'"),
    ],
)
def test_what_is_refused(method, path, changes, code, words):
    content = changes.get("content", json.dumps(PLAIN).encode())
    changed = {name: value for name, value in changes.items() if name != "content"}
    with FakeEndpoint(["ok"], check=False) as fake:
        headers = {"authorization": f"Bearer {fake.api_key}", "content-type": "application/json", **changed}
        url = fake.base_url.removesuffix("/v1") + path
        answer = httpx.request(method, url, content=content, headers=headers, trust_env=False)
        assert answer.status_code == code
        if code != 200:
            error = answer.json()["error"]
            assert words in error["message"]
            assert set(error) == {"message", "type", "param", "code"}
            assert text_of(post(fake)) == "ok", "the script was asked"
        assert bool(fake.problems) == (code == 400)


def test_any_key():
    with FakeEndpoint(["a"], api_key=None) as fake:
        assert httpx.post(f"{fake.base_url}/chat/completions", json=PLAIN, trust_env=False).status_code == 200


def test_not_strict():
    with FakeEndpoint(["a", "b"], strict=False) as fake:
        assert post(fake, {"messages": [{"role": "tool"}], "top_k": 1}).status_code == 200
        assert post(fake, {"messages": "odd"}).status_code == 200


def test_extra_fields_and_prefix():
    with FakeEndpoint(["a"], extra_fields=["top_k"], prefix="/openai/v9") as fake:
        assert fake.base_url.endswith("/openai/v9")
        assert post(fake, {**PLAIN, "top_k": 1}).status_code == 200


# Answers on the wire


@BOTH
def test_keep_alive(body):
    with FakeEndpoint() as fake, client(fake) as http_client:
        for _ in range(3):
            assert http_client.post("/chat/completions", json=body).status_code == 200
        assert {request.connection for request in fake.requests} == {1}
        assert fake.connections == 1
        http_client.close()
        fake.wait_until(lambda: fake.connections == 0)


def test_the_standard_librarys_client():
    with FakeEndpoint() as fake:
        connection = http.client.HTTPConnection(fake.base_url.split("/")[2], timeout=20)
        headers = {"Authorization": f"Bearer {fake.api_key}", "Content-Type": "application/json"}
        for body in (json.dumps(PLAIN), iter([json.dumps(PLAIN)[:9].encode(), json.dumps(PLAIN)[9:].encode()])):
            connection.request("POST", "/v1/chat/completions", body, headers)
            assert json.load(connection.getresponse())["choices"][0]["message"]["content"] == "ok"
        connection.close()
        assert fake.requests[1].headers["transfer-encoding"] == "chunked"
        assert fake.requests[1].json == PLAIN


def test_requests_in_pieces_and_in_a_row():
    with FakeEndpoint(["one", "two", delayed("three", 0), "four"]) as fake, connect(fake) as sock:
        data = request_bytes(fake) * 3 + request_bytes(fake, headers="Connection: close\r\n")
        for start in range(0, len(data), 50):
            sock.sendall(data[start : start + 50])
        received = receive_all(sock)
    assert [text in received for text in (b'"one"', b'"two"', b'"three"', b'"four"')] == [True] * 4
    assert received.count(b"connection: close") == 1


def test_http_1_0_and_continue():
    with FakeEndpoint() as fake:
        with connect(fake) as sock:
            sock.sendall(request_bytes(fake).replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert b"connection: close" in receive_all(sock)
        with connect(fake) as sock:
            head, _, body = request_bytes(fake, headers="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
            sock.sendall(head + b"\r\n\r\n")
            assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(body)
            assert sock.recv(20).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01 what is this\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n: empty\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd",
        b"x" * 70_000,
    ],
)
def test_what_is_no_http(data):
    with FakeEndpoint() as fake, connect(fake) as sock:
        sock.sendall(data)
        assert receive_all(sock).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert fake.requests == []


def test_exact_bytes():
    item = raw(299, {"X-A": "b"}, b"0123456789", split=3)
    with FakeEndpoint([item, raw(204), raw(None, body=b"SSH-2.0\r\n")]) as fake, connect(fake) as sock:
        sock.sendall(request_bytes(fake) * 3)
        assert receive_all(sock) == (
            b"HTTP/1.1 299 Unknown\r\nx-a: b\r\ncontent-length: 10\r\n\r\n0123456789"
            b"HTTP/1.1 204 No Content\r\n\r\n"
            b"SSH-2.0\r\n"
        )


def test_chunks():
    item = raw(200, {}, b"0123456789", split=[4], chunked=True)
    with FakeEndpoint([item]) as fake, connect(fake) as sock:
        sock.sendall(request_bytes(fake, headers="Connection: close\r\n"))
        assert receive_all(sock).endswith(b"\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n")


@BOTH
def test_a_large_answer(body):
    with FakeEndpoint([say(["x" * 1_000_000] * 5)]) as fake:
        assert len(post(fake, body).content) > 5_000_000
        assert not fake.requests[0].disconnected.is_set()


# Faults


@BOTH
@pytest.mark.parametrize(
    ("item", "error"),
    [
        (reset(), httpx.ReadError),
        (reset("hello"), httpx.ReadError),
        (reset("hello", after_bytes=0), httpx.ReadError),
        (cut("hello"), httpx.RemoteProtocolError),
        (cut("hello", after_bytes=0), httpx.RemoteProtocolError),
        (cut("hello", after_events=1), httpx.RemoteProtocolError),
        (raw(None), httpx.RemoteProtocolError),
        (hang(), httpx.ReadTimeout),
        (stall("hello"), httpx.ReadTimeout),
        (stall("hello", after_bytes=0), httpx.ReadTimeout),
        (delayed("hello", 60), httpx.ReadTimeout),
        (drip("hello", 60), httpx.ReadTimeout),
    ],
    ids=lambda value: getattr(value, "label", getattr(value, "__name__", None)),
)
def test_a_fault(item, error, body):
    with FakeEndpoint([item]) as fake:
        with pytest.raises(error):
            post(fake, body, timeout=0.2 if error is httpx.ReadTimeout else 20)
        request = fake.requests[0]
        fake.wait_until(lambda: fake.connections == 0)
        # Who waits in vain hangs up; whom the endpoint drops did not.
        assert request.disconnected.is_set() == (error is httpx.ReadTimeout)


def test_a_fault_shows_what_came_before_it():
    item = cut(say("one two three"), after_events=3)
    with FakeEndpoint([item]) as fake, connect(fake) as sock:
        sock.sendall(request_bytes(fake, STREAM))
        received = receive_all(sock)
    assert received.count(b"data: ") == 3
    assert b"two" in received
    assert b"three" not in received


@BOTH
def test_a_wait_for_an_event(body):
    event = threading.Event()
    with FakeEndpoint([stall("hello", after_events=1, until=event)]) as fake, client(fake) as http_client:
        with http_client.stream("POST", "/chat/completions", json=body) as answer:
            pieces = answer.iter_raw()
            first = next(pieces)
            assert first
            event.set()
            rest = b"".join(pieces)
        assert rest.endswith(b"data: [DONE]\n\n" if body is STREAM else b"}")


def test_a_stream_that_goes_wrong():
    with FakeEndpoint([error_event("hello", message="oh"), garbled("hello")]) as fake:
        assert post(fake, STREAM).text.split("data: ")[2].startswith('{"error": {"message": "oh"')
        assert post(fake, STREAM).text.endswith('"choi\n\n')


def test_slow_but_whole():
    with FakeEndpoint([drip("hello", 0.001, size=10), delayed("there", 0.001)]) as fake:
        assert [text_of(post(fake)) for _ in range(2)] == ["hello", "there"]


def test_statuses():
    with FakeEndpoint([status(429, headers={"Retry-After": "1"}), status(301, headers={"location": "/x"})]) as fake:
        first, second = post(fake), post(fake)
    assert (first.status_code, first.headers["retry-after"]) == (429, "1")
    assert (second.status_code, second.headers["location"]) == (301, "/x")


def test_refused_connections():
    event = threading.Event()
    with FakeEndpoint([delayed("late", until=event), "again"]) as fake, client(fake) as http_client:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(post(fake)))
        thread.start()
        fake.wait_until(lambda: len(fake.requests) == 1)
        fake.refuse()
        with pytest.raises(httpx.ConnectError):
            http_client.get("/models")
        event.set()
        thread.join(20)
        assert text_of(answers[0]) == "late"
        fake.wait_until(lambda: fake.connections == 0)
        fake.accept()
        assert text_of(http_client.post("/chat/completions", json=PLAIN)) == "again"


def test_a_script_may_refuse_what_comes_next():
    with FakeEndpoint(lambda request: fake.refuse() or "last") as fake, client(fake) as http_client:
        assert http_client.post("/chat/completions", json=PLAIN).headers["connection"] == "close"
        with pytest.raises(httpx.ConnectError):
            http_client.post("/chat/completions", json=PLAIN)


def test_a_client_that_hangs_up():
    with FakeEndpoint([drip(say("one two three"), 60), say(["x" * 1_000_000] * 20)]) as fake:
        for body in (STREAM, PLAIN):
            with connect(fake) as sock:
                sock.sendall(request_bytes(fake, body))
                sock.recv(1)
        assert [request.disconnected.wait(20) for request in fake.requests] == [True, True]
        fake.wait_until(lambda: fake.connections == 0)


def test_what_is_waited_for_in_vain():
    with FakeEndpoint() as fake:
        post(fake)
        with pytest.raises(AssertionError, match=r"1 requests \(POST /v1/chat/completions\)"):
            fake.wait_until(lambda: False, timeout_s=0.01)


# The server as a whole


def test_many_connections_at_once():
    many = 500 if WHOLE else 100

    async def one(fake):
        reader, writer = await asyncio.open_connection(*fake.base_url.split("/")[2].split(":"))
        try:
            writer.write(request_bytes(fake, headers="Connection: close\r\n"))
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    async def all_of_them(fake):
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(fake)) for _ in range(many)]
            await asyncio.to_thread(fake.wait_until, lambda: len(fake.requests) == many, timeout_s=120)
            assert fake.connections == many
            event.set()
        return [task.result() for task in running]

    event = threading.Event()
    with FakeEndpoint(itertools.repeat(delayed("hello", until=event))) as fake:
        received = asyncio.run(all_of_them(fake))
        assert all(b'"hello"' in each for each in received)
        assert len(fake.requests) == many
        assert {request.connection for request in fake.requests} == set(range(1, many + 1))


def test_nothing_is_left_behind():
    def descriptors():
        gc.collect()
        folder = Path("/proc/self/fd")
        return len(list(folder.iterdir())) if folder.is_dir() else 0

    threads, before = threading.active_count(), descriptors()
    for item in (hang(), stall("hello"), say("hello"), drip("hello", 60)):
        with FakeEndpoint([item]) as fake:
            busy, idle = connect(fake), connect(fake)
            busy.sendall(request_bytes(fake, STREAM))
            fake.wait_until(lambda fake=fake: fake.connections == 2 and len(fake.requests) == 1)
        assert fake.connections == 0
        assert not fake.requests[0].disconnected.is_set()
        for sock in (busy, idle):
            receive_all(sock)  # ends, since the endpoint closed it
            sock.close()
    assert (threading.active_count(), descriptors()) == (threads, before)


def test_connections_that_are_being_made_at_the_end():
    for _ in range(20):
        with FakeEndpoint() as fake:
            socks = [connect(fake) for _ in range(10)]
        assert fake.connections == 0
        for sock in socks:
            sock.close()


def test_the_url_holds_inside_the_block_only():
    fake = FakeEndpoint()
    with pytest.raises(RuntimeError, match="inside of its `with` block"):
        _ = fake.base_url
