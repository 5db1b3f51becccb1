"""Evaluations: cases with targets, scored, side by side; an error is a result."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import pytest

from agentkit import Agent, Context, Result
from agentkit.errors import UsageError
from agentkit.evals import Case, Evaluation, Score
from agentkit.testing import FakeEndpoint, ScriptedModel, call, say, status


def shout(text: str) -> str:
    return text.upper()


def right(result: str, case: Case) -> bool:
    return result == case.expected


CASES = [Case("a", "A"), Case("b", "x"), Case("c", "C")]


def test_functions_are_tried() -> None:
    report = Evaluation(CASES, shout, right, repeats=2).run_sync()
    assert [(each.case, each.repeat, each.answer, each.passed) for each in report.outcomes] == [
        ("a", 1, "A", True),
        ("b", 1, "B", False),
        ("c", 1, "C", True),
        ("a", 2, "A", True),
        ("b", 2, "B", False),
        ("c", 2, "C", True),
    ]
    assert report.pass_rate == 4 / 6
    assert report.outcomes[1].expected == "x"


async def test_it_runs_on_both_loops() -> None:
    async def whisper(text: str) -> str:
        await anyio.lowlevel.checkpoint()
        return text.lower()

    report = await Evaluation(["A"], whisper, lambda result: result == "a").run()
    assert report.pass_rate == 1


def test_run_sync_works_where_a_loop_is_running() -> None:
    async def main() -> float:
        return Evaluation(CASES[:1], shout, right).run_sync().pass_rate

    assert asyncio.run(main()) == 1


def test_agents_models_and_names_are_tried(scripted_endpoint: str) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    agent = Agent(ScriptedModel([call("add", a=1, b=2), say("3", usage=(100, 7))]), tools=[add], name="adder")
    report = Evaluation(["1 + 2?"], [agent, ScriptedModel(["4"]), "openai:any"], _has_text).run_sync()
    assert report.targets == ["adder", "scripted", "openai:any"]
    adder = report.of("adder")[0]
    assert (adder.answer, adder.prompt_tokens, adder.completion_tokens) == ("3", 110, 12)
    assert "→ add(a=1, b=2)" in adder.transcript
    assert report.of("openai:any")[0].answer == "As you say."


def _has_text(result: Result[Any]) -> bool:
    return bool(result.text)


def test_arguments_of_the_run_come_with_the_case() -> None:
    def whoami(context: Context[str]) -> str:
        """Who am I?"""
        return context.deps

    agent: Agent[str, str] = Agent(ScriptedModel([call("whoami"), "done"]), tools=[whoami])
    (outcome,) = Evaluation([Case("x", args={"deps": "Ada"})], agent).run_sync().outcomes
    assert "← Ada" in outcome.transcript


@pytest.mark.parametrize(
    ("given", "scores", "passed"),
    [
        (True, {"scorer": 1.0}, True),
        (False, {"scorer": 0.0}, False),
        (0.5, {"scorer": 0.5}, True),
        (0.49, {"scorer": 0.49}, False),
        (None, {}, True),
        (Score(1, "why"), {"scorer": 1.0}, True),
        ({"short": True, "kind": 0.2}, {"short": 1.0, "kind": 0.2}, False),
        ({"none": None}, {}, True),
    ],
)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_what_scorers_give(given: Any, scores: dict[str, float], passed: bool, way: str) -> None:
    def scorer(result: str) -> Any:
        return given

    async def asynchronous(result: str) -> Any:
        return given

    asynchronous.__name__ = "scorer"
    (outcome,) = Evaluation(["x"], shout, scorer if way == "sync" else asynchronous).run_sync().outcomes
    assert {name: score.value for name, score in outcome.scores.items()} == scores
    assert outcome.passed is passed
    assert outcome.error is None


@pytest.mark.parametrize("given", ["yes", float("nan"), [1]])
def test_a_scorer_that_gives_something_else_is_an_error_of_the_case(given: Any) -> None:
    (outcome,) = Evaluation(["x"], shout, lambda result: given).run_sync().outcomes
    assert not outcome.passed
    assert outcome.error is not None
    assert "it gives a bool, a number, a Score, a dict of these, or None" in outcome.error


def test_errors_are_results() -> None:
    def odd(text: str) -> str:
        if text == "b":
            raise KeyError("b")
        return text

    def picky(result: str) -> bool:
        if result == "c":
            raise ValueError("c")
        return True

    report = Evaluation(["a", "b", "c"], odd, picky).run_sync()
    assert [each.error for each in report.outcomes] == [None, "KeyError: 'b'", "the scorer picky failed: ValueError: c"]
    assert [each.passed for each in report.outcomes] == [True, False, False]


def test_an_endpoints_error_is_a_result_with_the_conversation() -> None:
    with FakeEndpoint([status(401)]) as fake:
        from agentkit import ChatModel

        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)
        (outcome,) = Evaluation(["hello"], model).run_sync().outcomes
    assert outcome.error is not None
    assert outcome.error.startswith("AuthenticationError: ")
    assert outcome.transcript == "user: hello"


def test_what_takes_too_long_is_a_result() -> None:
    async def slow(text: str) -> str:
        await anyio.sleep(60)
        return text

    (outcome,) = Evaluation(["x"], slow, seconds=0.01).run_sync().outcomes
    assert outcome.error == "it took longer than 0.01 s"


def test_so_many_at_once() -> None:
    barrier = threading.Barrier(3, timeout=30)
    most = running = 0
    lock = threading.Lock()

    def together(text: str) -> str:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait()
        with lock:
            running -= 1
        return text

    assert Evaluation([str(n) for n in range(6)], together, concurrency=3).run_sync().pass_rate == 1
    assert most == 3


def test_some_of_it() -> None:
    evaluation = Evaluation(["apple", "avocado", "pear"], {"one": shout, "two": str.lower}).only(
        cases="a*", targets="two"
    )
    seen: list[str] = []
    evaluation.run_sync(lambda outcome: seen.append(f"{outcome.target} {outcome.case}"))
    assert sorted(seen) == ["two apple", "two avocado"]
    assert len(evaluation) == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Evaluation([], shout), "there is no case to try"),
        (lambda: Evaluation(["a"], []), "there is no target to try"),
        (lambda: Evaluation(["a", "a"], shout), r"two cases are named 'a': give Case\(name=…\)"),
        (lambda: Evaluation(["a"], [shout, shout]), "two targets are named 'shout': give the targets as a dict"),
        (lambda: Evaluation(["a"], shout, repeats=0), "1 or more, not 0 and 8"),
        (lambda: Evaluation(["a"], shout).only(cases="z"), "there is no case to try"),
    ],
)
def test_what_cannot_be_tried(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_a_case_is_named_by_its_prompt() -> None:
    assert Case("two\nlines").name == "two lines"
    assert Case("x" * 100).name == "x" * 59 + "…"
    assert Case(["a", "b"], name="mine").name == "mine"
