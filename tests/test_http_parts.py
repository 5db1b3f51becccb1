"""The parts of the HTTP layer that need no socket."""

from __future__ import annotations

import gzip
import socket
import ssl
import time
import zlib

import httpcore
import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit._http import HttpRequest, parse_url, raw_headers
from agentkit._http.allowance import Allowance, LeftError
from agentkit._http.answer import MAX_IDLE, Routes, Stack, all_headers, raise_translated
from agentkit._http.body import Body, join_headers
from agentkit._http.faults import connect_failed, translate
from agentkit.errors import ConnectionFailed, ProtocolError, TimedOut, UsageError
from tests.http_server import Limits


def test_headers_are_checked_and_encoded_once():
    raw = raw_headers(
        {"Authorization": " Bearer k\r\n", "X-Empty": "", "Accept-Encoding": "gzip", "Content-Length": "7"}
    )
    assert list(raw) == [(b"authorization", b"Bearer k"), (b"x-empty", b""), (b"accept-encoding", b"identity")]
    assert raw_headers(raw) is raw
    assert raw_headers([("a", "1"), ("a", "2")])[:2] == [(b"a", b"1"), (b"a", b"2")]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("x y", "v", "'x y' is no name"),
        ("", "v", "is no name"),
        ("x\nb: c", "v", "is no name"),
        ("x", "a\r\nb: secret", "line break"),
        ("x", "a\0secret", "control character"),
        ("x", "secrét", "outside ASCII at position 4"),
    ],
)
def test_headers_that_cannot_be_sent(name, value, says):
    with pytest.raises(UsageError, match=says) as caught:
        raw_headers({name: value})
    assert "secr" not in str(caught.value)


def test_no_repr_tells_a_value():
    raw = raw_headers({"authorization": "Bearer secret"})
    request = HttpRequest("https://user:secret@host/v1?key=secret", raw, b"{}")
    assert repr(raw) == "RawHeaders(authorization, accept-encoding)"
    assert repr(request) == "HttpRequest(POST 'https://host/v1', 2 bytes)"


def test_a_host_header_of_the_caller_s_stays():
    address = parse_url("http://127.0.0.1:1/")
    headers = all_headers(address, HttpRequest("", {"Host": "other"}, b""))
    assert [value for name, value in headers if name == b"host"] == [b"other"]


@pytest.mark.parametrize(
    ("url", "host", "port", "host_header", "path"),
    [
        ("http://a.example", "a.example", 80, b"a.example", b"/"),
        ("https://A.example:443/v1/x?y=z#f", "a.example", 443, b"a.example", b"/v1/x?y=z"),
        ("https://a.example:8443/ü", "a.example", 8443, b"a.example:8443", b"/%C3%BC"),
        ("http://[::1]:80/", "::1", 80, b"[::1]", b"/"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, b"xn--bcher-kva.example", b"/"),
    ],
)
def test_addresses(url, host, port, host_header, path):
    address = parse_url(url)
    assert (address.host, address.port, address.host_header, address.path) == (host, port, host_header, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "//a.example",
        "ftp://a.example",
        "https://",
        "http://a:0",
        "http://a:66000",
        "http://a b",
        "http://[x",
    ],
)
def test_what_is_no_url(url):
    with pytest.raises(UsageError):
        parse_url(url)


def test_a_url_in_a_message_has_no_login():
    with pytest.raises(UsageError) as caught:
        parse_url("ftp://user:secret@host/?k=secret")
    assert "secret" not in str(caught.value)


class Line:
    def __init__(self, *, old: bool = False) -> None:
        self.old = old

    def expired(self) -> bool:
        return self.old


def test_the_last_one_in_is_the_first_one_out():
    stack, lines = Stack[Line](), [Line(), Line(), Line()]
    for line in lines:
        assert stack.put(line) is None
    assert [stack.take() for _ in range(4)] == [*lines[::-1], None]


def test_the_oldest_goes_when_it_has_expired_or_there_are_too_many():
    stack, old = Stack[Line](), Line(old=True)
    assert stack.put(old) is None
    assert stack.put(Line()) is old
    oldest = [Line() for _ in range(3)]
    stack = Stack[Line]()
    for line in [*oldest, *(Line() for _ in range(MAX_IDLE - 3))]:
        assert stack.put(line) is None
    assert [stack.put(Line()) for _ in range(3)] == oldest


def test_a_closed_stack_keeps_nothing():
    routes = Routes(with_proxies=False)
    stack = routes.find("http://a.example/").stack
    line = Line()
    stack.put(line)
    assert routes.drain() == [line]
    assert stack.put(line) is line
    assert stack.take() is None


def test_routes_are_shared_by_origin_and_do_not_grow_for_ever():
    routes = Routes(with_proxies=False)
    first = routes.find("http://a.example/1")
    assert routes.find("http://a.example/1") is first
    assert routes.find("http://a.example:80/2").stack is first.stack
    assert routes.find("https://a.example/1").stack is not first.stack
    for number in range(500):
        routes.find(f"http://a.example/{number}")
    assert len(routes._by_url) <= 100  # noqa: SLF001  # there is no other sign of it
    assert routes.find("http://a.example/1").stack is first.stack


def test_headers_come_together():
    raw = [(b"A", b"1"), (b"b", b"2"), (b"a", b"3"), (b"C", b"\xe9")]
    assert join_headers(raw) == {"a": "1, 3", "b": "2", "c": "é"}


MEMBERS = st.lists(st.binary(max_size=2000), min_size=1, max_size=3)


@given(MEMBERS, st.sampled_from(["gzip", "deflate", "bare", "identity"]), st.data())
def test_a_body_is_the_same_however_it_is_cut(members, encoding, data):
    whole = b"".join(members)
    wire = {
        "gzip": b"".join(map(gzip.compress, members)),
        "deflate": zlib.compress(whole),
        "bare": zlib.compress(whole)[2:-4],
        "identity": whole,
    }[encoding]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    # A single byte may pass for the start of either kind of deflate.
    if encoding == "bare":
        cuts = [cut for cut in cuts if cut >= 2]
    body = Body({"content-encoding": "deflate" if encoding == "bare" else encoding}, len(whole), "host")
    pieces = [body.take(wire[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    body.end()
    assert b"".join(pieces) == whole


def test_a_member_whose_start_is_cut_in_two_is_read():
    first, second = gzip.compress(b"a"), gzip.compress(b"b")
    body = Body({"content-encoding": "gzip"}, 10, "host")
    assert [body.take(first + second[:1]), body.take(second[1:])] == [b"a", b"b"]


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "identity"]))
def test_any_bytes_are_a_body_or_an_error(wire, encoding):
    body = Body({"content-encoding": encoding}, 1000, "host")
    try:
        assert len(body.take(wire)) <= 1000
        body.end()
    except (ProtocolError, ConnectionFailed):
        assert encoding != "identity"


def test_a_bomb_is_not_unpacked_beyond_its_bound(monkeypatch):
    import tracemalloc

    bomb = gzip.compress(bytes(200_000_000), 1)
    body = Body({"content-encoding": "gzip"}, 1_000_000, "host")
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="longer than 1000000 bytes"):
        body.take(bomb)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def _allowance(**limits: float | None) -> Allowance:
    return Allowance(Limits(**limits), None, "host.example")


@pytest.mark.parametrize("library", [httpx, httpx2, httpcore])
@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("ConnectTimeout", TimedOut, "connect_s"),
        ("PoolTimeout", TimedOut, "connect_s"),
        ("WriteTimeout", TimedOut, "first_byte_s"),
        ("ReadTimeout", TimedOut, "first_byte_s"),
        ("ConnectError", ConnectionFailed, "no connection to host"),
        ("ReadError", ConnectionFailed, "without an answer"),
        ("WriteError", ConnectionFailed, "without an answer"),
        ("RemoteProtocolError", ProtocolError, "not HTTP"),
        ("LocalProtocolError", UsageError, "headers"),
        ("UnsupportedProtocol", UsageError, "URL"),
        ("ProxyError", ConnectionFailed, "proxy"),
        ("DecodingError", ConnectionFailed, "failed"),
    ],
)
def test_each_error_of_the_libraries_has_ours(library, name, error, says):
    if not hasattr(library, name):
        pytest.skip(f"{library.__name__} has no such error")
    original = getattr(library, name)("b'Bearer secret'" if name == "LocalProtocolError" else "oh")
    with pytest.raises(error, match=says) as caught:
        raise_translated(original, "host.example", _allowance(), answered=False)
    assert "host.example" in str(caught.value)
    assert "secret" not in str(caught.value)
    if error is UsageError:
        assert caught.value.__cause__ is None
    else:
        assert caught.value.__cause__ is original and caught.value.retryable


def test_a_read_that_times_out_in_the_body():
    assert "read_s" in str(translate(httpx.ReadTimeout("oh"), "host", _allowance(), answered=True))


@pytest.mark.parametrize("error", [KeyError("a hook's"), RuntimeError("an auth's")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught:
        raise_translated(error, "host", _allowance(), answered=False)
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
        (socket.gaierror(-2, "Name or service not known"), "no host host.example"),
        (OSError(113, "No route to host"), "No route to host"),
        (OSError("odd"), "odd"),
        (UnicodeError("label too long"), "label too long"),
        (ssl.SSLError(1, "wrong version number"), "https"),
    ],
)
def test_why_no_connection_came_about(error, says):
    made = connect_failed(error, "host.example")
    assert says in str(made) and made.retryable


def test_the_allowance_shrinks():
    allowance = _allowance(connect_s=10, first_byte_s=5, read_s=3, total_s=100)
    assert 9 < allowance.left() <= 10
    allowance.enter("first_byte")
    assert 4 < allowance.left() <= 5
    allowance.enter("read")
    assert allowance.left() == 3
    assert 99 < allowance.total_left() <= 100
    assert Allowance(Limits(total_s=100), time.monotonic() + 1, "host").left() <= 1


def test_nobody_waits_for_more_than_one_piece_of_what_is_left():
    allowance = Allowance(Limits(), None, "host")
    allowance.enter("read")
    allowance.leave(3)
    assert allowance.left() == 3
    with pytest.raises(LeftError):
        allowance.left()


def test_an_allowance_that_is_used_up():
    allowance = _allowance(total_s=0)
    for left in (allowance.left, allowance.total_left):
        with pytest.raises(TimedOut, match=r"within 0 s.*total_s") as caught:
            left()
        assert caught.value.retryable
