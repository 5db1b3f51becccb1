"""A judge: a model's typed verdict as a score."""

from __future__ import annotations

import json

import pytest

from agentkit import Agent
from agentkit.errors import ModelError
from agentkit.evals import Case, Evaluation, Judge
from agentkit.testing import ScriptedModel


def verdict(score: float, reason: str = "because") -> str:
    return json.dumps({"reason": reason, "score": score})


def test_its_verdict_is_the_score() -> None:
    model = ScriptedModel([verdict(0.25, "It is rude.")])
    agent = Agent(ScriptedModel(["Go away."]))
    (outcome,) = Evaluation([Case("Hello!", "a greeting")], agent, Judge(model, "Is it kind?")).run_sync().outcomes
    assert (outcome.scores["judge"].value, outcome.scores["judge"].reason) == (0.25, "It is rude.")
    assert not outcome.passed
    (request,) = model.requests
    assert request.instructions.endswith("Rubric:\nIs it kind?")
    asked = json.loads(request.messages[-1]["content"])
    assert asked == {"task": "Hello!", "expected": "a greeting", "answer": "Go away."}


async def test_it_may_see_the_conversation_and_be_called_by_itself() -> None:
    model = ScriptedModel([verdict(1)])
    judge = Judge(model, "Any good?", name="good", conversation=True)
    score = await judge(Agent(ScriptedModel(["Hi."])).run_sync("Hello"), Case("Hello"))
    assert score.value == 1
    assert json.loads(model.requests[0].messages[-1]["content"])["conversation"] == "user: Hello\nassistant: Hi."


def test_a_score_out_of_range_is_asked_for_again() -> None:
    model = ScriptedModel([verdict(7), verdict(0.7)])
    (outcome,) = Evaluation(["x"], str.upper, Judge(model, "r")).run_sync().outcomes
    assert outcome.scores["judge"].value == 0.7
    assert "`score` is a number from 0 to 1, not 7" in model.requests[1].messages[-1]["content"]


def test_a_judge_that_fails_is_an_error_of_the_case() -> None:
    (outcome,) = Evaluation(["x"], str.upper, Judge(ScriptedModel(["?"] * 9), "r")).run_sync().outcomes
    assert outcome.error is not None
    assert outcome.error.startswith(f"the scorer judge failed: {ModelError.__name__}: ")


@pytest.mark.parametrize(("answer", "told"), [({"a": "é"}, '{"a": "é"}'), (None, ""), (3, "3"), ({1}, "{1}")])
async def test_whatever_a_function_returns_is_shown(answer: object, told: str) -> None:
    model = ScriptedModel([verdict(1)])
    await Judge(model, "r")(answer, Case("x"))
    assert json.loads(model.requests[0].messages[-1]["content"])["answer"] == told
