from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentkit import Agent, ChatModel, Context, Image, Retry, ToolCall, ToolResult, tool
from agentkit.errors import EndpointError, RateLimitError
from agentkit.events import (
    Event,
    ReasoningDelta,
    Restarted,
    Retrying,
    StepFinished,
    TextDelta,
    ToolCallDelta,
    ToolDropped,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.printing import Printer, print_events, print_events_async
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, cut, fixed_clock, say, status

TOKYO = ToolCall("call_1", "time_in", '{"city":"Tokyo"}')
OSLO = ToolCall("call_2", "time_in", '{"city":"Oslo"}')


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    with fixed_clock() as fixed:
        yield fixed


def printed(*events: Event, **options: Any) -> str:
    file = io.StringIO()
    printer = Printer(file, **options)
    for event in events:
        printer(event)
    return file.getvalue()


def time_in(ctx: Context[Callable[[], None]], city: str) -> str:
    """Tell the time."""
    if city == "Atlantis":
        raise Retry("There is no city 'Atlantis'.")
    ctx.deps()
    return "21:40"


RUN = [
    say(["Let me ", "think."], reasoning="Which day?"),
    calls(call("time_in", city="Tokyo"), text="I look it up."),
    call("time_in", city="Atlantis"),
    say("It is 21:40.", usage={"prompt_tokens": 1000, "completion_tokens": 5, "total_tokens": 1005}),
]
SHOWN = """\
I look it up.
→ time_in(city="Tokyo")
← time_in: 21:40 (1.5 s)
→ time_in(city="Atlantis")
← time_in failed: There is no city 'Atlantis'. (0.0 s)
It is 21:40.
3 steps · 2 tool calls · 1020 tokens in, 15 out
"""


def test_a_run_is_shown(clock):
    def wait() -> None:
        clock.at += 1.5

    shown = {}
    for way in ("run_sync", "stream_sync"):
        agent = Agent(ScriptedModel(RUN[1:]), tools=[tool(inline=True)(time_in)])
        file = io.StringIO()
        if way == "run_sync":
            agent.run_sync("What time is it?", deps=wait, on_event=Printer(file))
        else:
            with agent.stream_sync("What time is it?", deps=wait) as run:
                print_events(run, file=file)
        shown[way] = file.getvalue()
    assert shown == {"run_sync": SHOWN, "stream_sync": SHOWN}


async def test_a_run_is_shown_async():
    agent = Agent(ScriptedModel(RUN[1:]), tools=[time_in])
    file = io.StringIO()
    async with agent.stream("What time is it?", deps=lambda: None) as run:
        await print_events_async(run, file=file)
    assert file.getvalue() == SHOWN.replace("1.5 s", "0.0 s")


def test_a_model_alone_is_shown():
    file = io.StringIO()
    with ScriptedModel(RUN).stream_sync("Think.") as stream:
        print_events(stream, file=file)
    assert file.getvalue() == "(Which day?)\nLet me think.\n"


def test_what_broke_is_shown():
    script = [
        status(429, headers={"retry-after": "2"}),
        cut(say("It is half past nine."), after_events=4),
        say("21:40"),
    ]
    file = io.StringIO()
    with FakeEndpoint(script) as fake:
        model = ChatModel("any", base_url=fake.base_url, api_key=fake.api_key)
        with Agent(model).stream_sync("What time is it?", resume_stream=True) as run:
            print_events(run, file=file)
    first, text, second, anew, *rest = file.getvalue().splitlines()
    assert first == "! attempt 1 failed, the next in 2.0 s: HTTP 429: Too Many Requests"
    assert text == "It is half"
    assert second.startswith("! attempt 2 failed, the next in ")
    assert anew == "! the reply begins anew: what came of it so far does not count"
    assert rest == ["21:40", "1 step · 10 tokens in, 5 out"]


def test_an_error_ends_the_line_and_passes():
    file = io.StringIO()
    with FakeEndpoint([cut(say("Half a"), after_events=3)]) as fake:
        model = ChatModel("any", base_url=fake.base_url, api_key=fake.api_key)
        with Agent(model).stream_sync("What time is it?") as run, pytest.raises(EndpointError):
            print_events(run, file=file)
    assert file.getvalue() == "Half a\n"


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ([TextDelta("a"), TextDelta("b"), ReasoningDelta("c"), TextDelta("d\n"), StepFinished(None)], "ab\n(c)\nd\n"),
        ([TextDelta("one"), TextDelta("two", choice=1), ReasoningDelta("three", choice=1)], "one"),
        ([ToolCallDelta(0, "time_in", '{"ci'), TextDelta("")], ""),
        ([ToolStarted(ToolCall("1", "now"))], "→ now()\n"),
        ([ToolStarted(ToolCall("1", "say", '{"text":"a\\nb","n":[1,null]}'))], '→ say(text="a\\nb", n=[1,null])\n'),
        ([ToolStarted(ToolCall("1", "say", '{"te'))], '→ say({"te)\n'),
        ([ToolStarted(ToolCall("1", "say", "[1]"))], "→ say([1])\n"),
        ([ToolProgress(TOKYO, {"done": 3})], "  time_in: {'done': 3}\n"),
        ([ToolDropped(TOKYO)], '- time_in(city="Tokyo"): not asked for in the end\n'),
        ([ToolFinished(TOKYO, ToolResult("21:40\n sharp"))], "← time_in: 21:40 sharp\n"),
        ([ToolFinished(TOKYO, ToolResult("Unwanted.", "not_run"))], "← time_in not run: Unwanted.\n"),
        ([ToolFinished(TOKYO, ToolResult("", parts=(Image("x").data,)))], "← time_in:  [image_url]\n"),
        ([Retrying(RateLimitError("slow down"), 1, 0.25)], "! attempt 1 failed, the next in 0.2 s: slow down\n"),
        ([Restarted(EndpointError("cut"))], "! the reply begins anew: what came of it so far does not count\n"),
    ],
)
def test_each_event(events, shown):
    assert printed(*events) == shown


def test_calls_that_run_together_are_told_apart():
    given = ToolCall("", "time_in", '{"city":"Tokyo"}')  # started early, before it had its id
    assert printed(
        ToolStarted(given),
        ToolStarted(OSLO),
        ToolFinished(OSLO, ToolResult("14:40")),
        ToolFinished(TOKYO, ToolResult("21:40")),
    ).splitlines()[2:] == ['← time_in(city="Oslo"): 14:40 (0.0 s)', "← time_in: 21:40 (0.0 s)"]


def test_long_values_are_cut():
    long = ToolCall("1", "say", '{"text":"aaaaaaaaaaaa"}')
    shown = printed(ToolStarted(long), ToolFinished(long, ToolResult("b" * 12)), max_chars=8)
    assert shown == '→ say(text="aaaaaa…)\n← say: bbbbbbb… (0.0 s)\n'


def test_colors():
    events = [
        ReasoningDelta("Hm."),
        TextDelta("Hi"),
        ToolStarted(TOKYO),
        ToolFinished(TOKYO, ToolResult("No.", "failed")),
        Restarted(EndpointError("cut")),
    ]
    assert printed(*events, color=True) == (
        "\x1b[2m(Hm.\x1b[0m\x1b[2m)\n\x1b[0mHi\n"
        '\x1b[1m→ time_in(city="Tokyo")\x1b[0m\n'
        "\x1b[31m← time_in failed: No. (0.0 s)\x1b[0m\n"
        "\x1b[33m! the reply begins anew: what came of it so far does not count\x1b[0m\n"
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("file", "environment", "color"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colors_are_for_terminals(monkeypatch, file, environment, color):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Printer(file).color is color


def test_what_is_said_cannot_steer_the_terminal():
    result = ToolResult("\x1b[2J\x9b31m\x07")
    shown = printed(TextDelta("\x1b]0;title\x07 a\tb\r\nc\x00"), ToolFinished(TOKYO, result), color=False)
    assert shown == "�]0;title� a\tb\nc�\n← time_in: �[2J�31m�\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_file_that_cannot_write_every_letter(encoding):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="")
    Printer(file)(TextDelta("Đà Nẵng \ud800"))
    assert (
        raw.getvalue().decode(encoding) == {"ascii": "?? N?ng ?", "cp1252": "?à N?ng ?", "utf-8": "Đà Nẵng �"}[encoding]
    )


def test_it_prints_to_stdout(capsys):
    Printer()(TextDelta("now"))
    assert capsys.readouterr().out == "now"
