from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import pytest
from pydantic import BaseModel, SecretStr
from rich.console import Console

from agentkit import Agent, ChatModel, Context, FallbackModel, Handoff, Limits, Tool, Toolset, Transcript, redact, tool
from agentkit.conversations import Conversations
from agentkit.evals.cases import Outcome, Score
from agentkit.evals.report import Report
from agentkit.history import KeepTurns
from agentkit.messages import Message, ToolCall, ToolSpec
from agentkit.pending import PendingCall
from agentkit.testing import ScriptedModel, call, calls, say
from agentkit.transcript import CallRecord, Entry
from tests.looks.test_html import HOSTILE, checked


def html(value):
    """The text that a notebook shows; what it is made of is looked at."""
    page = checked(value._repr_html_())
    return " ".join(" ".join(data for place, data in page.texts if "style" not in place).split())


def terminal(value, width=100):
    out = io.StringIO()
    Console(file=out, width=width).print(value)
    return out.getvalue()


@dataclass
class Invoice:
    vendor: str
    total: float


class Login(BaseModel):
    user: str
    password: SecretStr


class Odd:
    def __repr__(self):
        return "Odd(<b>)"


@tool(read_only=True, timeout_s=5)
def in_stock(ctx: Context[None], title: str, kind: Literal["new", "used"] = "new", shelves: list[int] | None = None):
    """Tell how many copies of a book there are.

    Args:
        title: The book's title, without its author.
    """
    return 3


@tool(approval=True, exclusive=True)
def order(title: str, copies: int = 1) -> str:
    """Order copies of a book."""
    return f"{copies} of {title}"


SCRIPT = [calls(call("in_stock", title="Dune"), call("in_stock", title=7)), say("There are 3.", usage=(812, 96))]
SHOP = Agent(ScriptedModel([]), tools=[in_stock, order], name="shop", instructions="Be brief.")


def done():
    return SHOP.run_sync("Is there Dune?", model=ScriptedModel(SCRIPT))


def paused():
    return SHOP.run_sync(
        "Order Dune.", transcript=done().transcript, model=ScriptedModel([call("order", title="Dune")])
    )


REPORT = Report(
    "shop",
    [
        Outcome(target="mini", case="one", passed=True, scores={"exact": Score(1)}),
        Outcome(target="mini", case="two", scores={"exact": Score(0.25, "too long")}, answer="seven"),
    ],
)


def test_a_result():
    shown = html(done())
    assert shown.startswith("Result done (stop) agent shop 2 replies 2 tool calls 822 tokens in, ")
    for part in ("There are 3. how it came about user", '{ "title": "Dune" } → 3', "not run", "call_2"):
        assert part in shown
    lines = terminal(done()).splitlines()
    assert lines[0].startswith("Result  done (stop) · agent shop · 2 replies · 2 tool calls · 822 tokens in, ")
    assert lines[1:5] == ["│ There are 3.", "", "how it came about", lines[4]]
    assert [line for line in lines if "→ in_stock" in line][1].startswith("│ → in_stock  not run · +")


def test_a_result_has_what_it_cost():
    model = ChatModel("any-model", base_url="http://127.0.0.1:1/v1")
    result = done()
    for entry in result.transcript:
        entry.cost = 0.25 if entry.author == "model" else None
    assert "$0.50" in html(result)
    assert "$0.50" in terminal(result)
    assert "any-model at http://127.0.0.1:1/v1" in html(Agent(model))


def test_a_paused_result_says_how_to_go_on():
    for shown in (html(paused()), " ".join(terminal(paused()).split())):
        assert "paused: 1 call to be decided" in shown
        assert '"title": "Dune"' in shown and "waits for approval" in shown
        assert 'agent.run_sync(transcript=result.transcript, decisions={"call_3": Approve()})' in shown
        assert "how it came about, after 3 earlier messages" in shown


def test_a_result_that_was_paused_before_its_end():
    result = SHOP.run_sync("Is there Dune?", model=ScriptedModel(SCRIPT), pause=lambda: True)
    for shown in (html(result), " ".join(terminal(result).replace("│", "").split())):
        assert "Result paused agent shop 0 replies" in shown.replace(" ·", "")
        assert "to go on agent.run_sync(transcript=result.transcript) how it came about" in shown
    assert repr(result) == "Result(paused, pending=[])"


def test_what_waits_is_open_and_what_is_done_is_folded():
    for value, is_open in [(done(), False), (paused(), True)]:
        page = checked(value._repr_html_())
        first = next(attributes for tag, attributes in page.tags if attributes.get("class", "").startswith("call"))
        assert ("open" in first) is is_open


@pytest.mark.parametrize(
    ("output", "reply", "shown"),
    [
        (Invoice, '{"vendor": "Ann", "total": 12.5}', 'Invoice { "vendor": "Ann", "total": 12.5 }'),
        (list[int], '{"value": [1, 2]}', "list [ 1, 2 ]"),
        (Login, '{"user": "ann", "password": "s3cret"}', 'Login { "user": "ann", "password": "**********" }'),
    ],
)
def test_typed_outputs(output, reply, shown):
    result = Agent(ScriptedModel([reply]), output=output).run_sync("Read it.")
    assert shown in html(result)
    assert shown in " ".join(terminal(result).replace("│ ", "").split())


@pytest.mark.parametrize(("value", "shown"), [(Odd(), 'Odd "Odd(<b>)"'), (b"\xff", r"bytes b'\xff'")])
def test_outputs_that_are_no_json(value, shown):
    result = Agent(ScriptedModel(["x"]), validators=[lambda output: value]).run_sync("x")
    assert shown in html(result)


def test_a_run_that_ended_before_a_reply():
    assert html(Transcript()) == "Transcript 0 replies · 0 tool calls"
    assert terminal(Transcript()) == "Transcript  0 replies · 0 tool calls\n\n"


def test_agents_in_agents_and_hand_offs():
    inner = Agent(ScriptedModel(["It is on A3.", "On A3."]), name="librarian")
    outer = Agent(ScriptedModel([call("librarian", prompt="Where?"), "On A3."]), tools=[inner.as_tool()], name="desk")
    result = outer.run_sync("Where is it?")
    assert "its own conversation 1 reply · 0 tool calls" in html(result)
    assert "│ │ model  step 1 · agent librarian" in terminal(result)
    front = Agent(ScriptedModel([call("transfer_to_librarian")]), name="front", handoffs=[Handoff(inner)])
    assert "agent librarian" in html(front.run_sync("Where is it?"))
    assert "hands over to librarian" in html(front)
    assert "asks another agent" in html(outer)


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (
            in_stock,
            (
                "Tool in_stock read-only at most 5 s in_stock(title: str, kind: Literal['new', 'used'] = 'new', "
                "shelves: list[int] | None = None) Tell how many"
            ),
        ),
        (order, "Tool order needs approval runs alone order(title: str, copies: int = 1) -> str Order copies"),
        (in_stock.renamed("look"), "Tool look read-only at most 5 s look(title: str,"),
        (tool(name="now", approval=lambda call: True)(lambda: 1), "Tool now may need approval now()"),
        (tool(name="now", enabled=False)(lambda: 1), "Tool now not offered now()"),
        (tool(name="now", enabled=lambda: True)(lambda: 1), "Tool now offered on a condition now()"),
        (tool(name="now", attempts=3, retry_on=OSError)(lambda: 1), "Tool now up to 3 attempts now()"),
        (tool(name="now", exclusive="clock", strict=True)(lambda: 1), "Tool now one at a time with clock strict now()"),
        (
            Tool.of(
                ToolSpec("look", "", {"properties": {"page": {"type": "integer"}, "to": {}}, "required": ["page"]})
            ),
            "Tool look answered by the caller look(page: integer, [to: anything])",
        ),
    ],
)
def test_tools(made, shown):
    assert html(made).startswith(shown)
    assert " ".join(terminal(made, 200).replace("│ ", "").replace(" · ", " ").split()).startswith(shown)


def test_the_parameters_of_a_tool():
    rows = [line.split("  ") for line in terminal(in_stock).splitlines()[3:]]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["parameter", "type", "default", "description"],
        ["title", "string", "required", "The book's title, without its author."],
        ["kind", "'new' | 'used'", '"new"'],
        ["shelves", "array of integer | null", "null"],
    ]
    assert "title string required The book's title" in html(in_stock)
    assert "description" not in html(order)  # no parameter has one


def test_an_agent():
    agent = SHOP.with_(
        output=Invoice,
        settings={"temperature": 0},
        limits=Limits(steps=8, seconds=2.5),
        instructions=["Be brief.", lambda: "It is noon."],
        history=KeepTurns(3),
        input_guards=[lambda prompt: None],
        validators=[lambda output: output],
    )
    for shown in (html(agent), " ".join(terminal(agent, 200).split())):
        assert shown.startswith("Agent shop model scripted output Invoice settings temperature=0")
        for part in (
            "limits steps=8, seconds=2.5, corrections=3",
            "1 guard of inputs",
            "KeepTurns",
            "validators <lambda>",
        ):
            assert part in shown
        assert "instructions, and 1 function of the moment" in shown
        assert "order Order copies of a book. needs approval, runs alone" in shown
    assert "gpt-5 / gpt-5-mini" in html(Agent(FallbackModel("openai:gpt-5", "openai:gpt-5-mini")))


def test_toolsets():
    fixed = Toolset([in_stock, order], name="books")
    assert html(fixed).startswith("Toolset books 2 tools tool what it does in_stock Tell how many")
    assert "more are loaded when it runs" in html(fixed + Toolset(load=list))
    assert "what is offered hangs on the moment" in html(fixed.when(lambda: True))
    assert "in_stock Tell how many" in html(Agent("openai:gpt-5", tools=[fixed.when(lambda: True)]))


@pytest.mark.parametrize(
    ("hold", "decision"), [("approval", "Approve()"), ("unknown", "Approve()"), ("answer", "Answer(…)")]
)
def test_pending_calls(hold, decision):
    pending = PendingCall("a/b", ToolCall("b", "order", '{"title": "Dune"}'), hold, "key")
    for shown in (html(pending), " ".join(terminal(pending).replace("│", "").split())):
        assert '"title": "Dune"' in shown
        assert f'decisions={{"a/b": {decision}}}' in shown


def test_reports():
    assert html(REPORT) == (
        "Report shop 1 of 2 passed case mini one 1.00 (1/1) two 0.25 (0/1) passed 1/2 mean exact 0.62 "
        "median seconds 0.0 not passed mini, two #1: exact 0.25 (too long): seven"
    )
    assert "│ mini, two #1: exact 0.25 (too long): seven" in terminal(REPORT)
    assert html(Report("none", [])) == "Report none 0 of 0 passed"


def hostile_values(text):
    """Values that have a text wherever a stranger's may stand."""
    bad = Tool.of(ToolSpec("bad", text, {"properties": {text: {"type": text, "description": text, "default": text}}}))
    pending = PendingCall(text, ToolCall(text, text, text), "approval", text)
    agent = Agent(
        ScriptedModel([call("bad", x=text)]), tools=[bad], name=text or "x", instructions=text, output=Invoice
    )
    result = agent.run_sync(text or "x")
    failing = Report(text, [Outcome(target=text, case=text, answer=text, error=text)])
    typed = Agent(ScriptedModel(["x"]), validators=[lambda output: {text: text}]).run_sync("x")
    said = Agent(ScriptedModel([say(text or "x", reasoning=text)])).run_sync("x")
    return [bad, pending, agent, result, failing, typed, said, Toolset([bad], name=text)]


@pytest.mark.parametrize("text", [*HOSTILE, "\x1b[2Jgone\x07 \u202etxt.exe \x9b1m [bold]loud[/] [link=x]y"])
def test_hostile_text_is_text(text):
    for value in hostile_values(text):
        checked(value._repr_html_())
        assert not set("\x1b\x07\x08\x7f\x9b\u202e\ud800") & set(terminal(value))
    if "[bold]" in text:
        assert all(
            "[bold]loud[/] [link=x]y" in " ".join(terminal(value, 500).split()) for value in hostile_values(text)
        )


@pytest.mark.parametrize(
    "value", [done, paused, lambda: in_stock, lambda: SHOP, lambda: REPORT, lambda: paused().pending[0]]
)
def test_the_repr_is_one_short_line(value):
    assert len(repr(value())) < 200
    assert "\n" not in repr(value())


def test_the_repr_of_a_result():
    assert repr(done()) == "Result('There are 3.', tool_calls=2)"
    assert repr(paused()) == "Result(paused, pending=['order'])"
    assert repr(paused().pending[0]) == """PendingCall('call_3', order, '{"title": "Dune"}', hold='approval')"""
    long = Agent(ScriptedModel(["line\n" * 100])).run_sync("x")
    assert len(repr(long)) < 120


def test_no_key_is_shown(tmp_path):
    model = ChatModel("any", base_url="https://ann:very-secret@host.example/v1", api_key="sk-very-secret")
    agent = Agent(
        model,
        settings={"extra_headers": {"Authorization": "very-secret"}, "extra_body": {"api_key": "very-secret"}},
        store=Conversations(f"sqlite:///{tmp_path}/very-secret.db"),
    )
    for shown in (html(agent), terminal(agent), repr(agent)):
        assert "very-secret" not in shown
    assert "extra_headers=…, extra_body=…" in html(agent) or "extra_body=…, extra_headers=…" in html(agent)
    assert "kept by Conversations" in html(agent)


def test_the_user_s_redactor_is_heeded():
    agent = Agent(ScriptedModel([call("order", title="4111"), "4111"]), tools=[order], instructions="4111")
    typed = Agent(ScriptedModel(["x"]), validators=[lambda output: {"card": "4111"}]).run_sync("4111")
    result = agent.run_sync("4111")
    redact(lambda text: text.replace("4111", "…"))
    try:
        for value in (result, result.transcript, result.pending[0], agent, typed):
            assert "4111" not in html(value) + terminal(value)
    finally:
        redact(None)


def classes(shown):
    """The classes of a look's elements, in order."""
    return [attributes["class"] for _, attributes in checked(shown).tags if "class" in attributes]


def test_what_is_huge_is_cut():
    entries = [{"role": "user", "content": f"question {index}: " + "word " * 2000} for index in range(1000)]
    many = [{"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in range(500)]
    entries.append({"role": "assistant", "content": None, "tool_calls": many})
    transcript = Transcript.load(entries)
    shown = transcript._repr_html_()
    assert len(shown) < 300_000
    assert "2,012 more characters" in shown
    assert "… 961 more messages …" in shown
    assert "… 460 more calls …" in shown
    assert "question 0:" in shown and "question 999:" in shown
    assert sum(name == "user" for name in classes(shown)) == 39
    assert sum(name.startswith("call") for name in classes(shown)) == 40
    told = terminal(transcript)
    assert "… 901 more messages …" in told
    assert told.count("\nuser") == 99


def test_agents_in_agents_do_not_add_up_without_end():
    transcript = Transcript.load([{"role": "user", "content": "word " * 5000}] * 40)
    for _ in range(2):
        asked = ToolCall("c", "ask")
        message = Message({"role": "assistant", "content": None, "tool_calls": [asked.data] * 8})
        transcript = Transcript([Entry(message, calls=(CallRecord(asked, transcript=transcript),) * 8)])
    assert len(transcript._repr_html_()) < 400_000


@pytest.mark.parametrize(("size", "is_shown"), [(1_000, True), (300_000, False)])
def test_images(size, is_shown):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}
    transcript = Transcript.load([{"role": "user", "content": [image]}])
    assert ("<img" in transcript._repr_html_()) is is_shown
    assert f"image: data:image/png;base64, {size + 22} characters" in transcript._repr_html_()


def test_a_look_needs_no_rich_and_importing_agentkit_no_look():
    probe = (
        "import sys, agentkit; assert 'agentkit.looks' not in sys.modules;"
        "agentkit.Transcript()._repr_html_(); assert 'rich' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
