from __future__ import annotations

import pytest

from agentkit import Transcript
from agentkit.approval import Approve
from agentkit.looks.timeline import split_content, timeline_of
from agentkit.looks.words import seconds, summary, when
from agentkit.messages import Message, ToolCall, ToolResult
from agentkit.transcript import CallRecord, Entry
from tests.looks.talks import AT, conversation, nested, text_of


def test_what_it_comes_to():
    timeline = timeline_of(conversation())
    assert (timeline.runs, timeline.replies, timeline.calls) == (1, 2, 1)
    assert (timeline.began_at, timeline.lasted_s) == (AT, 4.0)
    assert timeline.cost == pytest.approx(0.003)
    assert timeline_of(Transcript.load(conversation().dump())) == timeline


def test_an_empty_one():
    assert summary(timeline_of(Transcript())) == "0 replies · 0 tool calls"


def test_a_plain_list_tells_no_times():
    plain = Transcript.load(conversation().messages, trusted=True)
    timeline = timeline_of(plain)
    assert timeline.began_at is None
    assert [moment.speaker for moment in timeline.moments] == ["user", "model", "user", "model"]
    assert timeline.moments[1].calls[0].result == "A3"


def test_a_conversation_in_a_call():
    timeline = timeline_of(nested())
    inner = timeline.moments[0].calls[0].inner
    assert inner == timeline_of(conversation())
    assert timeline.cost == pytest.approx(0.013)
    assert timeline.usage.prompt_tokens == 230
    text = text_of(timeline)
    assert "│ │ user  +0.0 s\n│ │ │ Where is Dune?\n" in text
    assert text.index("│ │ │ I will not.") < text.rindex("│ │ ← A3")


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (CallRecord(ToolCall("c", "f"), hold="approval"), "waits for approval"),
        (CallRecord(ToolCall("c", "f"), AT, hold="unknown"), "started, outcome unknown"),
        (CallRecord(ToolCall("c", "f"), hold="approval", decision=Approve()), "pending"),
        (CallRecord(ToolCall("c", "f")), "pending"),
        (CallRecord(ToolCall("c", "f"), AT), "started, no result"),
        (CallRecord(ToolCall("c", "f"), AT, ToolResult("x", "not_run")), "not run"),
        (CallRecord(ToolCall("c", "f"), AT, ToolResult("x")), "ok"),
    ],
)
def test_the_status_of_a_call(record, status):
    message = Message({"role": "assistant", "content": None, "tool_calls": [record.call.data]})
    timeline = timeline_of(Transcript([Entry(message, calls=(record,))]))
    assert timeline.moments[0].calls[0].status == status


@pytest.mark.parametrize(
    ("content", "text", "attachments"),
    [
        (None, "", []),
        ("hi", "hi", []),
        (["a", {"type": "text", "text": "b"}], "ab", []),
        (
            [{"type": "image_url", "image_url": {"url": "https://x.example/i.png"}}],
            "",
            ["image: https://x.example/i.png"],
        ),
        (
            [{"type": "image_url", "image_url": "data:image/png;base64,AAAA"}],
            "",
            ["image: data:image/png;base64, 26 characters"],
        ),
        ([{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:…"}}], "", ["file: a.pdf"]),
        ([{"type": "file", "file": {"file_id": "f-1"}}], "", ["file: f-1"]),
        ([{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}], "", ["audio: wav"]),
        ([{"type": "video", "video": 1}], "", ['video: {"type":"video","video":1}']),
        ([7], "", ["part: 7"]),
        ({"type": "text", "text": "alone"}, "alone", []),
    ],
)
def test_contents(content, text, attachments):
    found, others = split_content(content)
    assert (found, [f"{each.kind}: {each.label}" for each in others]) == (text, attachments)


@pytest.mark.parametrize("kind", ["svg+xml", "PNG", "x"])
def test_only_images_of_known_kinds_are_shown(kind):
    _, (attachment,) = split_content([{"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,AA"}}])
    assert attachment.image is None


@pytest.mark.parametrize(("value", "shown"), [(0.04, "0.0 s"), (119.0, "119.0 s"), (125.0, "2 min 5 s")])
def test_lengths_of_time(value, shown):
    assert seconds(value) == shown


@pytest.mark.parametrize("at", [float("inf"), 1e20])
def test_a_time_that_is_none(at):
    assert when(at) == ""
