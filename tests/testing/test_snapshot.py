"""A transcript as text: the same for the same conversation, whatever the time, the ids and the model."""

from __future__ import annotations

from typing import Any

from inline_snapshot import snapshot

from agentkit import Agent, Image, Result, Transcript, tool
from agentkit.testing import ScriptedModel, call, calls, say, snapshot_of


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool(approval=True)
def erase(path: str) -> str:
    """Erase a file."""
    return "gone"


def run() -> Result[Any]:
    helper = Agent(ScriptedModel([call("add", a=1, b=1), "2"]), tools=[add], name="helper").as_tool()
    script = [
        calls(call("add", a=1, b=2), call("add", a="x", b=2), text="Let me see.\n\nTwo calls."),
        call("helper", prompt="1 + 1?"),
        calls(call("erase", path="/tmp/a"), reasoning="Then it is gone."),
    ]
    return Agent(ScriptedModel(script), tools=[add, helper, erase]).run_sync(["Look:", Image("https://h/i.png")])


def test_a_conversation_as_text() -> None:
    result = run()
    assert snapshot_of(result) == snapshot("""\
user:
  Look:
  [image_url]
assistant:
  Let me see.

  Two calls.
  → add(a=1, b=2)
  ← 3
  → add(a="x", b=2)
  ← not_run:
    add was not run, its arguments are wrong:
    - `a` should be an integer, not "x"
assistant:
  → helper(prompt="1 + 1?")
    user: 1 + 1?
    assistant:
      → add(a=1, b=1)
      ← 2
    assistant: 2
  ← 2
assistant:
  reasoning: Then it is gone.
  → erase(path="/tmp/a")
  ← (waits: approval)\
""")
    assert snapshot_of(result) == snapshot_of(run()) == snapshot_of(Transcript.load(result.transcript.dump()))


def test_what_is_other_each_time_can_be_hidden() -> None:
    result = Agent(ScriptedModel(["Order 4711 of 2026-11-24"])).run_sync("go")
    assert snapshot_of(result, hide=[r"\d{4}-\d\d-\d\d", r"\b\d{4}\b"]) == "user: go\nassistant: Order … of …"


def test_an_unusual_end_is_told() -> None:
    result = Agent(ScriptedModel([say("half", finish_reason="length")])).run_sync("go")
    assert snapshot_of(result) == "user: go\nassistant: half\n  (finish_reason length)"


def test_the_loops_own_messages_and_refusals_are_told_apart() -> None:
    result = Agent(ScriptedModel(["one", '{"n": 1}', '{"n": 1}']), output=dict[str, int]).run_sync("go")
    assert "user (loop):" in snapshot_of(result)
    plain = Transcript.load(
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "refusal": "I won't"}]
    )
    assert snapshot_of(plain) == "user: x\nassistant:\n  refusal: I won't"


def test_arguments_that_are_no_json_are_shown_as_they_came() -> None:
    broken = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{oops"}}]}
    text = snapshot_of(Transcript.load([{"role": "user", "content": "x"}, broken], trusted=True))
    assert text.endswith("  → f({oops)\n  ← (no result)")
