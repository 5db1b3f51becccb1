"""What is read of an answer is what is there, however it is cut, and whichever parser judges it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit._http.chunks import Chunks
from agentkit._http.h11_parser import H11Parser
from agentkit._http.llhttp import LlhttpParser
from agentkit._http.reader import AnswerReader, Parser
from agentkit.errors import ConnectionFailed, EndpointError, ProtocolError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

Told = tuple[int, bytes, type[Exception] | None, bool]
"""The status, the body, the error that ended it, and whether the connection can serve again."""


def h11_told(reads: list[bytes], method: str = "POST") -> Told:
    return _told(H11Parser, reads, method)


def llhttp_told(reads: list[bytes], method: str = "POST") -> Told:
    async def main() -> Told:  # aiohttp wants a loop about it
        return _told(LlhttpParser, reads, method)

    return asyncio.run(main())


PARSERS = [h11_told, llhttp_told]
by_either = pytest.mark.parametrize("told", PARSERS, ids=["h11", "llhttp"])


def _told(make: Callable[[str], Parser], reads: list[bytes], method: str) -> Told:
    """A connection on which reads come as they are listed, and which ends then."""
    left = [read for read in reads if read]

    def read() -> bytes:
        return left.pop(0) if left else b""

    reader = AnswerReader(make(method), method, "host")
    body = b""
    try:
        while not reader.read_head(read()):
            pass
        data = reader.rest
        while reader.goes_on():
            body += reader.feed(data or read())
            data = b""
    except EndpointError as raised:
        return getattr(reader, "status", 0), body, type(raised), False
    return reader.status, body, None, reader.reusable and not left


def by_h11_alone(reads: list[bytes]) -> Told:
    """What h11 says if all goes to it."""
    parser = H11Parser("POST")
    body = b""
    for read in [*reads, b""]:
        if not parser.over and parser.fault is None:
            body += parser.feed(read)
        elif read:
            parser.keeps_alive = False
    error = None if parser.over else ConnectionFailed if "peer closed" in str(parser.fault) else ProtocolError
    return parser.status, body, error, parser.over and parser.keeps_alive


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
def test_chunks_of_any_kind_say_what_they_say_to_h11(body, cuts):
    reads = [HEAD, *cut(body, cuts)]
    assert h11_told(reads) == by_h11_alone(reads)


@given(bodies(), st.lists(st.integers(0, 500), max_size=8))
def test_chunks_say_the_same_however_they_are_cut(body, cuts):
    reads = cut(HEAD + body, cuts)
    by_llhttp, by_h11 = llhttp_told(reads), h11_told(reads)
    assert by_llhttp[:3] == llhttp_told([HEAD + body])[:3]
    assert by_h11[:3] == h11_told([HEAD + body])[:3]
    if by_llhttp[2] is None and by_h11[2] is None:  # each refuses some odd forms that the other takes
        assert by_llhttp[:2] == by_h11[:2]


@by_either
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
def test_bodies_in_chunks(told, body, wanted, size):
    reads = [HEAD, *(body[at : at + size] for at in range(0, len(body), size))]
    assert told(reads) == (200, *wanted)


def test_many_chunks_of_one_read_are_one_piece():
    taken = Chunks()
    assert taken.take(b"3\r\none\r\n" * 1000 + b"3\r\nt") == b"one" * 1000 + b"t"
    assert taken.rest is None
    assert taken.take(b"wo\r\n0\r\n\r\n") == b"wo"
    assert taken.rest == b"0\r\n\r\n"


HEADS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 200 \r\nContent-Length:5\r\nx-a: b\r\n\r\n",
    b"HTTP/1.1 200 OK\ncontent-length: 5\n\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
]


@given(st.sampled_from(PARSERS), st.sampled_from(HEADS), st.lists(st.integers(0, 200), max_size=6))
def test_heads_say_the_same_however_they_are_cut(told, head, cuts):
    assert told(cut(head + b"hello", cuts)) == (200, b"hello", None, True)


@given(st.sampled_from(PARSERS), st.lists(st.integers(0, 120), max_size=6))
def test_a_stream_whose_head_is_cut_says_the_same(told, cuts):
    data = HEAD + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert told(cut(data, cuts)) == (200, b"onetwo", None, True)


@given(
    st.sampled_from(PARSERS),
    st.binary(max_size=300) | st.builds(bytes.__add__, st.sampled_from(HEADS), st.binary(max_size=9)),
)
def test_any_bytes_are_an_answer_or_an_error(told, data):
    told([data])


OK = b"HTTP/1.1 200 OK\r\n"


@by_either
@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (OK + b"content-length: 0\r\n\r\n", (200, b"", None, True)),
        (OK + b"content-length: 5\r\n\r\nhel", (200, b"hel", ConnectionFailed, False)),
        (OK + b"content-length: 5\r\n\r\nhello, more", (200, b"hello", None, False)),
        (OK + b"content-length: 0\r\n\r\nmore", (200, b"", None, False)),
        (OK + b"content-length: 5\r\nconnection: close\r\n\r\nhello", (200, b"hello", None, False)),
        (OK + b"content-length: 5\r\nconnection: x, Close\r\n\r\nhello", (200, b"hello", None, False)),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", (200, b"hello", None, False)),
        (OK + b"\r\nhello", (200, b"hello", None, False)),
        (OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello", (0, b"", ProtocolError, False)),
        (OK + b"content-length: -5\r\n\r\nhello", (0, b"", ProtocolError, False)),
        (OK + b"content-length: " + b"9" * 5000 + b"\r\n\r\nhello", (0, b"", ProtocolError, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + OK, (200, b"", None, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n0;x\r\n\r\n" + OK + b"\r\n", (200, b"", None, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\na: b\r\n\r\n", (200, b"hello", None, True)),
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\none\r\nXX\r\n", (200, b"one", ProtocolError, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\none3\r\ntwo\r\n", (200, b"one", ProtocolError, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n3;x\r\none\r\nXX\r\n", (200, b"one", ProtocolError, False)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", None, True)),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", (304, b"", None, True)),
        (b"HTTP/2 200\r\n\r\n", (0, b"", ProtocolError, False)),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", (0, b"", ProtocolError, False)),
        (OK + b"x: " + b"y" * 70_000, (0, b"", ProtocolError, False)),
        (b"", (0, b"", ConnectionFailed, False)),
        (OK, (0, b"", ConnectionFailed, False)),
    ],
)
def test_answers(told, data, wanted):
    assert told([data]) == wanted


def test_a_change_of_protocols_is_no_answer_that_others_follow():
    switching = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx"
    assert llhttp_told([switching]) == (101, b"", None, False)
    assert h11_told([switching]) == (0, b"", ProtocolError, False)


@by_either
def test_no_body_follows_the_head_of_an_answer_to_head(told):
    assert told([OK + b"content-length: 5\r\n\r\n"], "HEAD") == (200, b"", None, True)
