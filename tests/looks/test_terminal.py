from __future__ import annotations

import pytest

from agentkit import Transcript
from agentkit.approval import Answer, Approve, Deny
from agentkit.looks.terminal import Look
from agentkit.looks.timeline import timeline_of
from agentkit.messages import Message, ToolCall, ToolResult
from agentkit.transcript import CallRecord, Entry
from tests.looks.talks import conversation, text_of


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


def test_long_texts_are_cut_and_wrapped():
    entry = Entry(Message({"role": "user", "content": "word " * 100}))
    timeline = timeline_of(Transcript([entry]))
    cut = text_of(timeline, Look(max_chars=50, hint=" (see there)"))
    assert "450 more characters (see there)" in cut
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
