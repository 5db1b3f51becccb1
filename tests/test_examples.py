"""What the examples say, word for word, with a scripted model or a scripted endpoint behind them."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import httpx
import pytest

from agentkit import ChatModel, ToolCall
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, override, say, stall
from tests.loading import EXAMPLES, loaded
from tests.tiers import SOON_S


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Loads an example as a module."""
    monkeypatch.setenv("AGENTKIT_MODEL", "openai:gpt-5-mini")
    return lambda name: loaded(name, monkeypatch)


def printed(name: str, *, typed: str = "") -> str:
    environment = {key: value for key, value in os.environ.items() if key != "AGENTKIT_MODEL"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"],
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


PRINTED = {
    "ask_documents": """\
(corrected: There is no source 'terms.md:12': search, and name sources as they are named there.)
You have 14 days to send a bicycle back.
- returns.md:3: "For bicycles it is 14 days."
""",
    "background_worker": """\
a worker ended with -9
two more ended with 0 0
reminders/Ann | done | Ann has been reminded.
reminders/Bo | done | Bo has been reminded.
reminders/Cy | done | Cy has been reminded.
one letter to Ann, asked for 2 times
one letter to Bo
one letter to Cy
""",
    "bot_that_remembers": """\
I will keep that in mind, Ann.
Apples it is: a plain apple pie.
A lemon tart, without the almonds: you are allergic to nuts.
ann/tart: tart, 3 messages
ann/pie: pie, 5 messages
""",
    "bot_that_survives": """\
the child ended with -9
was it done? pay({"name": "Bo"})
All are paid.
paid: Ann Bo Cy
""",
    "checked_answer": """\
caller: Until when are you open on Saturday?
model: On Saturdays until 18.
loop: On Saturdays the shop closes at 13, not at 18.
model: On Saturdays we close at 13.
""",
    "code_reviewer": """\
(list_files {}: ok)
(read_file {"name": "../secrets.txt"}: failed)
(read_file {"name": "basket.py"}: ok)
basket.py:3: bug: the last price is left out
exit code: 1
""",
    "data_analyst": """\
> Which product brought in the most?
→ {"sql": "SELECT name, sum(count * price) AS total FROM orders JOIN products ON products.id = product \
WHERE status = 'paid' GROUP BY name ORDER BY total DESC"}
← no such column: price. The database can only be read, by one SELECT at a time.
→ {"sql": "SELECT name, sum(count * euros) AS total FROM orders JOIN products ON products.id = product \
WHERE status = 'paid' GROUP BY name ORDER BY total DESC"}
← name | total
  green tea | 143.0
  cup | 80.0
  teapot | 39.0
Green tea brought in the most: 143 euros.
> Delete the orders that were cancelled.
→ {"sql": "DELETE FROM orders WHERE status = 'cancelled'"}
← not authorized. The database can only be read, by one SELECT at a time.
I can only look at the orders, not delete them.
""",
    "extract_folder": """\
0 of 5 had been read, now 3 are
- dora.txt: OverloadedError: HTTP 503: Service Unavailable
- eve.txt: ModelError: the model got it wrong 2 times in a row: The answer is wrong: - `order` should be an integer, \
not null Give the whole answer again, corrected.
3 of 5 had been read, now 4 are
- eve.txt: ModelError: the model got it wrong 2 times in a row: The answer is wrong: - `order` should be an integer, \
not null Give the whole answer again, corrected.
ann.json: {"customer":"Ann Moore","order":112,"wants":"replacement"}
bo.json: {"customer":"Bo Lind","order":97,"wants":"refund"}
cy.json: {"customer":"Cy Tran","order":120,"wants":"answer"}
dora.json: {"customer":"Dora Weiss","order":101,"wants":"refund"}
""",
    "guarded": """\
> Which book would you give to a friend of deserts?
Try Dune, by Frank Herbert.
> Write my homework about the French kings.
I'd rather not: It has nothing to do with books.
""",
    "limits": """\
steps=2 was reached after 3 messages
I have read all three pages. (3 calls in all)
""",
    "long_conversation": """\
(the first 3 entries are summed up)
The first chapter is my favourite.
7 entries are kept, 6050 tokens were used
""",
    "own_model": """\
Your number is safe with me.
Your number is safe with me.
asked 1 time: [{'role': 'user', 'content': 'My number is ….'}]
""",
    "resume_from_dump": """\
charging Ann
charging Bo
stopped: AuthenticationError
Both have paid.
""",
    "support_desk": """\
> My bike squeaks, order 7. What did I pay for it?
   → billing
   price_of: order 7: 640 euros
billing: You paid 640 euros.
> And when can you repair it?
   → repairs
   next_appointment: Thursday at 10
repairs: On Thursday at 10.
> Thank you!
   → desk
desk: You are welcome!
""",
    "telegram_bot": """\
to chat 1: 'Hello!' (6 characters)
to chat 1: 'You are Ann.' (12 characters)
to chat 2: 'Pour hot water over the leaves, and wait' (4080 characters)
to chat 2: 'Pour hot water over the leaves, and wait' (1919 characters)
""",
    "testing_a_bot": """\
test_the_bot_looks_before_it_answers: passed
test_the_bot_without_its_stock: passed
test_the_bot_on_a_bad_day: passed
""",
    "typed_extraction": """\
Ann's Tea Shop: 45.90 euros, due 2026-05-31
- 4 x tea at 6.50
- 1 x pot at 19.90
(corrected: The items add up to 26.40, and total_euros is 45.90. Look again.)
""",
}


SLOW = {"background_worker", "bot_that_survives"}  # they start processes, and wait for a lease to run out


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PRINTED]
)
def test_what_it_prints(name):
    assert printed(name) == PRINTED[name]


def test_the_readers_of_the_research_work_side_by_side():
    *told, answer, usage = printed("research").splitlines()
    assert sorted(told) == [
        '  read {"source": "bees"}: 3200 characters',
        '  read {"source": "bumblebees"}: 2920 characters',
        "reader: A honey bee visits some 50 to 1000 flowers on a trip, depending on the flowers.",
        "reader: Bumblebees fly from 10 degrees on, and work longer days than honey bees.",
    ]
    assert answer.startswith("Honey bees visit up to 1000 flowers")
    assert usage == "90 tokens in all, the readers' among them"


def test_the_approvals_in_the_terminal():
    assert (
        printed("approve_in_terminal", typed="y\nkeep the report\n")
        == """\
The model wants to call delete with {"name": "photo.raw"}.
May it? [y, or why not] The model wants to call delete with {"name": "report.txt"}.
May it? [y, or why not] ok: deleted photo.raw, 48000 kB
denied: This call was denied: keep the report
I made the room that I was allowed to make.
left: report.txt, draft.txt
"""
    )


def test_the_quickstart(example, monkeypatch, capsys):
    quickstart = example("quickstart")
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "Time", "in", "Hanoi?"])
    model = ScriptedModel([call("time_in", city="Hanoi"), call("time_in", city=" hong kong"), "It is late."])
    with override(model=model):
        quickstart.main()
    question, started, failed, again, told, answer, usage = capsys.readouterr().out.splitlines()
    assert (question, started) == ("Time in Hanoi?", '→ time_in(city="Hanoi")')
    assert failed.startswith("← time_in failed: There is no time zone named after 'Hanoi'.")
    assert (again, told[:11]) == ('→ time_in(city=" hong kong")', "← time_in: ")
    assert (answer, usage) == ("It is late.", "3 steps · 2 tool calls · 30 tokens in, 15 out")


def test_the_ten_questions_are_counted(example, monkeypatch, capsys):
    ten = example("ten_questions")
    monkeypatch.setattr(sys, "argv", ["ten_questions.py"])

    def answer(request: Any) -> Any:
        entry = request.transcript.last
        if entry.calls:
            return f"It is {entry.calls[0].result.content}."
        tool, arguments = next((t, a) for q, t, a in ten.QUESTIONS if q == entry.message.text)
        return call(tool, **({"a": 1, "b": 1} if tool == "add" else arguments))

    with override(model=ScriptedModel(answer)):
        assert ten.main() == 0
    *missed, last = capsys.readouterr().out.splitlines()
    assert last == "9 of 10 calls were right, 9 of 10 answers hold the result."
    assert missed == [
        "- What do 1234 and 5678 add up to?",
        "    wanted add({'a': 1234, 'b': 5678})",
        '    called add({"a": 1, "b": 1}): 2.0',
        "    answer 'It is 2.0.'",
    ]


def test_the_ten_questions_can_be_failed(example, monkeypatch, capsys):
    ten = example("ten_questions")
    monkeypatch.setattr(sys, "argv", ["ten_questions.py", "--alone"])
    with override(model=ScriptedModel(lambda _: say("", refusal="No."))):
        assert ten.main() == 1
    assert capsys.readouterr().out.endswith("0 of 10 calls were right, 0 of 10 answers hold the result.\n")


@pytest.mark.parametrize(
    ("answer", "content", "held"),
    [
        ("It is 21:40 in Tokyo.", "21:40", True),
        ("It is 121:40.", "21:40", False),
        ("About 26.1 miles", "26.1", True),
        ("About 26.10 miles", "26.1", False),
        ("About 126.1 miles", "26.1", False),
        ("6,912", "6912.0", True),
        ("6912.", "6912.0", True),
        ("6912.5", "6912.0", False),
        ("16912", "6912.0", False),
        ("", "6912.0", False),
    ],
)
def test_whether_an_answer_holds_a_result(example, answer, content, held):
    assert example("ten_questions").holds(answer, content) is held


@pytest.mark.parametrize(
    ("made", "right"),
    [
        (ToolCall("1", "time_in", '{"city": " tokyo"}'), True),
        (ToolCall("1", "time_in", '{"city": "Kyoto"}'), False),
        (ToolCall("1", "time_in", '{"city": "Tokyo", "zone": 1}'), False),
        (ToolCall("1", "time_at", '{"city": "Tokyo"}'), False),
    ],
)
def test_whether_a_call_is_right(example, made, right):
    assert example("ten_questions").is_right(made, "time_in", {"city": "Tokyo"}) is right


def test_the_streaming_bot(example, monkeypatch, capsys, tmp_path):
    bot = example("streaming_bot")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("alpha")
    monkeypatch.setattr(sys, "stdin", io.StringIO("What is in a.txt?\n\nAnd outside?\nFail.\nStill there?\n"))
    model = ScriptedModel(
        [
            call("list_files"),
            call("read_file", path="a.txt"),
            "alpha",
            call("read_file", path="/etc/passwd"),
            "I cannot see it.",
            say("", refusal="No."),
            "Yes.",
        ]
    )
    with override(model=model):
        bot.main()
    out, err = capsys.readouterr()
    lines = [line.lstrip("> ") for line in out.splitlines()]
    assert [line.partition(" (0.")[0] for line in lines] == [
        "Talking to openai:gpt-5-mini. Ctrl-C stops an answer, Ctrl-D ends.",
        "→ list_files()",
        '← list_files: ["a.txt"]',
        '→ read_file(path="a.txt")',
        "← read_file: alpha",
        "alpha",
        "3 steps · 2 tool calls · 30 tokens in, 15 out",
        '→ read_file(path="/etc/passwd")',
        "← read_file failed: There is no file '/etc/passwd' here; list_files tells which there are.",
        "I cannot see it.",
        "2 steps · 1 tool call · 20 tokens in, 10 out",
        "Yes.",
        "1 step · 10 tokens in, 5 out",
        "",
    ]
    assert err == "ModelError: the model refuses: No.\n"
    said = [message["content"] for message in model.requests[-1].messages if message["role"] == "user"]
    assert said == ["What is in a.txt?", "And outside?", "Fail.", "Still there?"]


def test_the_tools(example, tmp_path):
    tools = example("tools")
    shop = tools.Shop()
    script = [
        calls(
            call("add", a="7", b=5),
            call("order", items=[{"product": "shirt", "count": 2, "size": "L"}]),
            call("order", items=[{"product": "shirt", "count": 0}]),
            call("order", items=[{"product": "cat"}]),
            call("nap", seconds=0),
            call("search", word="class CachingModel"),
            call("read", name="missing.txt"),
            call("count_up"),
        ),
        "done",
    ]
    with override(model=ScriptedModel(script)):
        result = tools.agent.run_sync("Go.", deps=shop)
    told = [record.result.content for record in result.tool_calls]
    assert told[:1] == ["12"]
    assert told[1].startswith("order ") and told[1].endswith(": 2 pieces")
    assert "count" in told[2]
    assert told[3:] == [
        "The shop has no cats; ask for something else.",
        "rested",
        '["own_model.py"]',
        "read failed with FileNotFoundError.",
        "1",
    ]
    assert shop.orders == [tools.Item(product="shirt", count=2, size="L")]


def test_models_alone(example, monkeypatch, capsys):
    script = [say("Blue."), say("One, two, three."), call("double", number=21), say("42")]
    with FakeEndpoint(script) as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", fake.api_key)
        example("models_alone").main()
    first, streamed, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Blue. stop Usage(prompt_tokens=10, ")
    assert (streamed, last) == ("One, two, three. (gpt-5-mini)", "42")
    assert fake.requests[3].messages[2] == {"role": "tool", "tool_call_id": "call_1", "content": "42"}


# FastAPI


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI app on loopback; gives its base URL."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture
def fastapi_example(example, monkeypatch):
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    return example("fastapi_stream")


def events_in(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.strip().split("\n\n"):
        event, data = block.split("\n", 1)
        found.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_the_fastapi_handler(fastapi_example, monkeypatch):
    script = [call("time_in", zone="Asia/Ho_Chi_Minh"), say("It is late."), say("", refusal="No.")]
    with FakeEndpoint(script) as fake:
        monkeypatch.setattr(fastapi_example, "agent", fastapi_example.agent.with_(model=_model(fake)))
        with served(fastapi_example.app) as url:
            first = httpx.post(f"{url}/ask", json={"question": "What time is it?"})
            told = events_in(first.text)
            second = httpx.post(f"{url}/ask", json={"question": "And now?", "messages": told[-1][1]})
    assert first.headers["content-type"].startswith("text/event-stream")
    assert [event for event, _ in told] == ["call", "result", "text", "text", "text", "done"]
    assert told[0][1] == {"name": "time_in", "arguments": '{"zone": "Asia/Ho_Chi_Minh"}'}
    assert "".join(data for event, data in told if event == "text") == "It is late."
    assert [message["role"] for message in told[-1][1]] == ["user", "assistant", "tool", "assistant"]
    assert fake.requests[2].messages[:4] == told[-1][1]
    assert events_in(second.text) == [("error", "ModelError")]


def test_a_client_of_the_fastapi_handler_that_leaves_ends_the_run(fastapi_example, monkeypatch):
    with FakeEndpoint([stall(say("It is late, so late."), after_events=3)]) as fake:
        monkeypatch.setattr(fastapi_example, "agent", fastapi_example.agent.with_(model=_model(fake)))
        with served(fastapi_example.app) as url:
            with httpx.stream("POST", f"{url}/ask", json={"question": "What time is it?"}) as response:
                next(response.iter_bytes())
            assert fake.requests[0].disconnected.wait(SOON_S)


def _model(fake: FakeEndpoint) -> Any:
    return ChatModel("any-model", base_url=fake.base_url, api_key=fake.api_key)
