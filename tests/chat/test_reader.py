"""One answer, in whatever form it comes. The wire cases are in tests/wire."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.chat.reader import ReplyReader, parse
from agentkit.errors import (
    BadRequestError,
    ConnectionFailed,
    ContextLengthError,
    EndpointError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from agentkit.events import TextDelta, ToolCallDelta
from tests.growth import doubling

SSE, JSON = {"content-type": "text/event-stream"}, {"content-type": "application/json"}
HI = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}


def chunk(content=None, finish=None, **fields):
    delta = {} if content is None else {"content": content}
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


def sse(*events):
    return b"".join(
        b"data: %s\n\n" % (event if isinstance(event, bytes) else json.dumps(event).encode()) for event in events
    )


DONE = b"[DONE]"
HELLO = sse(chunk("Hel"), chunk("lo"), chunk(finish="stop"), DONE)


def read(*pieces, status=200, headers=SSE, **limits):
    reader = ReplyReader(**limits)
    reader.start(status, headers)
    for piece in pieces:
        reader.feed(piece)
    return reader.end()


def text_of(deltas):
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


# What it is, is told by what comes

STREAM_HEADS = [SSE, JSON, {}, {"content-type": "text/plain"}, {"content-type": "Text/Event-Stream; charset=utf-8"}]


@pytest.mark.parametrize("headers", STREAM_HEADS)
@pytest.mark.parametrize(
    "before", [b"", b"\xef\xbb\xbf", b": hi\n\n", b"\n\n", b"retry: 5\n", b"id: 1\n", b"event: message\n"]
)
def test_a_stream(headers, before):
    raw = before + HELLO
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        assert read(*pieces, headers=headers).text == "Hello"


@pytest.mark.parametrize("headers", [JSON, SSE, {}, {"content-type": "text/html"}])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("\ufeff", ""), (" \n \n", "\r\n"), ("\n\ufeff", " ")])
def test_a_body(headers, before, after):
    raw = f"{before}{json.dumps(HI, indent=1)}{after}".encode()
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        assert read(*pieces, headers=headers).text == "Hi"


def test_a_body_tells_its_deltas_at_the_end():
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    reader = ReplyReader()
    reader.start(200, JSON)
    body = {"choices": [{"message": {"content": "Hi", "tool_calls": [call]}}]}
    assert reader.feed(json.dumps(body).encode()) == []
    assert reader.finish() == [TextDelta("Hi"), ToolCallDelta(0, "f", "{}")]
    assert reader.finish() == []
    assert reader.end().text == "Hi"


def test_the_last_event_may_lack_its_end():
    reader = ReplyReader()
    reader.start(200, SSE)
    assert text_of(reader.feed(sse(chunk("Hel")) + b"data: " + json.dumps(chunk("lo", "stop")).encode())) == "Hel"
    assert text_of(reader.finish()) == "lo"
    assert reader.end().text == "Hello"


FRAMES = {
    "whole": sse(HI, DONE),
    "events that no blank line parts": HELLO.replace(b"\n\n", b"\n"),
    "an event over several lines": sse(json.dumps(chunk("Hello", "stop"), indent=1).replace("\n", "\ndata: ").encode()),
    "lines of JSON": b"\n".join(json.dumps(chunk(text, end)).encode() for text, end in (("Hel", None), ("lo", "stop"))),
    "lines of JSON, then [DONE]": json.dumps(chunk("Hello")).encode() + b"\n: ping\n\n[DONE]\n",
    "a first line without its frame": json.dumps(chunk("Hel")).encode() + b"\n" + sse(chunk("lo", "stop"), DONE),
    "a line without its frame": sse(chunk("Hel")) + json.dumps(chunk("lo", "stop")).encode() + b"\n\n" + sse(DONE),
    "a list of chunks": sse([chunk("Hel"), chunk("lo", "stop")]),
    "pings": sse(b"ping", b"", b"null", b"5", {"type": "ping"}, chunk("Hello"), b" [DONE] "),
    "named events": b"event: ping\ndata: {}\n\nevent: chunk\n" + sse(chunk("Hello", "stop")),
    "something after [DONE]": HELLO + sse(chunk("more"), {"error": {"message": "late"}}),
    "control characters in a string": sse(
        b'{"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop","x":"a\tb"}]}'
    ),
    "a cut after the answer was whole": sse(chunk("Hello", "stop")) + b'data: {"usage": {"pro',
    "an error field that holds none": sse(chunk("Hello", "stop", error=None), {"choices": [], "error": {"code": None}}),
}


@pytest.mark.parametrize("raw", FRAMES.values(), ids=FRAMES)
def test_frames(raw):
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        reader = ReplyReader()
        reader.start(200, SSE)
        text = text_of([delta for piece in pieces for delta in reader.feed(piece)])
        text += text_of(reader.finish())
        assert (text.replace("Hi", "Hello"), reader.end().text) == (
            "Hello",
            "Hello" if raw != FRAMES["whole"] else "Hi",
        )


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b'"caf\xc3"', "caf\ufffd"), (b'"\xed\xa0\x80"', "\ufffd" * 3), (b'"\\ud83d"', "\ud83d"), (b'"\\u0000"', "\x00")],
)
def test_odd_text(raw, text):
    reply = read(sse(b'{"choices":[{"delta":{"content":%s},"finish_reason":"stop"}]}' % raw))
    assert reply.text == text
    assert reply.message.data["content"] == text


# Errors

ERROR = {"message": "boom", "code": 500}
TOLD = {
    "an error event": b"event: error\n" + sse({"error": ERROR}),
    "an error event without the key": b"event: error\n" + sse(ERROR),
    "an error event of little": b"event: error\n" + sse({"code": 500}),
    "an error event of text": b"event: error\n" + sse(b"boom"),
    "an error event of a number": b"event: error\n" + sse(b"500"),
    "a chunk with an error": sse({"error": ERROR}),
    "beside choices": sse({**chunk("", "error"), "error": ERROR}),
    "in a choice": sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": ERROR}]}),
    "of text, with a message": sse({"error": "Internal", "message": "boom"}),
    "of text alone": sse({"error": "boom"}),
    "an object that says so": sse({"object": "error", "message": "boom", "code": 500}),
    "a message alone": sse({"message": "boom", "code": 500}),
    "a detail alone": sse({"detail": "boom"}),
    "without a frame": json.dumps({"error": ERROR}).encode() + b"\n\n",
    "as a field": b"error: " + json.dumps(ERROR).encode() + b"\n\n",
    "as a field of text": b"error: boom\n\n",
    "in a list": sse([{"error": ERROR}]),
    "by the finish_reason alone": sse(chunk("", "error"), DONE),
}


@pytest.mark.parametrize("error", TOLD.values(), ids=TOLD)
def test_an_error_in_a_stream(error):
    """It is told after the text that came before it, and nothing more is waited for."""
    reader = ReplyReader()
    reader.start(200, SSE | {"x-request-id": "r"})
    assert text_of(reader.feed(sse(chunk("Hel"), chunk("lo")) + error)) == "Hello"
    with pytest.raises(ServerError) as caught:
        reader.end()
    assert caught.value.retryable
    assert (caught.value.partial_text, caught.value.request_id) == ("Hello", "r")
    assert reader.done or error == TOLD["by the finish_reason alone"]
    with pytest.raises(ServerError):
        reader.feed(b"more")
    assert reader.pieces == [sse(chunk("Hel"), chunk("lo")) + error]


@pytest.mark.parametrize(
    ("body", "kind", "retryable"),
    [
        ({"error": ERROR}, ServerError, True),
        ({"choices": None, "error": {"message": "slow down", "code": 429}}, RateLimitError, True),
        ([{"error": {"message": "prompt is too long", "code": 400}}], ContextLengthError, False),
        ({**HI, "error": {"message": "bad request", "code": 400}}, BadRequestError, False),
        ({"choices": [{"message": {"content": "H"}, "finish_reason": "error"}]}, ServerError, True),
        ({"choices": [{"message": {}, "error": ERROR, "finish_reason": "stop"}]}, ServerError, True),
        ({"object": "error", "message": "boom", "code": 500}, ServerError, True),
        ({"choices": []}, ProtocolError, True),
        ({}, ProtocolError, False),
        ([], ProtocolError, False),
        ([1], ProtocolError, False),
        ("text", ProtocolError, False),
        (None, ProtocolError, False),
    ],
)
def test_an_error_in_a_body(body, kind, retryable):
    with pytest.raises(EndpointError) as caught:
        read(json.dumps(body).encode(), headers=JSON)
    assert (type(caught.value), caught.value.retryable, caught.value.partial_text) == (kind, retryable, "")


@pytest.mark.parametrize(
    ("raw", "headers", "said", "retryable"),
    [
        (b"", JSON, "empty", True),
        (b"", SSE, "empty", True),
        (b" \n", JSON, "empty", True),
        (b'{"choices": [{"mess', JSON, "no JSON .application/json.: {", True),
        (b"<html>Sign in</html>", {"content-type": "text/html"}, "is base_url right.: <html>", False),
        (b"hello", {}, "no JSON .no content type.: hello", False),
        (b"down for maintenance", {"content-type": "text/plain"}, "down for maintenance", False),
        # a time in it would give the case another name in each process
        (gzip.compress(b"{}", mtime=0), JSON, "no JSON", False),
        (b"[" * 100_000, JSON, "no JSON", True),
        (b"[" * 300 + b"]" * 300, JSON, "no JSON", True),
        (sse(b'{"choices": [{"de'), SSE, "no JSON", True),
        (sse(DONE), SSE, "no choices", True),
        (b'{"a": 1}\nand more', JSON, "no JSON", True),
    ],
)
def test_what_is_no_reply(raw, headers, said, retryable):
    with pytest.raises(ProtocolError, match=said) as caught:
        read(raw, headers=headers)
    assert (caught.value.retryable, caught.value.status) == (retryable, 200)
    assert len(str(caught.value)) < 400


BROKEN = {
    "in the text": (sse(chunk("Hel"), chunk("lo")), "Hello"),
    "in an event": (sse(chunk("Hello")) + b'data: {"cho', "Hello"),
    "before the text": (sse({"choices": []}), ""),
    "after comments": (b": ping\n\n" * 3, ""),
    "one choice of two": (sse(chunk("Hello", "stop"), {"choices": [{"index": 1, "delta": {"content": "x"}}]}), "Hello"),
    "empty finish_reason": (sse(chunk("Hello", "")), "Hello"),
}


@pytest.mark.parametrize(("raw", "text"), BROKEN.values(), ids=BROKEN)
def test_a_stream_that_breaks_off(raw, text):
    with pytest.raises(ConnectionFailed) as caught:
        read(raw)
    assert (caught.value.partial_text, caught.value.retryable) == (text, True)


@pytest.mark.parametrize("status", [301, 400, 429, 500, 503])
def test_a_status_that_is_an_error(status):
    with pytest.raises(EndpointError, match="boom" if status >= 400 else "HTTP 301") as caught:
        read(b'{"error": {"mess', b'age": "boom"}}', status=status, headers=JSON | {"location": "http://x"})
    assert caught.value.status == status


def test_a_date_to_wait_for_is_counted_from_now():
    reader = ReplyReader()
    reader.start(429, {"retry-after": "Mon, 24 Nov 2025 16:00:07 GMT"}, now=1_764_000_000.0)
    with pytest.raises(RateLimitError) as caught:
        reader.end()
    assert caught.value.retry_after_s == 7


# On the way


def test_nothing_is_waited_for_after_done():
    reader = ReplyReader()
    reader.start(200, SSE)
    assert not reader.done
    reader.feed(HELLO)
    assert reader.done
    assert reader.feed(sse(chunk("more"))) == []
    assert (reader.end().text, reader.body) == ("Hello", HELLO)


def test_progress_is_more_than_a_keep_alive():
    reader = ReplyReader()
    reader.start(200, SSE)
    seen = []
    for piece in (b": ping\n\n", b"data:\n\n", sse(chunk()), b": ping\n\n", sse(b"ping"), sse({"usage": {}}), b"\n"):
        reader.feed(piece)
        seen.append(reader.progress)
    assert seen == [0, 0, 1, 1, 1, 2, 2]
    reader = ReplyReader()
    reader.start(200, JSON)
    seen = []
    for piece in (b" ", b"\n", b"{", b" ", b"}"):
        reader.feed(piece)
        seen.append(reader.progress)
    assert seen == [0, 0, 1, 1, 2]


def test_complete_even_if_the_line_breaks():
    reader = ReplyReader()
    reader.start(200, SSE)
    seen = []
    for piece in (b"", sse(chunk("Hi")), sse(chunk(finish="stop"))):
        reader.feed(piece)
        seen.append((reader.complete, reader.partial_text))
    assert seen == [(False, ""), (False, "Hi"), (True, "Hi")]
    assert reader.end().text == "Hi"


def test_sealed_calls():
    reader = ReplyReader()
    reader.start(200, SSE)
    for index, seen in ((0, []), (1, ["f0"])):
        function = {"name": f"f{index}", "arguments": "{}"}
        reader.feed(sse({"choices": [{"delta": {"tool_calls": [{"index": index, "function": function}]}}]}))
        assert ([call.name for call in reader.sealed_calls()], reader.sealed) == (seen, len(seen))


def test_the_body_is_kept_or_not():
    for keep_body, body in ((True, HELLO), (False, b"")):
        reader = ReplyReader(keep_body=keep_body)
        reader.start(200, SSE)
        for i in range(len(HELLO)):
            reader.feed(HELLO[i : i + 1])
        assert (reader.end().text, reader.body) == ("Hello", body)
    assert read(json.dumps(HI).encode(), keep_body=False).text == "Hi"


def test_many_small_pieces_are_kept_in_few():
    reader = ReplyReader()
    reader.start(200, JSON)
    raw = json.dumps(HI | {"x": "y" * 50_000}).encode()
    for i in range(len(raw)):
        reader.feed(raw[i : i + 1])
    assert len(reader.pieces) < 1100
    assert reader.body == raw


@pytest.mark.parametrize("headers", [SSE, JSON])
def test_a_body_is_bounded(headers):
    raw = HELLO if headers is SSE else json.dumps(HI).encode()
    assert read(raw, headers=headers, max_body_bytes=len(raw)).finish_reason == "stop"
    reader = ReplyReader(max_body_bytes=len(raw) - 1)
    reader.start(200, headers)
    reader.feed(raw)
    assert reader.done
    with pytest.raises(ProtocolError, match="max_body_bytes"):
        reader.end()


def test_an_event_is_bounded():
    with pytest.raises(ProtocolError, match="max_event_bytes=200") as caught:
        read(sse(chunk("Hel")) + b"data: " + b"x" * 300, max_event_bytes=200)
    assert caught.value.partial_text == "Hel"
    with pytest.raises(ProtocolError, match="max_event_bytes=200"):
        read(b"data: " + b"x" * 300, max_event_bytes=200)


def test_of_a_long_error_the_head_is_enough():
    reader = ReplyReader(max_fault_bytes=100)
    reader.start(500, {})
    while not reader.done:
        reader.feed(b"boom ")
    assert len(reader.body) == 100
    with pytest.raises(ServerError, match="boom"):
        reader.end()


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"nan", b"[" * 300 + b"]" * 300, b"[" * 100_000])
def test_what_is_no_json(raw):
    with pytest.raises(ValueError):
        parse(raw)


# Whatever comes

WORDS = st.sampled_from(
    "choices delta message content tool_calls function function_call name arguments id index type usage error role "
    "finish_reason reasoning reasoning_content reasoning_details text thinking audio transcript x_groq prompt_tokens "
    "prompt_tokens_details cached_tokens custom refusal object detail code logprobs summary stop 0 f {}".split()
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)
DELTAS = st.dictionaries(WORDS, ODD, max_size=4) | ODD
ODD_CHUNKS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({"delta": DELTAS}, optional={"index": ODD, "finish_reason": ODD, "message": ODD})
        )
    },
    optional={"usage": ODD, "error": ODD},
)


def outcome(*pieces, headers):
    try:
        return read(*pieces, headers=headers)
    except EndpointError as error:
        return type(error), str(error), error.partial_text, error.retryable


@given(st.lists(ODD_CHUNKS | ODD, max_size=5), st.sampled_from([SSE, JSON]), st.data())
def test_whatever_comes_is_a_reply_or_a_named_error(documents, headers, data):
    raw = data.draw(st.sampled_from([sse(*documents, DONE), json.dumps(documents[0] if documents else {}).encode()]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[start:end] for start, end in pairwise([0, *cuts, len(raw)])]
    # NaN is equal to nothing, itself included
    assert repr(outcome(*pieces, headers=headers)) == repr(outcome(raw, headers=headers))


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"data: ", b"\n\n", b"{", b"}", b"[DONE]", b'"choices":'])))
def test_bytes_of_any_kind(pieces):
    raw = b"".join(pieces)
    assert repr(outcome(*pieces, headers=SSE)) == repr(outcome(raw, headers=SSE))


@pytest.mark.slow
@pytest.mark.sampled(6, each="raw size")
@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
@pytest.mark.parametrize(
    "raw", [sse(chunk("a")), sse(b"ping"), b'{"choices":', b" "], ids=["chunks", "pings", "JSON", "blank"]
)
def test_twice_the_bytes_take_twice_the_time(raw, size):
    def work(number):
        body = raw * (number // len(raw))
        outcome(*(body[i : i + size] for i in range(0, len(body), size)), headers=SSE)

    assert doubling(work, 100_000 if size == 1 else 300_000) < 2.3
