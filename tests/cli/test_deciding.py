"""Calls that wait for a decision: in a chat, and from one `agentkit run` to the next."""

from __future__ import annotations

import json

import pytest

from agentkit import Transcript
from agentkit.approval import Answer, Approve, Deny
from agentkit.cli.deciding import Approver, decisions_of
from agentkit.errors import UsageError
from agentkit.messages import ToolCall
from agentkit.pending import PendingCall

BURN = ToolCall("c1", "burn", '{"title": "Emma"}')


class Script:
    """Lines that were written down before."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.asked = []

    def read(self, prompt, default="", *, remember=True):
        assert not remember
        self.asked.append((prompt, default))
        return self.lines.pop(0)


@pytest.mark.parametrize(
    ("hold", "typed", "decision"),
    [
        ("approval", ["y"], Approve()),
        ("approval", [" YES "], Approve()),
        ("approval", ["what?", "", "y"], Approve()),
        ("approval", ["n"], Deny()),
        ("approval", ["n it is the last copy"], Deny("it is the last copy")),
        ("approval", ["e", '{"title": "Dune"}'], Approve({"title": "Dune"})),
        ("approval", ["e", "{", "e", "[]", "e", "", "n"], Deny()),
        ("approval", ["e", None, "y"], Approve()),
        ("approval", ["a"], Approve()),
        ("approval", [None], None),
        ("unknown", ["y"], Approve()),
        ("answer", ["He may."], Answer("He may.")),
        ("answer", ['{"may": true}'], Answer({"may": True})),
        ("answer", ["!he is away"], Deny("he is away")),
        ("answer", [None], None),
    ],
)
def test_what_is_typed(hold, typed, decision):
    script = Script(*typed)
    decided = Approver(script).decide([PendingCall("c1", BURN, hold, "k")])
    assert decided == (None if decision is None else {"c1": decision})
    assert script.lines == []


def test_always_is_for_the_tool():
    approver = Approver(Script("a", "n"))
    other = ToolCall("c3", "lend", "{}")
    pending = [PendingCall(f"c{n}", call, "approval", "k") for n, call in enumerate([BURN, BURN, other], 1)]
    assert approver.decide(pending) == {"c1": Approve(), "c2": Approve(), "c3": Deny()}


def test_all_of_the_arguments_are_shown(capsys):
    call = ToolCall("c1", "burn", json.dumps({"title": "x" * 5000, "trick": "\x1b[2K\u202e"}))
    Approver(Script("n")).decide([PendingCall("c1", call, "approval", "k")])
    shown = capsys.readouterr().out
    assert "x" * 5000 in shown
    assert not {"\x1b", "\u202e"} & set(shown)


@pytest.mark.parametrize(
    ("approve", "deny", "answer", "decisions"),
    [
        ((), (), (), None),
        (("all",), (), (), Approve()),
        ((), ("all=not today",), (), Deny("not today")),
        (
            ("a", "b/c"),
            ("d",),
            ("e=1", "f=so"),
            {"a": Approve(), "b/c": Approve(), "d": Deny(), "e": Answer(1), "f": Answer("so")},
        ),
    ],
)
def test_decisions_by_options(approve, deny, answer, decisions):
    assert decisions_of(approve, deny, answer) == decisions


@pytest.mark.parametrize(
    ("approve", "deny", "answer", "told"),
    [
        ((), (), ("e",), "lacks a value"),
        (("all", "a"), (), (), "no other decision"),
        (("a",), ("a",), (), "'a' is decided twice"),
    ],
)
def test_options_that_make_no_sense(approve, deny, answer, told):
    with pytest.raises(UsageError, match=told):
        decisions_of(approve, deny, answer)


def test_a_run_pauses_and_goes_on(command, folder):
    where = ("-a", "bots:agent", "--transcript", "talk.json")
    paused = command("run", "burn them", *where, "-o", "json")
    assert paused.exit_code == 4
    told = json.loads(paused.stdout)
    assert (told["status"], told["output"]) == ("paused", None)
    assert [(each["id"], each["name"], each["hold"]) for each in told["pending"]] == [
        ("call_1", "burn", "approval"),
        ("call_2", "burn", "approval"),
    ]
    still = command("run", *where)
    assert (still.exit_code, still.stdout) == (4, "")
    assert 'waits for approval: call_1 burn({"title": "Emma"})' in still.stderr
    wrong = command("run", *where, "--approve", "call_9")
    assert wrong.exit_code == 2
    assert "'call_1' (burn)" in wrong.stderr
    done = command("run", *where, "--approve", "call_1", "--deny", "call_2=not this one")
    assert done.exit_code == 0
    assert done.stdout == "It says: burnt 1 of Emma and This call was denied: not this one.\n"


def test_an_answer_from_outside(command, folder):
    where = ("-a", "bots:agent", "--transcript", "talk.json")
    assert command("run", "ask the owner", *where).exit_code == 4
    assert command("run", *where, "--answer", "call_1=Of course").stdout == "It says: Of course.\n"
    kept = Transcript.load((folder / "talk.json").read_text())
    assert not kept.pending
    shown = command("show", "talk.json").stdout
    assert "→ ask_owner  answered" in shown
