"""Typed answers in whole runs: each kind of type, however it is asked for and given, wrong at first and for ever."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import pytest
from anyio.lowlevel import checkpoint
from pydantic import BaseModel

from agentkit import Agent, ChatModel, Context, Limits, Output, Retry, ToolCall, Transcript
from agentkit.chat.dialects import DIALECTS
from agentkit.errors import AgentKitError, ContentFilterError, ModelError, UsageError
from agentkit.landing import CUT, NOT_YET, ONE_ANSWER, PASSED_BY
from agentkit.output import MISSING
from agentkit.testing import FakeEndpoint, ScriptedModel, call, calls, say
from agentkit.testing.script import Request, Step
from tests.answers import Cat, Colour, Dog, Invoice, Point, Row
from tests.drivers import DRIVERS, outcome, some_driver
from tests.scenarios import add
from tests.test_scenarios import assert_each_call_has_one_result

# The type; what a model may say by mistake; what is right; the value.
KINDS: dict[str, tuple[Any, str, str, Any]] = {
    "model": (Invoice, '{"vendor": 3}', '{"vendor": "Ann", "total": 2}', Invoice(vendor="Ann", total=2)),
    "dataclass": (Point, '{"x": "one"}', '{"x": 1, "label": "a"}', Point(1, 0, "a")),
    "TypedDict": (Row, '{"key": "a"}', '{"key": "a", "count": 2}', {"key": "a", "count": 2}),
    "Literal": (Literal["yes", "no"], '{"value": "maybe"}', '{"value": "yes"}', "yes"),
    "union": (
        Cat | Dog,
        '{"value": {"kind": "cow"}}',
        '{"value": {"kind": "dog", "name": "R"}}',
        Dog(kind="dog", name="R"),
    ),
    "list": (list[int], '{"value": [1, "x"]}', '{"value": [1, 2]}', [1, 2]),
    "int": (int, '{"value": "many"}', '{"value": 3}', 3),
    "Optional": (int | None, '{"value": "x"}', '{"value": null}', None),
    "Enum": (Colour, '{"value": "green"}', '{"value": "red"}', Colour.RED),
}
kinds = pytest.mark.parametrize("kind", KINDS)
drivers = pytest.mark.parametrize("driver", DRIVERS)
ways = pytest.mark.parametrize("way", ["text", "call"])


def given(way: str, text: str, name: str = "final_answer") -> Step:
    """An answer, said or as the call of the output tool."""
    return say(text) if way == "text" else calls(ToolCall("", name, text))


def told(model: ScriptedModel) -> list[str]:
    """What the model was told after its answers: corrections and results."""
    return [m["content"] for m in model.requests[-1].messages if m["role"] in ("tool", "user")][1:]


@drivers
@ways
@kinds
def test_a_wrong_answer_is_corrected(kind: str, way: str, driver: str) -> None:
    of, wrong, right, value = KINDS[kind]
    model = ScriptedModel([given(way, wrong), given(way, right)])
    result = DRIVERS[driver](Agent(model, output=of), "please")
    assert (result.output, type(result.output)) == (value, type(value))
    assert len(model.requests) == 2
    (problem,) = told(model)
    assert "should be" in problem or "is missing" in problem
    assert_each_call_has_one_result(result.transcript.messages)
    assert Transcript.load(result.transcript.dump()) == result.transcript
    # finished is finished, and read again it is the same
    again = Agent(ScriptedModel([]), output=of).run_sync(transcript=Transcript.load(result.transcript.dump()))
    assert again.output == value
    assert again.transcript == result.transcript


# Which dialect, and by what each mode asks there: without tools, and beside them.
ASKED = {
    "openai": {"native": "native", "tool": "tool", "prompted": "prompted", "auto": ("native", "native")},
    "deepseek": {"native": "prompted", "tool": "tool", "prompted": "prompted", "auto": ("tool", "tool")},
    "llamacpp": {
        "native": ("native", "prompted"),
        "tool": "tool",
        "prompted": "prompted",
        "auto": ("native", "tool"),
    },
    "groq": {"auto": ("native", "native")},
    "ollama": {"auto": ("native", "native")},
}


def asked_by(request: Request) -> str:
    """How a request asks for its answer."""
    if "final_answer" in [each["function"]["name"] for each in request.json.get("tools", ())]:
        assert request.json["tool_choice"] == "required"
        return "tool"
    if request.json.get("response_format", {}).get("type") == "json_schema":
        return "native"
    assert "JSON Schema" in request.messages[0]["content"]
    return "prompted"


@pytest.mark.sampled(90, each="kind dialect+mode tools")
@pytest.mark.parametrize("tools", [(), (add,)], ids=["alone", "beside tools"])
@pytest.mark.parametrize(("dialect", "mode"), [(name, mode) for name, modes in ASKED.items() for mode in modes])
@kinds
def test_over_the_wire(kind: str, dialect: str, mode: Any, tools: tuple[Any, ...]) -> None:
    of, wrong, right, value = KINDS[kind]
    way = ASKED[dialect][mode]
    way = way if isinstance(way, str) else way[bool(tools)]

    def answer(request: Request) -> Step:
        assert asked_by(request) == way
        made = sum(m["role"] == "assistant" for m in request.messages)
        if tools and made == 0:
            return call("add", a=1, b=2)
        return given("call" if way == "tool" else "text", right if made > bool(tools) else wrong)

    with FakeEndpoint(answer) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, dialect=DIALECTS[dialect])
        driver = some_driver(f"{kind} {dialect} {mode} {tools}")
        result = driver(Agent(model, output=Output(of, mode=mode), tools=tools), "please")
        assert result.output == value
        assert len(fake.requests) == 2 + bool(tools)


@ways
@kinds
def test_partial_values_grow_to_the_answer(kind: str, way: str) -> None:
    of, wrong, right, value = KINDS[kind]
    with Agent(ScriptedModel([given(way, wrong), given(way, right)]), output=of).stream_sync("please") as run:
        known = [*run.partials()]
    if isinstance(value, BaseModel) and kind == "model":
        value = value.model_dump(exclude_unset=True)
    elif isinstance(value, Point):
        value = {name: each for name, each in dataclasses.asdict(value).items() if name != "y"}
    assert known[-1] == value
    assert MISSING not in known
    assert all(before != after for before, after in pairwise(known))


@drivers
@ways
def test_wrong_until_no_correction_is_left(way: str, driver: str) -> None:
    model = ScriptedModel([given(way, f'{{"value": "no {n}"}}') for n in range(9)])
    agent = Agent(model, output=int, limits=Limits(corrections=2))
    error = outcome(DRIVERS[driver], agent, "please")
    assert isinstance(error, ModelError)
    assert error.text == '{"value": "no 2"}'
    assert "wrong 3 times in a row" in str(error)
    assert "should be an integer" in str(error)
    assert len(model.requests) == 3
    # it goes on: with another question, or with more patience
    assert error.transcript is not None
    later = Agent(ScriptedModel([given(way, '{"value": 7}')]), output=int)
    more = DRIVERS[driver](later, "And now?", transcript=Transcript.load(error.transcript.dump()))
    assert (more.status, more.output) == ("done", 7)
    assert_each_call_has_one_result(more.transcript.messages)
    patient = ScriptedModel([given(way, '{"value": 8}')])
    agent = Agent(patient, output=int, limits=Limits(corrections=3))
    assert DRIVERS[driver](agent, None, transcript=error.transcript).output == 8


@ways
@pytest.mark.parametrize(
    ("retries", "corrections", "wrong", "ends"),
    [(0, 3, 0, 3), (0, 3, 1, ModelError), (4, 1, 4, 3), (4, 1, 5, ModelError), (None, 1, 2, ModelError)],
)
def test_retries_say_how_often_a_wrong_answer_is_sent_back(
    way: str, retries: int | None, corrections: int, wrong: int, ends: Any
) -> None:
    model = ScriptedModel([given(way, '{"value": "x"}')] * wrong + [given(way, '{"value": 3}')])
    agent = Agent(model, output=Output(int, retries=retries), limits=Limits(corrections=corrections))
    ended = outcome(some_driver(f"{way} {retries} {wrong}"), agent, "please")
    assert type(ended) is ends if isinstance(ends, type) else ended.output == ends


def test_without_retries_a_wrong_call_of_a_tool_is_still_corrected() -> None:
    model = ScriptedModel([call("add", a="x", b=1), call("add", a=1, b=1), '{"value": 2}'])
    agent = Agent(model, tools=[add], output=Output(int, retries=0))
    assert agent.run_sync("please").output == 2


# Answers that are not what was asked for in other ways: the script, what was told in between, how it ends.
def final(value: Any) -> Step:
    return call("final_answer", value=value)


CUT_ANSWER = ToolCall("", "final_answer", '{"val')
CASES: dict[str, tuple[list[Step], list[str] | None, Any, dict[str, Any]]] = {
    "beside another call": (
        [calls(call("add", a=1, b=2), final(3)), final(3)],
        ["3", NOT_YET],
        3,
        {},
    ),
    "beside a call of no tool": (
        [calls(final(3), call("nope")), final(3)],
        [NOT_YET, "There is no tool 'nope'. The tools are: add."],
        3,
        {},
    ),
    "two in one reply": ([calls(final(3), final(4))], None, 3, {}),
    "two in one reply, the first wrong": (
        [calls(final("x"), final(4)), final(5)],
        [
            'final_answer was not accepted, its arguments are wrong:\n- `value` should be an integer, not "x"',
            ONE_ANSWER,
        ],
        5,
        {},
    ),
    "text in place of the call": (['{"value": 3}'], None, 3, {}),
    "bare text in place of the call": (["3"], None, 3, {}),
    "a prefix in front of the name": ([call("functions.final_answer", value=3)], None, 3, {}),
    "text beside the call": ([calls(final(3), text="It is so.")], None, 3, {}),
    "a text that is cut": ([say('{"value": 3', finish_reason="length")], None, ModelError, {}),
    "a text that is cut, which may be returned": (
        [say('{"value": 3', finish_reason="length"), '{"value": 3}'],
        [
            (
                "The answer is wrong:\n- the answer is cut off: its JSON ends too early\n"
                "Give the whole answer again, corrected."
            )
        ],
        3,
        {"on_length": "return"},
    ),
    "a call that is cut": ([calls(CUT_ANSWER, finish_reason="length"), final(3)], [CUT], 3, {}),
    "a whole call before one that is cut": ([calls(final(3), CUT_ANSWER, finish_reason="length")], None, 3, {}),
    "nothing": (["", "3"], ["Your last answer was empty. Answer the question, or call a tool."], 3, {}),
    "a refusal": ([say("", refusal="no")], None, ModelError, {}),
    "filtered": ([say('{"value": 3}', finish_reason="content_filter")], None, ContentFilterError, {}),
    "a forced call first": (
        [final(3), call("add", a=1, b=2), final(3)],
        ["You have to call the tool add now, with arguments as its parameters say. Do not answer in words.", "3"],
        3,
        {"settings": {"tool_choice": "add"}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer_out_of_the_ordinary(name: str) -> None:
    script, said, ends, args = CASES[name]
    for driver in {"sync": DRIVERS["sync"], "some": some_driver(name), "another": some_driver(f"{name}!")}.values():
        model = ScriptedModel(script)
        agent = Agent(model, output=Output(int, mode="tool"), tools=[add], **args)
        ended = outcome(driver, agent, "please")
        assert type(ended) is ends if isinstance(ends, type) else ended.output == ends, ended
        assert len(model.requests) == len(script)
        if said is not None:
            assert told(model) == said
        assert Transcript.load(ended.transcript.dump()) == ended.transcript
        if not isinstance(ended, AgentKitError):
            assert_each_call_has_one_result(ended.transcript.messages)


# Functions


def pay(amount: int, to: str = "Ann") -> str:
    """Pay."""
    if amount < 0:
        raise Retry("not less than nothing")
    return f"{amount} to {to}"


async def wire_money(context: Context[str], amount: int) -> str:
    """Wire."""
    await checkpoint()
    return f"{amount} wired for {context.deps}"


def drop() -> str:
    """Never works."""
    raise OSError("the disk is on fire")


FUNCTIONS: dict[str, tuple[Any, list[Step], Any]] = {
    "one": (pay, [call("pay", amount=3)], "3 to Ann"),
    "one, wrong arguments first": (pay, [call("pay", amount="x"), call("pay", amount=3)], "3 to Ann"),
    "one, that asks again": (pay, [call("pay", amount=-3), call("pay", amount=3)], "3 to Ann"),
    "with a prefix": (pay, [call("functions.pay", amount=3)], "3 to Ann"),
    "one of two, async, with the context": ([pay, wire_money], [call("wire_money", amount=3)], "3 wired for Bob"),
    "words first": ([pay, wire_money], ["I would pay.", call("pay", amount=1)], "1 to Ann"),
    "two at once": ([pay, wire_money], [calls(call("pay", amount=1), call("wire_money", amount=2))], "1 to Ann"),
    "one that fails": (drop, [call("drop")], UsageError),
}


@pytest.mark.parametrize("driver", ["sync", "trio", "stream_sync", "stream on asyncio"])
@pytest.mark.parametrize("case", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions(case: tuple[Any, list[Step], Any], driver: str) -> None:
    of, script, ends = case
    model = ScriptedModel(script)
    ended = outcome(DRIVERS[driver], Agent(model, output=of, tools=[add]), "please", deps="Bob")
    assert type(ended) is ends if isinstance(ends, type) else ended.output == ends, ended
    assert len(model.requests) == len(script)
    if isinstance(ended, UsageError):
        assert str(ended) == "the output function drop failed with OSError: the disk is on fire"
        assert isinstance(ended.__cause__, OSError)


# Validators


def at_least_two(value: int) -> None:
    if value < 2:
        raise Retry(f"{value} is too little")


async def at_least_two_async(value: int) -> None:
    await checkpoint()
    at_least_two(value)


def at_least_deps(context: Context[int], value: int) -> int:
    assert context.usage.total_tokens == 15 * context.step
    if value < context.deps:
        raise Retry(f"{value} is too little")
    return value


class Least:
    def __call__(self, value: int) -> int:
        at_least_two(value)
        return value


VALIDATORS: dict[str, Callable[..., Any]] = {
    "sync": at_least_two,
    "async": at_least_two_async,
    "with the context": at_least_deps,
    "an object": Least(),
}


@drivers
@ways
@pytest.mark.parametrize("validator", VALIDATORS.values(), ids=VALIDATORS)
def test_validators(validator: Callable[..., Any], way: str, driver: str) -> None:
    model = ScriptedModel([given(way, f'{{"value": {n}}}') for n in (0, 1, 2)])
    agent = Agent(model, output=int, validators=[validator, lambda value: value * 10])
    result = DRIVERS[driver](agent, "please", deps=2)
    assert result.output == 20
    assert told(model) == ["0 is too little", "1 is too little"]
    assert_each_call_has_one_result(result.transcript.messages)


@drivers
def test_validators_of_plain_text(driver: str) -> None:
    def short(text: str) -> str:
        if len(text) > 5:
            raise Retry("shorter")
        return text.upper()

    model = ScriptedModel(["much too long", "so"])
    assert DRIVERS[driver](Agent(model, validators=[short]), "please").output == "SO"
    assert told(model) == ["shorter"]


@pytest.mark.parametrize("driver", ["sync", "asyncio", "stream on trio"])
def test_a_validator_that_fails_is_the_callers_own_fault(driver: str) -> None:
    def broken(value: int) -> int:
        return value // 0

    agent = Agent(ScriptedModel([final(3)]), output=int, validators=[broken])
    error = outcome(DRIVERS[driver], agent, "please")
    assert type(error) is UsageError
    assert str(error).startswith("validator broken failed with ZeroDivisionError")
    assert isinstance(error.__cause__, ZeroDivisionError)
    # mended, it goes on from there without asking the model again
    assert Agent(ScriptedModel([]), output=int).run_sync(transcript=error.transcript).output == 3


@ways
def test_what_the_caller_says_meanwhile_goes_before_the_answer(way: str) -> None:
    model = ScriptedModel([given(way, '{"value": 3}'), given(way, '{"value": 4}')])
    with Agent(model, output=Output(int, retries=0)).stream_sync("please") as run:
        for event in run.steps():
            if event.step == 1:
                run.send("No, one more.")
    assert (run.result.status, run.result.output) == ("done", 4)
    assert told(model) == [*([PASSED_BY] if way == "call" else []), "No, one more."]
