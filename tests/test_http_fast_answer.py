"""What the extra `fast` reads is what is there, however it is cut, and whatever agentkit's own way takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit._http.fast_answer import FastAnswer
from agentkit.errors import ConnectionFailed, EndpointError, ProtocolError
from tests.test_http_chunks import HEAD, bodies, cut, told

Told = tuple[int, bytes, type[Exception] | None, bool]


class Came:
    """A line on which reads come as they are listed."""

    def __init__(self, reads: list[bytes]) -> None:
        self.reads = [read for read in reads if read]

    async def read(self, *, answered: bool) -> bytes:
        return self.reads.pop(0) if self.reads else b""


async def _told(reads: list[bytes], method: str) -> Told:
    came: Any = Came(reads)
    answer = FastAnswer(came, "host", method, asyncio.get_running_loop())
    body = b""
    try:
        await answer.read_head()
        async for piece in answer:
            assert piece
            body += piece
    except EndpointError as raised:
        return getattr(answer, "status", 0), body, type(raised), False
    return answer.status, body, None, answer.reusable and not came.reads


def fast_told(reads: list[bytes], method: str = "POST") -> Told:
    """The status, the body, the error that ended it, and whether the connection can serve again."""
    return asyncio.run(_told(reads, method))


@given(bodies(), st.lists(st.integers(0, 500), max_size=8))
def test_chunks_say_the_same_however_they_are_cut(body, cuts):
    cuts_in_body = [len(HEAD) + place for place in cuts]
    said = fast_told(cut(HEAD + body, cuts_in_body))
    assert said[:3] == fast_told([HEAD + body])[:3]
    own_body, own_error, _ = told(cut(HEAD + body, cuts_in_body))
    if own_error is None and said[2] is None:  # each refuses some odd forms that the other takes
        assert said[:2] == (200, own_body)


HEADS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 200\r\nContent-Length:5\r\nx-a: b\r\n\r\n",
    b"HTTP/1.1 200 OK\ncontent-length: 5\n\n",
    b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
]


@given(st.sampled_from(HEADS), st.lists(st.integers(0, 200), max_size=6))
def test_heads_say_the_same_however_they_are_cut(head, cuts):
    assert fast_told(cut(head + b"hello", cuts)) == (200, b"hello", None, True)


@given(st.lists(st.integers(0, 120), max_size=6))
def test_a_stream_whose_head_is_cut_says_the_same(cuts):
    data = HEAD + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert fast_told(cut(data, cuts)) == (200, b"onetwo", None, True)


@given(st.binary(max_size=300) | st.builds(bytes.__add__, st.sampled_from(HEADS), st.binary(max_size=9)))
def test_any_bytes_are_an_answer_or_an_error(data):
    fast_told([data])


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (OK + b"content-length: 0\r\n\r\n", (200, b"", None, True)),
        (OK + b"content-length: 5\r\n\r\nhel", (200, b"hel", ConnectionFailed, False)),
        (OK + b"content-length: 5\r\n\r\nhello, more", (200, b"hello", None, False)),
        (OK + b"content-length: 5\r\nconnection: close\r\n\r\nhello", (200, b"hello", None, False)),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", (200, b"hello", None, False)),
        (OK + b"\r\nhello", (200, b"hello", None, False)),
        (OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello", (0, b"", ProtocolError, False)),
        (OK + b"content-length: -5\r\n\r\nhello", (0, b"", ProtocolError, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + OK, (200, b"", None, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n0;x\r\n\r\n" + OK + b"\r\n", (200, b"", None, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\na: b\r\n\r\n", (200, b"hello", None, True)),
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\none\r\nXX\r\n", (200, b"one", ProtocolError, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\none3\r\ntwo\r\n", (200, b"one", ProtocolError, False)),
        (OK + b"transfer-encoding: chunked\r\n\r\n3;x\r\none\r\nXX\r\n", (200, b"one", ProtocolError, False)),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", None, True)),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx", (101, b"", None, False)),
        (b"HTTP/2 200\r\n\r\n", (0, b"", ProtocolError, False)),
        (b"\x16\x03\x01\x00\x05hello", (0, b"", ProtocolError, False)),
        (b"", (0, b"", ConnectionFailed, False)),
        (OK, (0, b"", ConnectionFailed, False)),
    ],
)
def test_answers(data, wanted):
    assert fast_told([data]) == wanted


def test_no_body_follows_the_head_of_an_answer_to_head():
    assert fast_told([OK + b"content-length: 5\r\n\r\n"], "HEAD") == (200, b"", None, True)
