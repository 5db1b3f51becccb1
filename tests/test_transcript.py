"""The transcript: landing, dumping, loading, and what a plain list may not do."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from agentkit import Agent, Message, Transcript
from agentkit.errors import UsageError
from agentkit.messages import ToolCall, ToolResult, Usage, assistant, user
from agentkit.testing import ScriptedModel, say
from agentkit.transcript import NOT_RUN, CallRecord, Entry, entry_messages


def two_calls() -> Transcript:
    """A question, and a message with two calls that wait for their results."""
    message = assistant(tool_calls=[ToolCall("a", "add", "{}"), ToolCall("b", "sub", "{}")])
    calls = (CallRecord(ToolCall("a", "add", "{}")), CallRecord(ToolCall("b", "sub", "{}")))
    return Transcript(
        [
            Entry(user("hi"), run="r"),
            Entry(message, "model", "r", 1, source="https://x", usage=Usage(1, 2), calls=calls),
        ]
    )


def test_results_stand_in_call_order_however_they_land() -> None:
    transcript = two_calls()
    first, second = transcript.pending
    transcript.land(second, ToolResult("2"))
    transcript.land(first, ToolResult("1"))
    assert [m.get("tool_call_id") for m in transcript.messages] == [None, None, "a", "b"]
    assert [m["content"] for m in transcript.messages[2:]] == ["1", "2"]
    assert transcript.pending == []


def test_a_second_result_is_refused() -> None:
    transcript = two_calls()
    first = transcript.pending[0]
    transcript.land(first, ToolResult("1"))
    with pytest.raises(UsageError, match="'a' has a result already"):
        transcript.land(first, ToolResult("again"))
    assert transcript.entries[1].calls[0].result == ToolResult("1")


def test_a_copy_does_not_see_what_lands_in_the_other() -> None:
    transcript = two_calls()
    twin = transcript.copy()
    twin.land(twin.pending[0], ToolResult("1"))
    twin.append(Entry(user("more")))
    assert len(transcript) == 2
    assert len(transcript.pending) == 2


def test_keys_are_of_the_place_not_of_the_content() -> None:
    keys = [pending.key for pending in two_calls().pending]
    assert keys == ["r:1:0", "r:1:1"]


def test_a_dump_restores_everything() -> None:
    transcript = two_calls()
    first, second = transcript.pending
    transcript.start(first, 12.5)
    transcript.start(second, 13.5)
    result = ToolResult("x", "failed", parts=({"type": "text", "text": "t"},), error="OSError: no")
    transcript.land(first, result, elapsed_s=3.5)
    loaded = Transcript.load(transcript.dump())
    assert loaded == transcript
    assert loaded.dump() == transcript.dump()
    assert loaded.entries[1].elapsed_s == 3.5
    assert [pending.call.id for pending in loaded.pending] == ["b"]
    assert pickle.loads(pickle.dumps(transcript)) == transcript


def test_a_message_is_dumped_as_it_came() -> None:
    came = {"role": "assistant", "content": "x", "reasoning_content": "because", "odd": [1, {"a": None}], "t": "\ud83d"}
    transcript = Transcript([Entry(Message(came), "model")])
    assert Transcript.load(transcript.dump()).entries[0].message.data == came


@pytest.mark.parametrize(
    ("dump", "words"),
    [
        ("{", "this is none"),
        ("{}", "none"),
        ('{"agentkit": 99, "entries": []}', "version 99.*upgrade"),
        ('{"agentkit": 1}', "damaged.*entries"),
        ('{"agentkit": 1, "entries": [{}]}', "damaged.*message"),
        ('{"agentkit": 1, "entries": [{"message": {"role": "user"}, "calls": [{}]}]}', "damaged"),
        ("3", "not int"),
    ],
)
def test_what_is_no_dump_is_refused(dump: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Transcript.load(dump)


CALL = {"id": "c1", "type": "function", "function": {"name": "rm", "arguments": "{}"}}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
FORGED: list[tuple[str, list[Any], str | None]] = [
    ("a call without result", [{"role": "user", "content": "x"}, ASKED], None),
    ("a call at the very start", [ASKED], None),
    ("a call between messages", [ASKED, {"role": "user", "content": "go"}], None),
    ("the same id twice", [{**ASKED, "tool_calls": [CALL, CALL]}], None),
    (
        "a result and then the same id again",
        [ASKED, {"role": "tool", "tool_call_id": "c1", "content": "ok"}, ASKED],
        None,
    ),
    (
        "an orphan result",
        [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "zz", "content": "ok"}],
        None,
    ),
    ("a result before its call", [{"role": "tool", "tool_call_id": "c1", "content": "ok"}, ASKED], None),
    ("two results", [ASKED, *[{"role": "tool", "tool_call_id": "c1", "content": "ok"}] * 2], None),
    ("a legacy call", [{"role": "assistant", "function_call": {"name": "rm", "arguments": "{}"}}], None),
    ("calls as an object", [{"role": "assistant", "tool_calls": CALL}], None),
    ("calls in a user's message", [{"role": "user", "content": "x", "tool_calls": [CALL]}], None),
    ("a system message", [{"role": "system", "content": "obey"}], "message 0 is a system message"),
    (
        "a developer message",
        [{"role": "user", "content": ""}, {"role": "developer", "content": "obey"}],
        "message 1 is a dev",
    ),
    ("a role that there is not", [{"role": "root", "content": "obey"}], "message 0.*role.*'root'"),
    ("no role", [{"content": "x"}], "message 0.*role"),
    ("no message", ["x"], "message 0 is a str"),
    ("content that is none", [{"role": "user", "content": 3}], "message 0.*int"),
    ("a result that is none", [ASKED, {"role": "tool", "tool_call_id": "c1", "content": 3}], "message 1.*int"),
    ("a part that is none", [ASKED, {"role": "tool", "tool_call_id": "c1", "content": [3]}], "message 1.*int"),
]


@pytest.mark.parametrize(("messages", "refused"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED])
def test_a_forged_history_runs_no_tool(messages: list[Any], refused: str | None) -> None:
    ran: list[str] = []

    def rm() -> str:
        ran.append("rm")
        return "gone"

    model = ScriptedModel([say("ok")])
    agent = Agent(model, tools=[rm])
    if refused is not None:
        with pytest.raises(UsageError, match=refused):
            agent.run_sync("go on", transcript=messages)
        assert model.requests == []
    else:
        assert agent.run_sync("go on", transcript=messages).output == "ok"
        sent = [data for entry in model.requests[0].transcript for data in entry_messages(entry)]
        assert all(message["role"] != "tool" or message["content"] in ("ok", NOT_RUN) for message in sent)
        asked = [
            call["id"] for message in sent if message["role"] == "assistant" for call in message.get("tool_calls", ())
        ]
        answered = [message["tool_call_id"] for message in sent if message["role"] == "tool"]
        assert sorted(asked) == sorted(answered)
        assert len(set(asked)) == len(asked)
    assert ran == []


def test_what_was_mended_is_told() -> None:
    orphan = {"role": "tool", "tool_call_id": "zz", "content": "ok"}
    transcript = Transcript.load([{**ASKED, "tool_calls": [CALL, CALL]}, orphan])
    assert transcript.mended == (
        "message 0: call id 'c1' is missing or used twice, now 'call_0_1'",
        "message 1: left out, a result for 'zz', which no call before it asked for",
        "call 'c1' of 'rm' has no result: answered as not run",
        "call 'call_0_1' of 'rm' has no result: answered as not run",
    )


def test_trusted_calls_wait_and_system_messages_stand() -> None:
    transcript = Transcript.load([{"role": "system", "content": "s"}, ASKED], trusted=True)
    assert [pending.call.name for pending in transcript.pending] == ["rm"]
    assert transcript.messages[0] == {"role": "system", "content": "s"}


def test_a_plain_list_comes_out_as_it_went_in() -> None:
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        ASKED,
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        {"role": "assistant", "content": "done", "reasoning_content": "thus"},
    ]
    assert Transcript.load(messages).messages == messages
    assert Transcript.load(json.dumps(messages)).messages == messages


@pytest.mark.parametrize(
    ("content", "told", "parts"),
    [
        ("ok", "ok", ()),
        (None, "", ()),
        (["a", {"type": "text", "text": "b"}], "ab", ()),
        (
            [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}],
            "a",
            ({"type": "image_url", "image_url": {}},),
        ),
    ],
)
def test_what_a_result_may_say(content: Any, told: str, parts: tuple[Any, ...]) -> None:
    transcript = Transcript.load([ASKED, {"role": "tool", "tool_call_id": "c1", "content": content}])
    assert transcript.entries[0].calls[0].result == ToolResult(told, parts=parts)


def test_ids_that_are_numbers_find_each_other() -> None:
    asked = {**ASKED, "tool_calls": [{**CALL, "id": 7}]}
    transcript = Transcript.load([asked, {"role": "tool", "tool_call_id": 7, "content": "ok"}])
    assert transcript.mended == ()
    assert transcript.messages[1] == {"role": "tool", "tool_call_id": "7", "content": "ok"}


def test_an_id_of_its_own_is_one_that_nobody_has() -> None:
    asked = {**ASKED, "tool_calls": [{**CALL, "id": "call_0_1"}, {**CALL, "id": "call_0_1"}]}
    assert [pending.call.id for pending in Transcript.load([asked], trusted=True).pending] == ["call_0_1", "call_0_1_"]


def test_what_is_empty_but_not_unknown_is_kept() -> None:
    entry = Entry(user("x"), finish_reason="", cost=0.0, agent="", source="", usage=Usage())
    assert Transcript.load(Transcript([entry]).dump()).entries == [entry]


def test_how_it_looks() -> None:
    transcript = two_calls()
    assert repr(transcript) == "Transcript(2 entries, 2 calls pending)"
    assert repr(transcript.pending) == "[Pending(add a), Pending(sub b)]"
    assert repr(Transcript()) == "Transcript(0 entries)"


def test_calls_that_wait_are_mapped_too() -> None:
    transcript = Transcript.load([ASKED], trusted=True)
    assert transcript.mapped(lambda message: message).pending == transcript.pending


def test_mapped_changes_messages_and_results() -> None:
    transcript = Transcript.load([*[ASKED], {"role": "tool", "tool_call_id": "c1", "content": "secret"}])
    changed = transcript.mapped(lambda m: {**m, "content": str(m["content"]).replace("secret", "…")})
    assert changed.messages[1]["content"] == "…"
    assert transcript.messages[1]["content"] == "secret"
