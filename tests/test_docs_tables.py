"""The tables of the documentation say what the code says."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from agentkit import Limits, Pacing, Retries, Timeouts, events, flow, loop, testing, tool
from agentkit._http.answer import MAX_IDLE
from agentkit._http.body import MAX_BODY_BYTES
from agentkit.chat.calls import MAX_ARGUMENTS_CHARS, MAX_CALLS, MAX_NAME_CHARS
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.faults import MAX_MESSAGE_CHARS
from agentkit.chat.reader import MAX_FAULT_BYTES, MAX_NESTING
from agentkit.chat.request import MAX_TOOLS
from agentkit.chat.sse import MAX_EVENT_BYTES
from agentkit.circuit import FAILURES, OPEN_S
from agentkit.local.server import MAX_CONTEXT
from agentkit.loop import HINT_AFTER, STOP_AFTER
from agentkit.outputs import MOST_CHARS
from agentkit.policy import BASE_S, CAP_S
from agentkit.streams import BACKLOG, LEAVING_S

ROOT = Path(__file__).parent.parent
MIB = 1024 * 1024


def rows(page: str, *, under: str) -> list[list[str]]:
    """The cells of the table below a header that begins so."""
    lines = iter((ROOT / page).read_text("utf-8").splitlines())
    for line in lines:
        if line.startswith(under):
            break
    else:
        pytest.fail(f"{page} has no table {under!r}")
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_prefixes():
    listed = {}
    for prefix, address, address_variables, key_variables in rows("docs/models.md", under="| prefix |"):
        required = "may be missing" not in key_variables
        listed[names(prefix)[0]] = (names(address), names(address_variables), names(key_variables), required)
    del listed["local"]
    assert listed == {
        dialect.name: (
            [dialect.base_url] if dialect.base_url else [],
            list(dialect.base_url_env),
            list(dialect.key_env),
            dialect.key_required,
        )
        for dialect in DIALECTS.values()
        if dialect.name != "generic"
    }


def _number(cell: str) -> float | None:
    if cell in ("none", "None"):
        return None
    found = re.match(r"[\d ]+(\.\d+)?", cell)
    assert found, cell
    return float(found[0].replace(" ", ""))


def _defaults() -> dict[str, Any]:
    options = {name: parameter.default for name, parameter in inspect.signature(tool).parameters.items()}
    defaults = {f"@tool({name}=…)": value for name, value in options.items()}
    for values in (Limits(), Timeouts(), Retries(), Pacing()):
        of = type(values).__name__
        defaults |= {
            f"{of}({field.name}=…)": getattr(values, field.name) for field in fields(values) if field.name != "_"
        }
    return {
        **defaults,
        "@tool(attempts=…, retry_on=…)": 1,
        "@tool(max_output_chars=…)": 100_000,
        "@tool(timeout_s=…)": None,
        "@tool(repeatable=True)": HINT_AFTER,
        "ChatModel(retries=…)": Retries().retries,
        "Agent(budget=Budget(…))": None,
        "characters that `read_output` gives at once": MOST_CHARS,
        "replies of the model": Limits().steps,
        "empty answers in a row": 1,
        "bytes of an answer": MAX_BODY_BYTES / MIB,
        "bytes of one event of a stream": MAX_EVENT_BYTES / MIB,
        "bytes that are read of an error's body": MAX_FAULT_BYTES / MIB,
        "characters of an endpoint's words in an error": MAX_MESSAGE_CHARS,
        "JSON inside JSON": MAX_NESTING,
        "tools that it offers": MAX_TOOLS,
        "tool calls in one reply": MAX_CALLS,
        "characters of one call's name": MAX_NAME_CHARS,
        "characters of one call's arguments": MAX_ARGUMENTS_CHARS,
        "events that wait for a slow listener": BACKLOG,
        "seconds that leaving a block waits for what it cancelled": LEAVING_S,
        "idle connections kept for one origin": MAX_IDLE,
        "tokens of context": MAX_CONTEXT,
    }


@pytest.mark.parametrize("row", [row for row in rows("docs/limits.md", under="| what |") if row[1]], ids=lambda r: r[0])
def test_limits(row):
    what, default, where, _ = row
    expected = _defaults()[(names(where) or [what])[0]]
    assert _number(default) == expected


def test_every_limit_is_listed():
    listed = {name for row in rows("docs/limits.md", under="| what |") for name in names(row[2])}
    assert {f"Limits({field.name}=…)" for field in fields(Limits)} <= listed
    assert {f"Timeouts({field.name}=…)" for field in fields(Timeouts)} <= listed
    assert {f"Pacing({field.name}=…)" for field in fields(Pacing)} <= listed


def test_failures():
    for where, default, _ in rows("docs/failures.md", under="| knob |"):
        if len(names(where)) == 1 and names(where)[0] in _defaults():
            assert _number(default) == _defaults()[names(where)[0]], where
    text = (ROOT / "docs/failures.md").read_text("utf-8")
    assert f"failed {FAILURES} times in a row is left out for {OPEN_S:.0f} seconds" in text
    assert f"{BASE_S} · 2ⁿ⁻¹ seconds, at most {CAP_S:.0f}" in text


def test_timeouts():
    for where, default, _ in rows("docs/streaming.md", under="| | default |"):
        assert _number(default) == _defaults()[names(where)[0]], where


def test_waits_and_repeats():
    assert f"{BASE_S} s, doubled each time up to {CAP_S:.0f} s" in (ROOT / "docs/models.md").read_text("utf-8")
    assert f"| {HINT_AFTER}, then {STOP_AFTER} |" in (ROOT / "docs/limits.md").read_text("utf-8")


def test_events():
    listed = {names(event)[0]: names(has) for event, has, _ in rows("docs/streaming.md", under="| event |")}
    told = typing.get_args(events.Event)
    assert listed == {event.__name__: _fields(event) for event in told}


@pytest.mark.parametrize(
    ("under", "effects"),
    [("| the run's next step |", loop.Effect | loop.Finished), ("| a flow yields |", flow.FlowEffect)],
)
def test_effects(under, effects):
    listed = [names(effect)[0] for effect, _ in rows("docs/how-it-works.md", under=under)]
    assert listed == [effect.__name__ for effect in typing.get_args(effects)]


def _fields(event: Any) -> list[str]:
    return [field.name for field in fields(event) if field.name != "step"]


def test_options_of_tools():
    listed = [name for row in rows("docs/tools.md", under="| option |") for name in names(row[0])]
    options = [name for name in inspect.signature(tool).parameters if name not in ("function", "options")]
    shown = typing.get_overloads(tool)[-1]
    assert sorted(listed) == sorted(options or inspect.signature(shown).parameters)


def test_items_of_scripts():
    listed = {
        name.partition("(")[0]
        for row in rows("docs/testing.md", under="| item of a script |")
        for name in names(row[0])
    }
    assert listed == {
        name for name in testing.__all__ if getattr(testing, name).__module__ == "agentkit.testing.script"
    }


def test_the_tree_of_errors():
    docstring = ast.get_docstring(ast.parse((ROOT / "agentkit/errors.py").read_text("utf-8"))) or ""
    assert docstring.split("```")[1].strip() in (ROOT / "docs/errors.md").read_text("utf-8")


def test_every_example_is_in_the_map():
    listed = {
        name for row in rows("examples/README.md", under="| I want to… |") for name in re.findall(r"\((.+)\)", row[1])
    }
    assert listed == {path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".ipynb")}


def test_every_page_is_in_the_index():
    text = (ROOT / "docs/index.md").read_text("utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md" and page.name not in text]
    assert missing == []
