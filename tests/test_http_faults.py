"""What goes wrong on the line, over real sockets: each fault has its name, in time, and leaves nothing open."""

from __future__ import annotations

import os
import socket
import time
import warnings

import httpx
import pytest

from agentkit._http import HttpRequest, SyncHttp
from agentkit.errors import ConnectionFailed, ProtocolError, TimedOut, UsageError
from tests.http_server import (
    SIDES_AND_FAST,
    Limits,
    Peer,
    Server,
    always,
    answer,
    chunk,
    chunked_head,
    session,
    unanswered,
)
from tests.tiers import SOON_S

BOTH = [
    pytest.mark.parametrize("side", SIDES_AND_FAST),
    pytest.mark.parametrize("client", [None, httpx], ids=["own", "httpx"]),
]


def each(test):
    for mark in BOTH:
        test = mark(test)
    return test


def silent(peer: Peer) -> None:
    peer.request()
    peer.wait_for_hangup()


def hang_up(peer: Peer) -> None:
    peer.request()


def reset(peer: Peer) -> None:
    peer.request()
    peer.reset()


def reset_in_the_body(peer: Peer) -> None:
    peer.request()
    peer.send(chunked_head(), chunk(b"one"))
    peer.server.go.wait(0.1)
    peer.reset()


def cut_in_a_chunk(peer: Peer) -> None:
    peer.request()
    peer.send(chunked_head(), chunk(b"one"), b"5\r\ntw")


def cut_before_the_length(peer: Peer) -> None:
    peer.request()
    peer.send(answer(b"hello")[:-2])


def cut_in_the_head(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-le")


def stall_in_the_body(peer: Peer) -> None:
    peer.request()
    peer.send(chunked_head(), chunk(b"one"))
    peer.wait_for_hangup()


def other_words(peer: Peer) -> None:
    peer.request()
    peer.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


def endless_head(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 1_000_000 + b"\r\n\r\n")


@pytest.mark.sampled(44, each="side+script client")
@each
@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        (hang_up, ConnectionFailed, "without an answer"),
        (reset, ConnectionFailed, "without an answer"),
        (reset_in_the_body, ConnectionFailed, "before its answer was whole"),
        (cut_in_a_chunk, ConnectionFailed, "before its answer was whole"),
        (cut_before_the_length, ConnectionFailed, "before its answer was whole"),
        (cut_in_the_head, ConnectionFailed, "without an answer"),
        (silent, TimedOut, r"begin to answer within 0\.3 s.*first_byte_s"),
        (stall_in_the_body, TimedOut, r"nothing more within 0\.3 s.*read_s"),
        (other_words, ProtocolError, "not HTTP"),
        (endless_head, ProtocolError, "not HTTP"),
    ],
)
def test_faults(side, client, script, error, says):
    limits = {silent: Limits(first_byte_s=0.3), stall_in_the_body: Limits(read_s=0.3)}.get(script, Limits())
    with Server(script) as server:
        with session(side, client) as http:
            began = time.monotonic()
            with pytest.raises(error, match=says) as caught:
                http.post(server.url, limits=limits, headers={"authorization": "Bearer secret"})
            assert time.monotonic() - began < 0.5 + SOON_S
            assert server.all_hung_up()
        assert caught.value.retryable
        assert "127.0.0.1" in str(caught.value) and "secret" not in str(caught.value)
        assert caught.value.status is None
        assert server.connections == 1, "nothing is asked again down here"


@each
def test_refused(side, client):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with session(side, client) as http, pytest.raises(ConnectionFailed, match="refused") as caught:
        http.post(f"http://127.0.0.1:{port}/")
    assert caught.value.retryable and caught.value.__cause__ is not None


@each
def test_no_such_host(side, client):
    with (
        session(side, client) as http,
        pytest.raises(ConnectionFailed, match=r"no host nowhere\.invalid|no connection"),
    ):
        http.post("http://nowhere.invalid/")


@pytest.mark.sampled(5, each="side client")
@each
def test_a_connection_that_does_not_come_about(side, client):
    with unanswered() as port, session(side, client) as http, pytest.raises(TimedOut, match="connect_s"):
        http.post(f"http://127.0.0.1:{port}/", limits=Limits(connect_s=0.3))


def drip(*pieces: bytes, pause_s: float = 0.05):
    """A script that sends the last piece again and again, never long enough apart for read_s."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(*pieces[:-1])
        while not peer.server.go.wait(pause_s):
            peer.sock.sendall(pieces[-1])

    return script


DRIPS = {
    "body": drip(chunked_head(), chunk(b": keep-alive\n\n")),
    "body without a pause": drip(chunked_head(), chunk(b": keep-alive\n\n"), pause_s=0),
    "size of a chunk": drip(chunked_head() + b"1;x=", b"x"),
    "headers": drip(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"),
    "informational": drip(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@pytest.mark.sampled(8, each="side+by client")
@pytest.mark.parametrize("by", ["total_s", "deadline"])
@each
def test_a_drip_does_not_outlast_the_whole(side, client, by):
    limits, options = Limits(total_s=0.3), {}
    if by == "deadline":
        limits, options = Limits(), {"deadline": time.monotonic() + 0.3}
    _outlast("body", side, client, limits, options, "total_s" if by == "total_s" else "time of the run")


@pytest.mark.sampled(8, each="side name")
@pytest.mark.parametrize("name", sorted(set(DRIPS) - {"body"}))
@pytest.mark.parametrize("side", SIDES_AND_FAST)
def test_no_drip_of_any_kind_outlasts_the_whole(side, name):
    _outlast(name, side, None, Limits(total_s=0.3), {}, "total_s")


@pytest.mark.parametrize("side", ["asyncio", "trio"])
def test_a_dripping_head_does_not_outlast_the_whole_with_a_client(side):
    _outlast("headers", side, httpx, Limits(total_s=0.3), {}, "total_s")


def _outlast(name, side, client, limits, options, says):
    with Server(DRIPS[name]) as server, session(side, client) as http:
        began = time.monotonic()
        with pytest.raises(TimedOut, match=says):
            http.post(server.url, limits=limits, **options)
        assert time.monotonic() - began < SOON_S
        assert server.all_hung_up()


@pytest.mark.parametrize("side", SIDES_AND_FAST)
def test_a_dripping_head_does_not_outlast_first_byte_s(side):
    with Server(DRIPS["headers"]) as server, session(side) as http, pytest.raises(TimedOut, match="first_byte_s"):
        http.post(server.url, limits=Limits(first_byte_s=0.3))


@each
def test_no_limits_at_all(side, client):
    with Server(always(answer())) as server, session(side, client) as http:
        assert http.post(server.url, limits=Limits(None, None, None, None)).status == 200


@each
def test_a_deadline_that_has_passed(side, client):
    with Server(always(answer())) as server, session(side, client) as http:
        with pytest.raises(TimedOut) as caught:
            http.post(server.url, deadline=time.monotonic() - 1)
        assert not caught.value.retryable
        assert server.requests == []


@pytest.mark.parametrize("side", SIDES_AND_FAST)
def test_a_kept_connection_that_dies_under_the_request_is_not_asked_twice(side):
    """Whether the request was worked on can't be known, so that is the caller's decision."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(answer())
        peer.request()
        peer.reset()

    with Server(script) as server, session(side) as http:
        http.post(server.url)
        with pytest.raises(ConnectionFailed):
            http.post(server.url)
        assert len(server.requests) == 2
        assert http.post(server.url).status == 200


@pytest.mark.parametrize("side", ["sync", "asyncio", "trio"])
def test_a_kept_connection_that_dies_before_the_request_has_left_is_replaced(side):
    """The server never had the whole request, so it can't have worked on it."""

    def script(peer: Peer) -> None:
        if peer.request() and peer.server.connections == 1:
            peer.send(answer())
            peer.sock.recv(1000)
            peer.reset()
        else:
            peer.send(answer(b"second"))

    with Server(script) as server, session(side) as http:
        assert http.post(server.url).body == b"hello"
        assert http.post(server.url, body=bytes(20_000_000)).body == b"second"
        assert len(server.requests) == 2


@each
def test_after_a_fault_the_next_request_goes_well(side, client):
    def script(peer: Peer) -> None:
        peer.request()
        if peer.server.connections == 1:
            peer.send(chunked_head(), chunk(b"one"))
        else:
            peer.send(answer())

    with Server(script) as server, session(side, client) as http:
        with pytest.raises(ConnectionFailed):
            http.post(server.url)
        assert http.post(server.url).status == 200


@each
def test_headers_that_cannot_be_sent_do_not_tell_their_value(side, client):
    with session(side, client) as http, pytest.raises(UsageError, match="authorization") as caught:
        http.post("http://127.0.0.1:9/", headers={"authorization": "Bearer sec\nret"})
    assert "sec" not in str(caught.value)


@each
@pytest.mark.parametrize(
    "url", ["", "127.0.0.1/v1", "ftp://host/", "http://", "https://host:99999/", "http://a b/", "x"]
)
def test_urls_that_lead_nowhere(side, client, url):
    with session(side, client) as http, pytest.raises(UsageError):
        http.post(url)


def test_a_child_makes_its_own_connections():
    with Server(always(answer())) as server:
        http = SyncHttp()

        def post() -> bytes:
            with http.open(HttpRequest(server.url, {}, b"{}"), Limits()) as response:
                return b"".join(response.pieces())

        post()
        with warnings.catch_warnings():
            # That a fork copies one thread alone is what is tried here.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            right = False
            try:
                right = post() == b"hello"
                http.close()
            finally:
                os._exit(0 if right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert server.connections == 2
        assert post() == b"hello"
        assert server.connections == 2
        http.close()
