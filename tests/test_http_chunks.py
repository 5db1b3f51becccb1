"""Chunks that agentkit reads itself say what they say through httpcore and h11, in any cut and with any fault."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit._http import HttpRequest
from agentkit._http.allowance import Allowance
from agentkit._http.answer import Routes
from agentkit._http.asynchronous import AsyncLineResponse
from agentkit._http.chunks import Chunks, head_size
from agentkit._http.sync import LineResponse
from agentkit._http.wire import Line, Wire
from agentkit._http.wire_async import AsyncLine, AsyncWire
from agentkit.errors import ConnectionFailed, EndpointError, ProtocolError
from tests.http_server import Limits

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
URL = "http://host.example/v1/chat/completions"


class Came:
    """What a server sends, read by read, as a socket and as a stream of anyio."""

    def __init__(self, reads: list[bytes]) -> None:
        self._reads = [read for read in reads if read]

    def recv(self, count: int) -> bytes:
        if not self._reads:
            return b""
        read = self._reads.pop(0)
        if len(read) > count:
            self._reads.insert(0, read[count:])
        return read[:count]

    async def receive(self, count: int) -> bytes:
        if read := self.recv(count):
            return read
        raise anyio.EndOfStream

    def send(self, data: Any) -> int:
        return len(data)

    def settimeout(self, seconds: float | None) -> None: ...
    def close(self) -> None: ...
    def fileno(self) -> int:
        return 0

    def extra(self, _: object) -> Came:
        return self

    async def aclose(self) -> None: ...


class AsyncCame(Came):
    async def send(self, data: Any) -> None: ...  # type: ignore[override]


class PlainWire(Wire):
    """Hands everything to httpcore as it comes."""

    def read(self, max_bytes: int, **_: object) -> bytes:
        data = super().read(max_bytes)
        if self.at_body:
            data += self._held
            self._held, self.at_body = b"", False
        return data


Told = tuple[bytes, type[Exception] | None, bool]


def told(reads: list[bytes], wire_class: type[Wire] = Wire) -> Told:
    """The body, the error that ended it, and whether the connection can serve again."""
    route = Routes(with_proxies=False).find(URL)
    allowance = Allowance(Limits(), None, "host")
    came: Any = Came(reads)
    route.stack.put(Line(wire_class(came, "host", allowance, None), route.address))
    body, error = b"", None
    try:
        with LineResponse(route, HttpRequest(URL, {}, b"{}"), allowance, "host", None, 1 << 24) as response:
            for piece in response.pieces():
                body += piece
    except EndpointError as raised:
        error = type(raised)
    return body, error, route.stack.take() is not None


async def told_async(reads: list[bytes]) -> Told:
    route = Routes(with_proxies=False).find(URL)
    allowance = Allowance(Limits(), None, "host")
    came: Any = AsyncCame(reads)
    route.stack.put(AsyncLine(AsyncWire("host", came, allowance), route.address))
    body, error = b"", None
    try:
        async with AsyncLineResponse(route, HttpRequest(URL, {}, b"{}"), allowance, "host", 1 << 24) as response:
            async for piece in response.pieces():
                body += piece
    except EndpointError as raised:
        error = type(raised)
    return body, error, route.stack.take() is not None


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


texts = st.binary(min_size=1, max_size=20) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"data: {}\n\n", b"x" * 300])
sizes = st.sampled_from([b"%x", b"%X", b"%02x", b"%08x", b"%09x", b"%x;a=b", b"%x ", b"+%x", b"0x%x", b"-%x"])
chunks = st.builds(lambda text, size: size % len(text) + b"\r\n" + text + b"\r\n", texts, st.just(b"%x") | sizes)
ends = st.sampled_from(
    [b"0\r\n\r\n", b"00\r\n\r\n", b"0;x\r\n\r\n", b"0\r\na: b\r\n\r\n", b"0\r\n\r\nmore", b"0\r\nx", b""]
)
garbage = st.sampled_from([b"", b"", b"", b"\r\n", b"\n", b"5", b"fffffffff\r\nx", b"XX\r\n", b"5\rhello"])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    body = b"".join(draw(st.lists(chunks, max_size=6))) + draw(garbage) + draw(ends)
    if draw(st.booleans()) and body:
        place = draw(st.integers(0, len(body) - 1))
        body = body[:place] + draw(st.binary(max_size=2)) + body[place + 1 :]
    return body


@given(bodies(), st.lists(st.integers(0, 500), max_size=8))
def test_chunks_of_any_kind_say_the_same_as_through_httpcore(body, cuts):
    reads = cut(HEAD + body, cuts)
    wanted = told(reads, PlainWire)
    assert told(reads) == wanted
    assert asyncio.run(told_async(reads)) == wanted


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", (b"onetwo", None, True)),
        (b"3;x=y\r\none\r\n0\r\na: b\r\n\r\n", (b"one", None, True)),
        (b"3\r\none\r\n", (b"one", ConnectionFailed, False)),
        (b"3\r\non", (b"on", ConnectionFailed, False)),
        (b"3\r\none", (b"one", ConnectionFailed, False)),
        (b"3\r\none3\r\ntwo\r\n0\r\n\r\n", (b"one", ProtocolError, False)),
        (b"3\r\none\r\n0x3\r\ntwo\r\n0\r\n\r\n", (b"one", ProtocolError, False)),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_bodies_in_chunks(body, wanted, size):
    data = HEAD + body
    reads = [data[: -len(body)], *(body[at : at + size] for at in range(0, len(body), size))]
    assert told(reads) == told(reads, PlainWire) == asyncio.run(told_async(reads)) == wanted


def test_many_chunks_of_one_read_are_one_piece():
    taken = Chunks()
    assert taken.take(b"3\r\none\r\n" * 1000 + b"3\r\nt") == b"one" * 1000 + b"t"
    assert taken.rest is None
    assert taken.take(b"wo\r\n0\r\n\r\n") == b"wo"
    assert taken.rest == b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (HEAD, len(HEAD)),
        (HEAD + b"3\r\n", len(HEAD)),
        (HEAD.replace(b"\r\n", b"\n") + b"\r\n\r\n", len(HEAD) - HEAD.count(b"\r\n")),
        (HEAD[:-1], 0),
        (HEAD.replace(b"chunked", b"CHUNKED"), len(HEAD)),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD, 0),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{chunked}", 0),
    ],
)
def test_where_the_head_ends(data, size):
    assert head_size(data) == size
