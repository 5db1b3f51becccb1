"""Whatever a client sends, it becomes a conversation that an agent can go on with."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentkit.messages import Message, ToolCall, ToolResult
from agentkit.serve.conversation import Binding, Held, Steps, linked, rebuilt
from agentkit.serve.decisions import DECIDE
from agentkit.serve.seal import Sealer
from agentkit.transcript import CallRecord, Entry

BINDING = Binding(Sealer("a secret of the tests"), "bot", "")
OWN = "pay"
IDS = st.sampled_from(["a", "b", "decide_a"])


def entry(name: str, *, waits: bool = False) -> Entry:
    """A step of the agent with a call of a tool."""
    call = ToolCall("a", name, "{}")
    message = Message({"role": "assistant", "content": None, "tool_calls": [call.data]})
    record = CallRecord(call, hold="approval") if waits else CallRecord(call, result=ToolResult("paid"))
    return Entry(message, "model", "run-1", 1, calls=(record,))


def asked(call_id: str, name: str) -> dict[str, Any]:
    return {"role": "assistant", "content": "x", "tool_calls": [ToolCall(call_id, name, "{}").data]}


MESSAGE = st.one_of(
    st.just({"role": "user", "content": "Hello"}),
    st.just({"role": "system", "content": "Be brief."}),
    st.builds(asked, IDS, st.sampled_from([OWN, "theirs", DECIDE])),
    st.builds(lambda call_id, text: {"role": "tool", "tool_call_id": call_id, "content": text}, IDS, st.just("yes")),
    st.sampled_from(["done", "waits", "asks"]),
    st.just({"role": "assistant", "content": "", "agentkit_state": "AAAA"}),
)


def sealed(kind: str, link: bytes, first: int) -> dict[str, Any]:
    """An answer of the server: with steps that are done, that wait for a decision, or for a tool of the client."""
    steps = Steps(first, [entry(OWN if kind != "asks" else "theirs", waits=kind == "waits")])
    message: dict[str, Any] = {"role": "assistant", "content": "x"}
    if kind == "waits":
        message = asked("decide_a", DECIDE)
        steps.decide["decide_a"] = Held(0, 0, [], "approval")
    elif kind == "asks":
        message = asked("a", "theirs")
        steps.entries = [Entry(steps.entries[0].message, calls=(CallRecord(ToolCall("a", "theirs", "{}")),))]
        steps.calls["a"] = (0, 0)
    return {**message, "agentkit_state": BINDING.seal(steps, linked(link, message))}


def written(parts: list[Any], firsts: list[int]) -> list[dict[str, Any]]:
    """The messages, with answers of the server where their kind stands."""
    messages: list[dict[str, Any]] = []
    link, visible = b"", 0
    for part in parts:
        message = sealed(part, link, min(firsts[visible % len(firsts)], visible)) if isinstance(part, str) else part
        messages.append(message)
        if message["role"] != "system":
            link, visible = linked(link, message), visible + 1
    return messages


@given(st.lists(MESSAGE, max_size=8), st.lists(st.integers(0, 8), min_size=1, max_size=4))
def test_it_can_be_gone_on_from(parts, firsts):
    messages = written(parts, firsts)
    made = rebuilt(messages, BINDING, lambda name: f"client_{name}")
    waiting = [pending.call.id for pending in made.transcript.pending]
    assert waiting in ([], [*made.decisions, *made.undecided])
    assert len(made.owners) >= len(made.transcript)
    assert made.owners == sorted(made.owners)
    assert made.visible == sum(message["role"] != "system" for message in messages)
    assert made.system == ["Be brief."] * (len(messages) - made.visible)
    own = [record for each in made.transcript for record in each.calls if record.call.name == OWN]
    assert len(own) <= sum(part in ("done", "waits") for part in parts if isinstance(part, str))
    assert {record.result.content for record in own if record.result is not None} <= {"paid", *_TOLD}


_TOLD = {"What came of this call is not known: the conversation went on without its result."}


@given(st.lists(MESSAGE, max_size=6), st.integers(0, 5))
def test_a_message_left_out_closes_what_comes_after(parts, at):
    messages = written(parts, [8])
    visible = [message for message in messages if message["role"] != "system"]
    if at >= len(visible):
        return
    del visible[at]
    made = rebuilt(visible, BINDING)
    kept = rebuilt(visible[:at], BINDING)
    records = [
        record for each in made.transcript for record in each.calls if record.call.name == OWN and each.run == ""
    ]
    assert len([record for record in records if record.result == ToolResult("paid")]) <= len(
        [record for each in kept.transcript for record in each.calls]
    )
