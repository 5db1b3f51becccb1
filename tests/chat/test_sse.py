"""Server-sent events: the rules of the standard, at any cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.chat.sse import EventStream, ServerEvent
from agentkit.errors import ProtocolError
from tests.growth import doubling


def events(*pieces, **options):
    stream = EventStream(**options)
    found = [event for piece in pieces for event in stream.feed(piece)]
    return found + stream.end()


RULES = {
    "plain": (b"data: a\n\n", [b"a"]),
    "several": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "cr": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed line ends": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [b"a", b"b", b"c"]),
    "no space after the colon": (b"data:a\n\n", [b"a"]),
    "one space alone goes": (b"data:  a\n\n", [b" a"]),
    "several lines of data": (b"data: a\ndata:\ndata: b\n\n", [b"a\n\nb"]),
    "data without a colon": (b"data\n\n", [b""]),
    "empty data": (b"data:\n\ndata: \n\n", [b"", b""]),
    "a colon in the data": (b"data: a: b\n\n", [b"a: b"]),
    "comment": (b": hello\n\n", []),
    "comment inside an event": (b"data: a\n: hello\ndata: b\n\n", [b"a\nb"]),
    "id and retry": (b"id: 1\nretry: 5\ndata: a\n\n", [b"a"]),
    "blank lines": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [b"a", b"b"]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    "one byte order mark alone": (
        b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n",
        [ServerEvent(None, b"", b"\xef\xbb\xbfdata: a")],
    ),
    "byte order mark later": (
        b"data: a\n\n\xef\xbb\xbfdata: b\n\n",
        [b"a", ServerEvent(None, b"", b"\xef\xbb\xbfdata: b")],
    ),
    "name": (b"event: error\ndata: a\n\n", [ServerEvent(b"a", b"error")]),
    "the ordinary name": (b"event: message\ndata: a\n\n", [b"a"]),
    "the name holds for one event": (b"event: error\ndata: a\n\ndata: b\n\n", [ServerEvent(b"a", b"error"), b"b"]),
    "name without data": (b"event: ping\n\n", []),
    "stray lines": (b'{"a": 1}\n\n', [ServerEvent(None, b"", b'{"a": 1}')]),
    "stray beside data": (b"data: a\nb: c\n\n", [ServerEvent(b"a", b"", b"b: c")]),
    "unterminated line": (b"data: a", [b"a"]),
    "unterminated event": (b"data: a\n", [b"a"]),
    "unterminated after CR": (b"data: a\r", [b"a"]),
    "nothing": (b"", []),
    "bytes that are no UTF-8 stay": (b"data: \xff\xc3\n\n", [b"\xff\xc3"]),
    "VT, FF, NEL and LS end no line": (
        b"data: a\x0b\x0c\xc2\x85\xe2\x80\xa8b\n\n",
        [b"a\x0b\x0c\xc2\x85\xe2\x80\xa8b"],
    ),
}


@pytest.mark.parametrize(("raw", "expected"), RULES.values(), ids=RULES)
def test_rules(raw, expected):
    assert events(raw) == expected
    assert events(*(raw[i : i + 1] for i in range(len(raw)))) == expected
    for cut in range(len(raw)):
        assert events(raw[:cut], b"", raw[cut:]) == expected


LINES = st.sampled_from(
    [b"data: x", b"data:y", b"data", b"event: e", b": c", b"id: 1", b"z", b"", b"", b"\xef\xbb\xbf"]
)
BODIES = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]))).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def by_the_book(raw):
    """The standard's algorithm, line by line."""
    text = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data, name, stray = [], b"", []
    for line in [*text.split(b"\n"), b""]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data or stray:
                event = ServerEvent(b"\n".join(data) if data else None, name, b"\n".join(stray))
                yield event if name or stray else event.data
            data, name, stray = [], b"", []
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        elif field not in (b"", b"id", b"retry"):
            stray.append(line)


@given(BODIES, st.data())
def test_any_cut_gives_what_the_book_says(raw, data):
    ends = [place for place in range(len(raw) + 1) if raw[place - 2 : place] == b"\n\n"]
    cuts = data.draw(st.lists(st.sampled_from([*ends, *ends, *range(len(raw) + 1)])))
    pieces = [raw[start:end] for start, end in pairwise([0, *sorted(cuts), len(raw)])]
    assert events(*pieces) == list(by_the_book(raw))


def test_an_event_comes_at_once():
    stream = EventStream()
    assert stream.feed(b"data: a\r\n\r") == [b"a"]  # the LF that may follow is not waited for
    assert stream.feed(b"\ndata: b\n\n") == [b"b"]


@pytest.mark.parametrize("piece", [b"data: 0123456789", b"x" * 100, b": a comment\n", b"data: " + b"x" * 90 + b"\n\n"])
def test_an_event_is_bounded(piece):
    with pytest.raises(ProtocolError, match="max_event_bytes=64"):
        events(*[piece] * 10, max_event_bytes=64)


def test_what_came_before_a_boundless_event_is_not_lost():
    stream = EventStream(max_event_bytes=64)
    assert stream.feed(b"data: a\n\n" + b"x" * 65) == [b"a"]
    with pytest.raises(ProtocolError):
        stream.feed(b"\n\n")
    with pytest.raises(ProtocolError):
        stream.end()


def test_a_stream_that_went_over_stays_over():
    stream = EventStream(max_event_bytes=64)
    assert stream.feed(b"data: a\n\n") == [b"a"]
    for piece in (b"x" * 65, b"data: b\n\n"):
        with pytest.raises(ProtocolError):
            stream.feed(piece)


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([b"data: a\n\n", b"data: b\n\n"], [b"a", b"b"]),
        ([b"data: a\n\n", b"data: b\rc\n\n"], [b"a", ServerEvent(b"b", b"", b"c")]),
        ([b"data: a\n\n", b"data: b\n\n\n", b"data: c\n\n"], [b"a", b"b", b"c"]),
        ([b"data: a\r\n\r", b"data: b\n\n"], [b"a", b"b"]),
        ([b"data: a\n\n", b"data: b\n", b"data: c\n\n"], [b"a", b"b\nc"]),
        ([b"data: a\n\n", b"data: b\nx", b"data: c\n\n"], [b"a", ServerEvent(b"b", b"", b"xdata: c")]),
        ([b"data: a\n\n", b"data: \n\n", b"data: b\n\n"], [b"a", b"", b"b"]),
    ],
)
def test_an_event_that_comes_alone(pieces, found):
    assert events(*pieces) == events(b"".join(pieces)) == found


def test_many_events_are_no_long_event():
    assert len(events(b"data: 0123456789\n\n" * 1000, max_event_bytes=64)) == 1000


SHAPES = {
    "events in small pieces": lambda size: [b"data: {}\n\n"] * (size // 10),
    "byte by byte": lambda size: [b"data: {}\n\n"[i % 10 : i % 10 + 1] for i in range(size)],
    "one event byte by byte": lambda size: [b"x"] * size,
    "one event line by line": lambda size: [b"data: a\n"] * (size // 8),
    "comments": lambda size: [b": a\n\n"] * (size // 5),
    "blank lines": lambda size: [b"\n"] * size,
    "CR alone": lambda size: [b"\r"] * size,
    "one piece of many events": lambda size: [b"data: {}\r\n\r\n" * (size // 12)],
}


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_twice_the_bytes_take_twice_the_time(shape):
    assert doubling(lambda size: events(*shape(size)), 100_000) < 2.3
