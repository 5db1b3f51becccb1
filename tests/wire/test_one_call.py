"""Every wire case, and every llama.cpp capture, through the reader: whole, byte by byte, and cut at random."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from agentkit.chat.reader import ReplyReader
from agentkit.errors import EndpointError
from agentkit.events import ReasoningDelta, TextDelta, ToolCallDelta
from tests.wire import replay
from tests.wire.verbs import CLASSES

NOW = 1_764_000_000.0

# The others are about the line, which is the driver's.
CASES = [case for case in replay.load() if case.get("end", "close") == "close"]
EACH = pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
STREAMS = [case for case in CASES if case["kind"] == "sse"]
CAPTURES = sorted((replay.HERE / "llamacpp").glob("*"))


def read(head, pieces):
    """What comes of an answer: the Reply or the error, and the deltas."""
    reader = ReplyReader()
    reader.start(*head, now=NOW)
    deltas = []
    try:
        for piece in pieces:
            deltas += reader.feed(piece)
            if reader.done:
                break
        deltas += reader.finish()
        return reader.end(), deltas
    except EndpointError as error:
        return error, deltas


def joined(deltas):
    """The deltas with those that go on with the one before joined to it, so that cuts leave no trace."""
    whole = []
    for delta in deltas:
        kind, place = type(delta), (delta.choice, getattr(delta, "position", None))
        last = whole[-1] if whole else [None, None, ""]
        if last[:2] != [kind, place]:
            whole.append([kind, place, ""])
        whole[-1][2] += delta.arguments if kind is ToolCallDelta else delta.text
    return whole


def comparable(outcome):
    if isinstance(outcome, EndpointError):
        return type(outcome), str(outcome), {**vars(outcome)}
    return outcome


def observed(outcome, deltas):
    said = {"streamed_text": "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))}
    if isinstance(outcome, EndpointError):
        kind = next(name for kind, name in CLASSES.items() if isinstance(outcome, kind))
        said["error"] = {
            "class": kind,
            "retryable": outcome.retryable,
            "retry_after": outcome.retry_after_s,
            "message": str(outcome),
        }
        return said
    usage = outcome.usage
    return said | {
        "text": outcome.text,
        "reasoning": outcome.reasoning,
        "refusal": outcome.refusal,
        "finish_reason": outcome.finish_reason,
        "usage": usage
        and {
            "input": usage.prompt_tokens,
            "output": usage.completion_tokens,
            "total": usage.total_tokens,
            "cached": usage.cached_tokens,
            "reasoning": usage.reasoning_tokens,
        },
        "tool_calls": [{"id": c.id, "name": c.name, "arguments": arguments(c)} for c in outcome.tool_calls],
    }


def arguments(call):
    try:
        return call.parsed
    except ValueError:
        return ValueError


def cut(raw, places):
    return [raw[start:end] for start, end in pairwise([0, *sorted(places), len(raw)])]


def head_of(case):
    # a date of the future is counted from the clock, the reader from NOW
    headers = {k: v.replace("{{http_date:+7}}", "Mon, 24 Nov 2025 16:00:07 GMT") for k, v in case["headers"].items()}
    return case["status"], replay.headers_of({"headers": headers})


@EACH
def test_a_case_comes_out_right(case):
    raw = replay.body_bytes(case)
    outcome, deltas = read(head_of(case), [raw])
    assert replay.compare_client(case, observed(outcome, deltas)) == []


@EACH
def test_the_deltas_make_the_reply(case):
    outcome, deltas = read(head_of(case), [replay.body_bytes(case)])
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    assert text == (outcome.partial_text if isinstance(outcome, EndpointError) else outcome.text)
    if not isinstance(outcome, EndpointError):
        reasoning = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
        assert reasoning == outcome.reasoning
        for position, call in enumerate(outcome.tool_calls):
            own = [d for d in deltas if isinstance(d, ToolCallDelta) and d.position == position]
            assert (own[-1].name, "".join(delta.arguments for delta in own)) == (call.name, call.arguments)


def assert_same_however_cut(head, raw, cuts):
    outcome, deltas = read(head, [raw])
    for places in cuts:
        again, others = read(head, cut(raw, places))
        assert comparable(again) == comparable(outcome), places
        assert joined(others) == joined(deltas), places


def some_cuts(raw, number, seed):
    chance = random.Random(seed)
    yield range(1, len(raw))
    yield (place for place in range(1, len(raw)) if raw[place - 1 : place] in (b"\n", b"\r", b'"'))
    for _ in range(number):
        yield chance.sample(range(1, max(2, len(raw))), min(len(raw) // 2, chance.randint(1, 40)))


@EACH
def test_the_same_however_it_is_cut(case):
    assert_same_however_cut(head_of(case), raw := replay.body_bytes(case), some_cuts(raw, 10, case["id"]))


@pytest.mark.sampled(12)
@EACH
def test_the_same_at_200_cuts(case):
    assert_same_however_cut(head_of(case), raw := replay.body_bytes(case), some_cuts(raw, 200, case["id"]))


@pytest.mark.parametrize("case", STREAMS, ids=[case["id"] for case in STREAMS])
def test_the_same_with_other_line_ends(case):
    raw = replay.body_bytes(case)
    outcome, deltas = read(head_of(case), [raw])
    for line_end in (b"\r\n", b"\r"):
        turned = raw.replace(b"\n", line_end)
        for pieces in ([turned], cut(turned, range(1, len(turned)))):
            again, others = read(head_of(case), pieces)
            assert joined(others) == joined(deltas)
            if not isinstance(outcome, EndpointError):
                assert again == outcome


@pytest.mark.parametrize("path", CAPTURES, ids=[path.name for path in CAPTURES])
def test_llamacpp(path):
    raw = path.read_bytes()
    kind = "text/event-stream" if path.suffix == ".sse" else "application/json; charset=utf-8"
    outcome, _ = read((200, {"content-type": kind}), [raw])
    assert not isinstance(outcome, EndpointError), outcome
    assert (outcome.finish_reason == "tool_calls") == bool(outcome.tool_calls)
    assert outcome.text or outcome.tool_calls
    assert all(set(call.parsed) == {"city", "unit"} for call in outcome.tool_calls)
    assert outcome.model == "qwen2.5-coder-0.5b-instruct-q4_k_m"
    assert_same_however_cut((200, {"content-type": kind}), raw, some_cuts(raw, 3, path.name))
