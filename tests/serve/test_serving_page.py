"""The tables of docs/serving.md say what the code says."""

from __future__ import annotations

from dataclasses import fields

from agentkit.serve import ServeLimits
from agentkit.serve.decisions import decision_of
from agentkit.serve.faults import FAULTS, TOO_LONG
from agentkit.serve.fields import request_fields
from agentkit.serve.server import DRAIN_S
from tests.test_docs_tables import ROOT, names, rows

PAGE = "docs/serving.md"


def test_fields():
    listed = [(names(name)[0], becomes, note) for name, becomes, note in rows(PAGE, under="| field |")]
    assert listed == [(field.name, field.becomes, field.note) for field in request_fields(ServeLimits())]


def test_limits():
    listed = {
        names(name)[0]: float(value.replace("\u00a0", "")) for name, value, _ in rows(PAGE, under="| limit | default")
    }
    assert listed == {field.name: getattr(ServeLimits(), field.name) for field in fields(ServeLimits)}
    assert f"`drain_s` seconds ({DRAIN_S:g})" in (ROOT / PAGE).read_text("utf-8")


def test_errors():
    listed = [(name, int(status), names(code)[0]) for name, status, code in rows(PAGE, under="| what ended the run |")]
    expected = []
    for kind, fault in FAULTS.items():
        if kind.__name__ == "LimitReached":
            expected.append(("LimitReached, its time", TOO_LONG.status, TOO_LONG.code))
            expected.append(("LimitReached, any other", fault.status, fault.code))
        else:
            expected.append((kind.__name__, fault.status, fault.code))
    assert listed == expected


def test_decisions():
    decided = {}
    for told, meaning in rows(PAGE, under="| tool message |"):
        for text in names(told):
            decided[text] = (
                type(decision_of(text.replace("…", "1").replace("{1}", "{}"), "unknown")).__name__,
                meaning,
            )
    assert {kind for kind, meaning in decided.values() if "run" in meaning} == {"Approve"}
    assert decided['{"decision": "deny", "reason": "…"}'][0] == "Deny"
    assert decided['{"decision": "answer", "value": …}'][0] == "Answer"
    assert type(decision_of("anything else")).__name__ == "Deny"
    assert type(decision_of("anything else", "answer")).__name__ == "Answer"
