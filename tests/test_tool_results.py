"""What a call of a tool gives the model: values, errors, timeouts, further attempts."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import pathlib
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agentkit import Agent, Audio, Context, File, Image, Limits, Retry, ToolResult, tool
from agentkit.context import TookTooLong
from agentkit.errors import ModelError, ToolFailed
from agentkit.testing import ScriptedModel, call, calls, say
from agentkit.toolcalls import result_of, shortened
from agentkit.transcript import CallRecord
from tests.drivers import DRIVERS

drivers = pytest.mark.parametrize("driver", DRIVERS)


class Point(BaseModel):
    x: int
    label: str = "é"


@dataclass
class Pair:
    left: int
    right: "Pair | None" = None  # noqa: UP037


class Size(NamedTuple):
    width: int
    height: int


class Colour(enum.Enum):
    RED = "red"


class Odd:
    pass


def made(value: Any, **options: Any) -> ToolResult:
    """The result of a tool that returns this."""
    return result_of(tool(**options)(give), value)


def give() -> None:
    """Give."""


PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,UE5H"}}
WAV = {"type": "input_audio", "input_audio": {"data": "V0FW", "format": "wav"}}
PDF = {"type": "file", "file": {"file_data": "data:application/pdf;base64,UERG", "filename": "a.pdf"}}

VALUES: list[tuple[Any, str]] = [
    ("as it is", "as it is"),
    ("", ""),
    ("a\ud83d", "a\ud83d"),
    (None, ""),
    (3, "3"),
    (0.5, "0.5"),
    (True, "true"),
    (10**30, "1" + 30 * "0"),
    (decimal.Decimal("1.10"), '"1.10"'),
    (Point(x=1), '{"x":1,"label":"é"}'),
    ([Point(x=1), Point(x=2, label="b")], '[{"x":1,"label":"é"},{"x":2,"label":"b"}]'),
    (Pair(1, Pair(2)), '{"left":1,"right":{"left":2,"right":null}}'),
    (Size(1, 2), "[1,2]"),
    (Colour.RED, '"red"'),
    (dt.date(2026, 1, 2), '"2026-01-02"'),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), '"2026-01-02T03:04:05Z"'),
    (dt.timedelta(hours=1), '"PT1H"'),
    (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    (pathlib.Path("/a/b"), '"/a/b"'),
    (["a\udcff"], '["a\\udcff"]'),
    ({"a": [1, None], "b": {"c": dt.date(2026, 1, 2)}}, '{"a":[1,null],"b":{"c":"2026-01-02"}}'),
    ((1, "x"), '[1,"x"]'),
    ({3}, "[3]"),
    ({1: "one"}, '{"1":"one"}'),
    ([], "[]"),
    (b"text", '"text"'),
]


@pytest.mark.parametrize(("value", "content"), VALUES, ids=[repr(value)[:30] for value, _ in VALUES])
def test_a_value_is_told_as_text_or_json(value: Any, content: str) -> None:
    result = made(value)
    assert (result.content, result.status, result.parts, result.error) == (content, "ok", (), None)
    assert result.value is value


def endless() -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def deep() -> Any:
    value: Any = 1
    for _ in range(5_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Odd(), "Odd"),
        ([Odd()], "list"),
        (b"\xff\xfe", "bytes"),
        ({"a": b"\xff"}, "dict"),
        (endless(), "list"),
        (deep(), "list"),
        ([Image(b"PNG"), Odd()], "list"),
    ],
    ids=["object", "in a list", "bytes", "in a dict", "endless", "deep", "beside an image"],
)
def test_what_cannot_be_written_is_a_clear_error(value: Any, kind: str) -> None:
    result = made(value)
    assert result.status == "failed"
    assert result.content == f"give returned a {kind}, which cannot be written as JSON."
    assert result.error
    assert isinstance(result.raised, Exception)


@pytest.mark.parametrize(
    ("value", "content", "parts"),
    [
        (Image(b"PNG"), "(1 attached in the next message: image_url)", (PNG,)),
        (Audio(b"WAV"), "(1 attached in the next message: input_audio)", (WAV,)),
        (File(b"PDF", "a.pdf"), "(1 attached in the next message: file)", (PDF,)),
        ([Image(b"PNG"), File(b"PDF", "a.pdf")], "(2 attached in the next message: image_url, file)", (PNG, PDF)),
        (("a cat", Image(b"PNG")), "a cat\n(1 attached in the next message: image_url)", (PNG,)),
        ([Image(b"PNG"), {"n": 1}], '{"n":1}\n(1 attached in the next message: image_url)', (PNG,)),
    ],
    ids=["image", "audio", "file", "several", "with text", "with json"],
)
def test_images_and_files_stand_beside_the_text(value: Any, content: str, parts: tuple[dict[str, Any], ...]) -> None:
    result = made(value)
    assert (result.content, result.parts, result.status) == (content, parts, "ok")


def test_parts_come_in_a_user_message_after_all_results() -> None:
    def look() -> Image:
        """Look."""
        return Image(b"PNG")

    model = ScriptedModel([calls(call("look"), call("give"), call("look")), say("ok")])
    Agent(model, tools=[look, give]).run_sync("x")
    roles = [message["role"] for message in model.requests[1].messages]
    assert roles == ["user", "assistant", "tool", "tool", "tool", "user"]
    assert model.requests[1].messages[-1]["content"] == [PNG, PNG]


def test_a_tool_result_of_ones_own_is_taken_as_it_is() -> None:
    own = ToolResult("no", "denied", error="because")
    assert made(own) is own


@given(st.text(max_size=300), st.integers(1, 200))
def test_a_long_text_keeps_head_and_tail_and_says_what_is_missing(text: str, limit: int) -> None:
    short = shortened(text, limit)
    if len(text) <= limit:
        assert short == text
        return
    marker = f" of {len(text)} characters left out …\n"
    head, found, tail = short.rpartition(marker)
    assert found
    head, _, count = head.rpartition("\n… ")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) + len(tail) + int(count) == len(text)
    assert len(short) <= max(limit, len("\n… ") + len(count) + len(marker))


def test_long_results_are_shortened() -> None:
    result = made("a" * 600 + "z" * 400, max_output_chars=100)
    assert result.content == "a" * 42 + "\n… 938 of 1000 characters left out …\n" + "z" * 20
    assert result.value == "a" * 600 + "z" * 400
    assert made("x" * 100_000).content == "x" * 100_000
    assert len(made("x" * 100_001).content) < 100_001
    assert "characters left out" in made([1] * 100, max_output_chars=60).content


# Attempts


class Flaky:
    """Fails so many times with these errors, then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.keys: list[str] = []

    def __call__(self, ctx: Context[None]) -> str:
        """Try."""
        self.keys.append(ctx.idempotency_key)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def record_of(function: Any, driver: str = "sync", **options: Any) -> CallRecord:
    """What became of one call."""
    wrapped = tool(**options)(function)
    agent = Agent(ScriptedModel([call(wrapped.name), say("ok")]), tools=[wrapped])
    (record,) = DRIVERS[driver](agent, "x").tool_calls
    return record


def result(record: CallRecord) -> ToolResult:
    assert record.result is not None
    return record.result


@drivers
def test_an_error_worth_a_retry_is_tried_again_under_the_same_key(driver: str) -> None:
    flaky = Flaky(ConnectionError("1"), TimeoutError("2"))
    record = record_of(flaky, driver, attempts=3, retry_on=(ConnectionError, TimeoutError))
    assert result(record) == ToolResult("done")
    assert len(flaky.keys) == 3
    assert len(set(flaky.keys)) == 1
    assert flaky.keys[0].endswith(":1:0")


@pytest.mark.parametrize(
    ("errors", "times", "told"),
    [
        ([ConnectionError("x")] * 5, 2, "flaky failed with ConnectionError."),
        ([ConnectionResetError("x"), OSError("y")], 2, "flaky failed with OSError."),
        ([OSError("x")], 1, "flaky failed with OSError."),
        ([Retry("say it in lower case")], 1, "say it in lower case"),
        ([ModelError("a run of its own failed")], 1, "a run of its own failed"),
    ],
)
def test_what_is_not_tried_again_is_told(errors: list[Exception], times: int, told: str) -> None:
    flaky = Flaky(*errors)
    record = record_of(flaky, attempts=2, retry_on=ConnectionError)
    assert (result(record).content, result(record).status) == (told, "failed")
    assert result(record).error == f"{type(errors[times - 1]).__name__}: {errors[times - 1]}"
    assert len(flaky.keys) == times


def test_the_error_itself_is_for_the_caller() -> None:
    def secret() -> None:
        """Fail."""
        raise RuntimeError("the password is 1234")

    model = ScriptedModel([call("secret"), say("ok")])
    ended = Agent(model, tools=[secret]).run_sync("x")
    assert "1234" not in str(model.requests[1].messages)
    told = result(ended.tool_calls[0])
    assert told.error == "RuntimeError: the password is 1234"
    assert isinstance(told.raised, RuntimeError)
    raising = Agent(ScriptedModel([call("secret")]), tools=[secret], on_tool_error="raise")
    with pytest.raises(ToolFailed, match="tool secret failed: RuntimeError: the password is 1234") as caught:
        raising.run_sync("x")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert (caught.value.tool, caught.value.call_id) == ("secret", "call_1")


# Timeouts


class Hangs:
    """A sync function that waits until it is let go, and then looks whether anybody still waits for it."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.left = threading.Event()
        self.cancelled: list[bool] = []
        self.threads: list[threading.Thread] = []

    def __call__(self, ctx: Context[None]) -> str:
        """Hang."""
        self.threads.append(threading.current_thread())
        assert self.let_go.wait(20)
        self.cancelled.append(ctx.cancelled)
        self.left.set()
        return "late"


@drivers
def test_a_sync_tool_that_hangs_is_given_up(driver: str) -> None:
    hangs = Hangs()
    record = record_of(hangs, driver, timeout_s=0.3, attempts=3, retry_on=TimeoutError)
    assert result(record).content == "hangs was given up: it took longer than 0.3 seconds."
    assert result(record).status == "failed"
    assert isinstance(result(record).raised, TookTooLong)
    assert len(hangs.threads) == 1  # what may still be at work is not started a second time
    assert hangs.threads[0] is not threading.current_thread()
    assert hangs.threads[0].daemon
    assert hangs.threads[0].is_alive()
    hangs.let_go.set()
    assert hangs.left.wait(20)
    assert hangs.cancelled == [True]


@drivers
def test_an_async_tool_that_hangs_is_cancelled(driver: str) -> None:
    ended: list[str] = []
    left = threading.Event()

    async def hangs(ctx: Context[None]) -> str:
        """Hang."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(f"cancelled, allowed {ctx.allowed_s}, deadline {ctx.deadline is not None}")
            left.set()
        return "late"

    record = record_of(hangs, driver, timeout_s=0.3)
    assert result(record).content == "hangs was given up: it took longer than 0.3 seconds."
    assert left.wait(20)  # in sync a private loop's own thread sees to it
    assert ended == ["cancelled, allowed 0.3, deadline True"]


@drivers
def test_a_tool_in_time_is_none_the_wiser(driver: str) -> None:
    def quick(ctx: Context[None]) -> str:
        """Be quick."""
        return f"{ctx.cancelled} {ctx.allowed_s}"

    assert result(record_of(quick, driver, timeout_s=30)).content == "False 30"


@drivers
def test_the_runs_own_time_limits_a_tool_too(driver: str) -> None:
    def quick(ctx: Context[None]) -> bool:
        """Be quick."""
        return ctx.allowed_s is not None and 0 < ctx.allowed_s <= 25

    agent = Agent(
        ScriptedModel([call("quick"), say("ok")]), tools=[tool(timeout_s=30)(quick)], limits=Limits(seconds=25)
    )
    assert result(DRIVERS[driver](agent, "x").tool_calls[0]).content == "true"


@drivers
def test_a_generator_tells_its_values_on_the_way(driver: str) -> None:
    def count(ctx: Context[None]) -> Iterator[int]:
        """Count."""
        ctx.progress("begun")
        yield from (1, 2)

    told: list[Any] = []
    agent = Agent(ScriptedModel([call("count"), say("ok")]), tools=[count])
    DRIVERS[driver](agent, "x", on_event=lambda event: told.append(getattr(event, "value", None)))
    assert [value for value in told if value is not None] == ["begun", 1, 2]
