from __future__ import annotations

import io

import pytest
from rich.console import Console

from agentkit import Transcript
from agentkit.approval import Answer, Approve, Deny
from agentkit.cli.timeline import split_content, timeline_of
from agentkit.cli.timeline_text import Look, lines_of, seconds, summary, when
from agentkit.messages import Message, ToolCall, ToolResult, Usage
from agentkit.transcript import CallRecord, Entry

AT = 1_700_000_000.0
CALLS = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "I look.",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "shelf_of", "arguments": '{"title":"Dune"}'}}],
}
RECORD = CallRecord(ToolCall("c1", "shelf_of", '{"title":"Dune"}'), AT + 2.0, ToolResult("A3", "failed", error="E: x"))


def conversation():
    return Transcript(
        [
            Entry(Message({"role": "user", "content": "Where is Dune?"}), run="r", at=AT),
            Entry(
                Message(CALLS),
                author="model",
                run="r",
                step=1,
                at=AT + 1.5,
                agent="librarian",
                source="https://host.example/v1",
                finish_reason="tool_calls",
                usage=Usage(100, 20, 120, cached_tokens=80),
                cost=0.001,
                calls=(RECORD,),
            ),
            Entry(Message({"role": "user", "content": "Call it again."}), author="loop", run="r", step=1, at=AT + 3),
            Entry(
                Message({"role": "assistant", "content": None, "refusal": "I will not."}),
                author="model",
                run="r",
                step=2,
                at=AT + 4,
                finish_reason="length",
                usage=Usage(130, 5, 135),
                cost=0.002,
            ),
        ]
    )


def text_of(timeline, look=None):
    out = io.StringIO()
    console = Console(file=out, width=200, soft_wrap=True)
    for line in lines_of(timeline, look or Look()):
        console.print(line)
    return out.getvalue()


def test_the_story():
    assert text_of(timeline_of(conversation())) == (
        "user  +0.0 s\n"
        "│ Where is Dune?\n"
        "\n"
        "model  step 1 · agent librarian · https://host.example/v1 · +1.5 s · 100 tokens in (80 cached), 20 out"
        " · $0.001\n"
        "│ I look.\n"
        "│ → shelf_of  failed · +2.0 s\n"
        "│ │ {\n"
        '│ │   "title": "Dune"\n'
        "│ │ }\n"
        "│ │ ← A3\n"
        "│ │ ! E: x\n"
        "\n"
        "agentkit  step 1 · +3.0 s\n"
        "│ Call it again.\n"
        "\n"
        "model  step 2 · +4.0 s · 130 tokens in, 5 out · $0.002 · length\n"
        "│ I will not.\n"
        "\n"
        "2 replies · 1 tool call · 230 tokens in (80 cached), 25 out · $0.003 · 4.0 s"
        " · began 2023-11-14 22:13:20 UTC\n"
    )


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


def nested():
    """A conversation that has another one in a call."""
    call = ToolCall("c1", "librarian", '{"prompt": "Where is Dune?"}')
    message = Message({"role": "assistant", "content": None, "tool_calls": [call.data]})
    record = CallRecord(call, AT + 1, ToolResult("A3"), transcript=conversation())
    return Transcript([Entry(message, author="model", at=AT, cost=0.01, calls=(record,))])


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
    ("decision", "facts"),
    [
        (Approve(), "approved"),
        (Approve({"title": "Emma"}), "approved with other arguments"),
        (Deny("why"), "denied: why"),
        (Deny(), "denied"),
        (Answer(1), "answered"),
    ],
)
def test_decisions_are_told(decision, facts):
    call = ToolCall("c1", "burn", '{"title":"Dune"}')
    status = "denied" if isinstance(decision, Deny) else "ok"
    record = CallRecord(call, None, ToolResult("…", status), decision=decision)
    message = Message({"role": "assistant", "content": None, "tool_calls": [call.data]})
    text = text_of(timeline_of(Transcript([Entry(message, calls=(record,))])))
    assert f"→ burn  {facts}\n" in text
    assert ("in place of these: {" in text) is (decision == Approve({"title": "Emma"}))


def test_instructions_of_the_moment():
    entry = Entry(
        Message({"role": "user", "content": "hi"}), instructions={"clerk": ("Be kind.", "It is noon."), "": ("", "")}
    )
    assert text_of(timeline_of(Transcript([entry]))).startswith(
        "user\n│ (for clerk: Be kind.\n│ \n│ It is noon.)\n│ hi\n"
    )


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


def test_long_texts_are_cut_and_wrapped():
    entry = Entry(Message({"role": "user", "content": "word " * 100}))
    timeline = timeline_of(Transcript([entry]))
    cut = text_of(timeline, Look(max_chars=50))
    assert "450 more characters (--full shows all)" in cut
    wrapped = text_of(timeline, Look(max_chars=None, width=40))
    assert wrapped.count("word") == 100
    assert all(line.startswith("│ ") and len(line) <= 40 for line in wrapped.splitlines()[1:-2])


def test_nothing_steers_the_terminal():
    hostile = "\x1b[2Jgone\x07 \u202etxt.exe \ud800 [bold]loud[/]"
    call = ToolCall("c1", f"f{hostile}", hostile)
    message = Message({"role": "assistant", "content": hostile, "tool_calls": [call.data]})
    entry = Entry(message, agent=hostile, calls=(CallRecord(call, None, ToolResult(hostile, error=hostile)),))
    text = text_of(timeline_of(Transcript([entry])))
    assert not set("\x1b\x07\u202e\ud800") & set(text)
    assert text.count("[bold]loud[/]") >= 4


@pytest.mark.parametrize(("value", "shown"), [(0.04, "0.0 s"), (119.0, "119.0 s"), (125.0, "2 min 5 s")])
def test_lengths_of_time(value, shown):
    assert seconds(value) == shown


@pytest.mark.parametrize("at", [float("inf"), 1e20])
def test_a_time_that_is_none(at):
    assert when(at) == ""
