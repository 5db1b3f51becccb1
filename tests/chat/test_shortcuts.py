"""The shortcuts for chunks of the ordinary kind say exactly what the long way says, whatever stands around them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentkit.chat.calls import CallPieces
from agentkit.chat.stream import Assembler
from agentkit.errors import ProtocolError


class LongCalls(CallPieces):
    def _going_on(self, entry: dict[str, Any]) -> None:
        return None


class LongWay(Assembler):
    def feed(self, chunk: dict[str, Any]) -> list[Any]:
        self._idle = None
        for answer in self._choices.values():
            answer.calls.__class__ = LongCalls
        return super().feed(chunk)


def say(chunks: list[dict[str, Any]], assembler: Assembler) -> list[Any]:
    """What the chunks say one by one, and in the end."""
    said: list[Any] = []
    try:
        for chunk in deepcopy(chunks):
            said += [assembler.feed(chunk), assembler.sealed_calls(), assembler.partial_text, assembler.finished]
        said.append(assembler.reply())
    except ProtocolError as error:
        said.append(str(error))
    return said


texts = st.sampled_from(["", "a", "{", "}", "{}", '{"a": ', "1}", '"', "\\", " "])
odd = st.sampled_from([None, "", 1, True, [], {}])
places = st.sampled_from([0, 1, 0, 1, 2, None, -1, "0", True])
ids = st.sampled_from(["x", "y", "", None])
functions = st.fixed_dictionaries(
    {"arguments": texts | texts | odd}, optional={"name": st.sampled_from(["f", "g", ""]) | odd, "more": odd}
)
plain_entries = st.builds(lambda place, text: {"index": place, "function": {"arguments": text}}, places, texts)
entries = plain_entries | st.fixed_dictionaries(
    {}, optional={"index": places, "id": ids, "type": st.just("function"), "function": functions | odd}
)
deltas = st.one_of(
    st.builds(lambda entry: {"tool_calls": [entry]}, plain_entries | entries),
    st.builds(lambda text: {"content": text}, texts | odd),
    st.fixed_dictionaries(
        {}, optional={"content": texts, "tool_calls": st.lists(entries, max_size=3) | odd, "reasoning": texts}
    ),
)
frames = st.just({"index": 0, "finish_reason": None}) | st.fixed_dictionaries(
    {}, optional={"index": places, "finish_reason": st.sampled_from([None, "", "stop"]), "logprobs": odd}
)
choices = st.builds(lambda frame, delta: {**frame, "delta": delta}, frames, deltas)
begun = {
    "index": 0,
    "finish_reason": None,
    "delta": {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f"}}]},
}
whole = st.lists(choices, max_size=12).map(lambda listed: [{"choices": [choice]} for choice in [begun, *listed]])


@given(whole)
def test_shortcuts_say_what_the_long_way_says(chunks):
    assert say(chunks, Assembler()) == say(chunks, LongWay())


def test_the_shortcuts_are_taken():
    """A call's usual pieces and the usual text take them, or the test above would compare nothing."""
    ways: list[object] = []

    class Watched(CallPieces):
        def _going_on(self, entry: dict[str, Any]) -> Any:
            ways.append(super()._going_on(entry))
            return ways[-1]

    class Watching(Assembler):
        def _take(self, choice: dict[str, Any], delta: Any, index: int) -> Any:
            ways.append("long")
            said = super()._take(choice, delta, index)
            self._choices[index].calls.__class__ = Watched
            return said

    assembler = Watching()
    text = {"content": "a"}
    piece = {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    for delta in (begun["delta"], text, piece):
        assembler.feed({"choices": [deepcopy({**begun, "delta": delta})]})
    long, call = ways
    assert long == "long" and call is not None
