"""Whatever a model says: a run that is summed up on its way does what it does without, and sends what can be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent, Transcript
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.request import Request, encode
from agentkit.errors import AgentKitError
from agentkit.history import SUMMARISE, ClearResults, Compaction, History, KeepTurns
from agentkit.testing import ScriptedModel, call, calls, fixed_clock, say, status
from agentkit.testing.script import Item, Step
from agentkit.testing.strict import parse, refusals
from agentkit.transcript import entry_messages
from tests.drivers import DRIVERS, outcome

USAGES: list[Any] = [{}, (10, 5), (500, 10), (5000, 10)]
items = st.one_of(
    st.builds(
        lambda sizes, usage: calls(*(call("page", size=size) for size in sizes), usage=usage),
        st.lists(st.sampled_from((1, 700, 20_000)), min_size=1, max_size=3),
        st.sampled_from(USAGES),
    ),
    st.builds(lambda usage: calls(call("page"), usage=usage), st.sampled_from(USAGES)),
    st.builds(lambda size, usage: say("so " * size, usage=usage), st.sampled_from((1, 900)), st.sampled_from(USAGES)),
    st.just(say("")),
    st.just(status(400, message="no")),
)
too_long = st.just(status(400, error_code="context_length_exceeded"))
histories: st.SearchStrategy[list[History]] = st.lists(
    st.builds(KeepTurns, st.integers(1, 3)) | st.builds(ClearResults, st.integers(0, 3)), max_size=2
)
compactions = st.builds(Compaction, st.sampled_from((300, 2000)), at=st.sampled_from((0.5, 1)), keep=st.integers(1, 5))


def page(size: int) -> str:
    """Read a page."""
    return "x" * size


def talked(
    script: Sequence[Item], driver: str, prompts: int, **args: Any
) -> tuple[list[str], Transcript, list[Request]]:
    """So many runs on one conversation, an error's transcript gone on from: how each ended, and what was asked."""
    steps = iter([*script, *[say("the end")] * 50])

    def answer(request: Request) -> Step:
        return "In short." if request.messages[-1]["content"] == SUMMARISE else next(steps)

    model = ScriptedModel(answer)
    agent: Agent[Any, Any] = Agent(model, tools=[page], instructions="Be brief.", **args)
    transcript, ends = Transcript(), list[str]()
    for number in range(prompts):
        with fixed_clock():
            ended = outcome(DRIVERS[driver], agent, f"q{number}", transcript=Transcript.load(transcript.dump()))
        ends.append(str(ended) if isinstance(ended, AgentKitError) else ended.output)
        assert ended.transcript is not None
        transcript = ended.transcript
    return ends, transcript, model.requests


def kept(transcript: Transcript) -> list[Any]:
    """All messages but the summaries, without the ids of calls, which the model makes up by what it is sent."""
    return [
        (message["role"], message.get("content"), [made["function"] for made in message.get("tool_calls") or ()])
        for entry in transcript
        if not entry.covers
        for message in entry_messages(entry)
    ]


def check(asked: Sequence[Request], transcript: Transcript) -> None:
    for request in asked:
        assert list(refusals(parse(bytes(encode(request, "m", DIALECTS["openai"], "x"))))) == []
    covers = [entry.covers for entry in transcript if entry.covers]
    assert covers == sorted(set(covers))


@given(st.lists(items, max_size=9), st.integers(1, 3), histories, compactions)
def test_what_is_sent_of_it_changes_nothing_of_what_is_done(
    script: list[Item], prompts: int, history: list[History], compaction: Compaction
) -> None:
    ends, whole, _ = talked(script, "sync", prompts)
    other_ends, transcript, asked = talked(script, "sync", prompts, history=history, compaction=compaction)
    assert (other_ends, kept(transcript)) == (ends, kept(whole))
    check(asked, transcript)


@given(st.lists(items | too_long, max_size=9), st.integers(1, 3), histories, compactions)
def test_and_it_is_done_alike_in_each_driver(
    script: list[Item], prompts: int, history: list[History], compaction: Compaction
) -> None:
    for drivers in (("sync", "asyncio"), ("stream_sync", "stream on trio")):  # streamed messages have fewer fields
        one, other = (talked(script, driver, prompts, history=history, compaction=compaction) for driver in drivers)
        check(one[2], one[1])
        assert one[0] == other[0]
        assert one[1].dump() == other[1].dump()
