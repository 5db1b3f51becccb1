"""What of a conversation is sent: the last turns, results or a word that they were cleared, a summary and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Image, Message, Settings, ToolCall, ToolResult, Transcript, Usage
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.request import Request, encode
from agentkit.entries import opens_turn
from agentkit.errors import UsageError
from agentkit.history import (
    ATTACHED_BYTES,
    CLEARED,
    SUMMARY_TOKENS,
    ClearResults,
    Compaction,
    History,
    KeepTurns,
    View,
    enough_for,
    estimated_tokens,
    summary_message,
    summed_up,
    unseen_from,
    without_summed_up,
)
from agentkit.messages import assistant, system, user
from agentkit.testing.strict import parse, refusals
from agentkit.transcript import CallRecord, Entry


def asked(text: Any) -> Entry:
    return Entry(user(text))


def said(text: str = "so", usage: Usage | None = None) -> Entry:
    return Entry(assistant(text), "model", usage=usage)


def called(*results: str, first: int = 0, usage: Usage | None = None) -> Entry:
    made = [ToolCall(f"c{first + place}", "look", "{}") for place in range(len(results))]
    records = [CallRecord(call, result=ToolResult(content)) for call, content in zip(made, results, strict=True)]
    return Entry(assistant(tool_calls=made), "model", calls=tuple(records), usage=usage)


def summary(covers: int) -> Entry:
    return Entry(summary_message(f"the first {covers}"), "loop", covers=covers)


def turns(count: int) -> list[Entry]:
    """So many turns: a question, a call, an answer."""
    return [entry for n in range(count) for entry in (asked(f"q{n}"), called("x" * 600, first=10 * n), said(f"a{n}"))]


def texts(entries: Iterable[Entry]) -> list[str]:
    return [entry.message.text or f"({len(entry.calls)})" for entry in entries]


# KeepTurns


@pytest.mark.parametrize(
    ("turns_", "stride", "fronts"),
    [
        (1, 1, [0, 1, 2, 3, 4, 5]),
        (2, 1, [0, 0, 1, 2, 3, 4]),
        (2, 3, [0, 0, 0, 0, 3, 3]),
        (4, None, [0, 0, 0, 0, 0, 2]),
        (9, 2, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_the_front_moves_once_per_stride(turns_: int, stride: int | None, fronts: list[int]) -> None:
    keep = KeepTurns(turns_, stride=stride)
    found = [texts(keep(turns(count)))[0] for count in range(1, 7)]
    assert found == [f"q{front}" for front in fronts]


def test_a_turn_keeps_its_calls_and_what_the_loop_said() -> None:
    hint = Entry(user("Do not call it again."), "loop")
    kept = KeepTurns(1)([*turns(2), hint, said("a")])
    assert texts(kept) == ["q1", "(1)", "a1", "Do not call it again.", "a"]


def test_what_was_sent_to_a_run_that_goes_on_begins_no_turn() -> None:
    entries = [*turns(2), asked("q2"), asked("and that"), called("r"), asked("hurry")]
    assert texts(KeepTurns(1)(entries)) == ["q2", "and that", "(1)", "hurry"]
    given = called("taken")
    given = replace(given, calls=(replace(given.calls[0], hold="output"),))
    assert texts(KeepTurns(1)([asked("q"), given, asked("next")])) == ["next"]


def test_what_stands_before_the_first_question_goes_with_the_first_turn() -> None:
    entries = [said("Hello!"), *turns(2)]
    assert KeepTurns(2)(entries) is entries
    assert texts(KeepTurns(1)(entries))[0] == "q1"


def test_system_messages_and_a_summary_stay() -> None:
    entries = [Entry(system("Be brief.")), summary(9), Entry(Message({"role": "developer", "content": "Dev."}))]
    assert texts(KeepTurns(1)([*entries, *turns(3)])) == [*texts(entries), "q2", "(1)", "a2"]


# ClearResults


def contents(entries: Sequence[Entry]) -> list[str]:
    return [record.result.content for entry in entries for record in entry.calls if record.result is not None]


@pytest.mark.parametrize(
    ("keep", "stride", "cleared"),
    [(0, 1, [1, 2, 3, 4, 5]), (2, 1, [0, 0, 1, 2, 3]), (2, 2, [0, 0, 0, 2, 2]), (4, None, [0, 0, 0, 0, 0])],
)
def test_old_results_are_cleared_in_strides(keep: int, stride: int | None, cleared: list[int]) -> None:
    clear = ClearResults(keep, stride=stride)
    found = [contents(clear(turns(count))) for count in range(1, 6)]
    assert [told.count(CLEARED) for told in found] == cleared
    assert all(told == sorted(told) for told in found)  # the old ones: a bracket sorts before an x


def test_short_results_stay_and_pictures_are_long() -> None:
    picture = called("")
    record = replace(picture.calls[0], result=ToolResult("", parts=(Image(b"png").data,)))
    entries = [called("x" * 500), called("y" * 501, first=1), replace(picture, calls=(record,)), said()]
    sent = ClearResults(0)(entries)
    assert contents(sent) == ["x" * 500, CLEARED, CLEARED]
    assert sent[2].calls[0].result is not None and sent[2].calls[0].result.parts == ()
    assert sent[0] is entries[0]
    assert contents(entries)[1] == "y" * 501  # what is kept does not change


def test_no_result_is_cleared_before_the_model_has_answered_to_it() -> None:
    entries = [called("x" * 900), called(*["y" * 900] * 3, first=1), Entry(user("a hint"), "loop")]
    assert contents(ClearResults(0)(entries)) == [CLEARED, *["y" * 900] * 3]
    assert contents(ClearResults(0)([*entries, said()])) == [CLEARED] * 4


@pytest.mark.parametrize(
    ("entries", "index"),
    [([], 0), ([asked("q")], 0), ([asked("q"), said()], 2), ([asked("q"), called("r")], 1), (turns(2)[:-1], 4)],
)
def test_what_the_model_has_not_answered_to(entries: list[Entry], index: int) -> None:
    assert unseen_from(entries) == index


# A summary


def test_a_summary_takes_the_place_of_what_it_covers() -> None:
    transcript = Transcript([*turns(3), summary(6), *turns(1)])
    assert summed_up(transcript) == (9, 6)
    heading = summary_message("the first 6").text
    assert texts(without_summed_up(transcript)) == [heading, "q2", "(1)", "a2", "q0", "(1)", "a0"]


def test_without_one_all_is_sent_as_it_stands() -> None:
    transcript = Transcript(turns(2))
    assert without_summed_up(transcript) is transcript.entries
    assert View(()).of(transcript) is transcript


def test_the_last_of_several_counts() -> None:
    transcript = Transcript([*turns(2), summary(3), *turns(1), summary(7), said("end")])
    assert [text[-11:] for text in texts(without_summed_up(transcript))] == ["the first 7", "q0", "(1)", "a0", "end"]


def test_what_is_asked_stays_and_so_does_the_front_when_more_is_asked() -> None:
    begun = [asked("q"), called("1"), called("2", first=1), summary(2), called("3", first=2)]
    sent = without_summed_up(Transcript(begun))
    assert texts(sent)[1:] == ["q", "(1)", "(1)"]
    assert without_summed_up(Transcript([*begun, asked("more")]))[: len(sent)] == sent
    begun = [*turns(1), asked("q"), called("1"), asked("hurry"), called("2", first=1), summary(6)]
    assert texts(without_summed_up(Transcript(begun)))[1:] == ["q", "hurry", "(1)"]


def test_system_messages_stay_in_front_of_a_summary() -> None:
    transcript = Transcript([Entry(system("Be brief.")), *turns(2), summary(4)])
    assert [entry.message.role for entry in without_summed_up(transcript)][:3] == ["system", "user", "user"]


@pytest.mark.parametrize(("offset", "covered"), [(0, 4), (3, 1), (9, 0)])
def test_what_it_covers_is_counted_from_the_conversation_s_start(offset: int, covered: int) -> None:
    transcript = Transcript([*turns(2), summary(4)])
    transcript.offset = offset
    assert summed_up(transcript) == (6, covered)
    assert summed_up(Transcript.load(transcript.dump())) == (6, covered)


# Tokens


def test_the_usage_of_the_last_reply_counts_for_all_before_it() -> None:
    entries = [asked("x" * 4000), called("y" * 400, usage=Usage(900, 100, 1000)), asked("z" * 4000)]
    size = len(entries[2].message.json) + 400
    assert estimated_tokens(Transcript(entries)) == 1000 + size // 4
    assert estimated_tokens(Transcript(entries), entries[2:], beside=10_000) == 1000 + size // 4


def test_without_usage_the_bytes_count_and_those_beside() -> None:
    entries = [asked("x" * 4000), said("é" * 100, Usage(0, 5, 5)), called("ü" * 100)]
    size = sum(len(entry.message.json) for entry in entries) + 200
    assert estimated_tokens(Transcript(entries), beside=40) == (size + 40) // 4
    assert estimated_tokens(Transcript(entries), entries[:1], beside=40) == (len(entries[0].message.json) + 40) // 4


def test_a_usage_from_before_the_summary_counts_no_more() -> None:
    transcript = Transcript([*turns(2), said("a", Usage(50_000, 10, 50_010)), summary(5)])
    assert estimated_tokens(transcript, without_summed_up(transcript)) < 1000
    transcript.append(said("b", Usage(700, 10, 710)))
    assert estimated_tokens(transcript, without_summed_up(transcript)) == 710


def test_what_is_attached_does_not_count_by_its_bytes() -> None:
    picture = Transcript([asked(["What is it?", Image(b"\x00" * 300_000)])])
    assert ATTACHED_BYTES / 4 <= estimated_tokens(picture) < ATTACHED_BYTES / 4 + 20
    told = called("see")
    record = replace(told.calls[0], result=ToolResult("see", parts=(Image(b"\x00" * 300_000).data,)))
    assert estimated_tokens(Transcript([replace(told, calls=(record,))])) < ATTACHED_BYTES / 4 + 100


# How much is summed up


@pytest.mark.parametrize(
    ("entries", "keep", "covered"),
    [
        (turns(4), 6, 6),
        (turns(4), 1, 11),
        (turns(4), 11, 0),  # one entry is too little
        (turns(1)[:1] * 9, 2, 0),  # the model has answered to none of it
        ([*turns(3)[:-1]], 1, 7),  # the last results stay
        ([*turns(3), summary(4), *turns(1)], 2, 11),
        ([*turns(3), summary(8)], 2, 0),
    ],
)
def test_how_much_a_summary_stands_for(entries: list[Entry], keep: int, covered: int) -> None:
    assert Compaction(100_000, keep=keep).covered(Transcript(entries)) == covered


def test_fewer_stay_where_they_alone_would_fill_the_window() -> None:
    entries = [*turns(1), said("x" * 2000), said("y")]
    assert Compaction(100_000, keep=2).covered(Transcript(entries)) == 3
    assert Compaction(1000, keep=2).covered(Transcript(entries)) == 4


def test_no_more_is_summed_up_at_once_than_fits() -> None:
    entries = [entry for n in range(20) for entry in (asked("x" * 400), said(f"a{n}"))]
    compaction = Compaction(1000, keep=2)
    first = compaction.covered(Transcript(entries))
    assert 10 < first < 20
    assert 2 <= compaction.covered(Transcript(entries), part=0.25) < first / 2
    assert compaction.covered(Transcript(entries), part=0.001) == 2


def test_a_summary_is_asked_for_with_the_settings_that_go_with_it() -> None:
    given = Settings(
        temperature=0.3,
        stop="\n",
        response_format={"type": "json_object"},
        tool_choice="required",
        max_tokens=100,
        extra_body={"response_format": {}, "top_k": 5},
    )
    own = Compaction(100_000).asking(given)
    assert own == Settings(temperature=0.3, tool_choice="none", max_tokens=SUMMARY_TOKENS, extra_body={"top_k": 5})
    assert Compaction(8000, at=0.75).asking(given).max_tokens == 2000
    assert Compaction(100_000).asking(Settings(max_completion_tokens=9000)).max_completion_tokens == 9000
    other: Any = object()
    assert Compaction(100_000, model=other).asking(given) == Settings(tool_choice="none")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: KeepTurns(0), "turns is an integer of at least 1, not 0"),
        (lambda: KeepTurns(2, stride=0), "stride is an integer of at least 1, not 0"),
        (lambda: ClearResults(-1), "keep is an integer of at least 0, not -1"),
        (lambda: ClearResults(min_chars=-1), "min_chars is an integer of at least 0, not -1"),
        (lambda: Compaction(0), "window is an integer of at least 1, not 0"),
        (lambda: Compaction(9, at=1.5), "at is a number from 0.1 to 1, not 1.5"),
        (lambda: Compaction(9, keep=0), "keep is an integer of at least 1, not 0"),
        (lambda: Compaction(9, prompt=" "), "Compaction: prompt is what the model is asked for the summary"),
    ],
)
def test_what_cannot_work_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        wrong()


# View


def test_what_is_encoded_stays_while_it_only_grows() -> None:
    view, transcript = View([KeepTurns(2, stride=2)]), Transcript(turns(3))
    assert view.of(transcript) is transcript  # nothing is left out yet
    grown = Transcript(turns(4))
    sent = view.of(grown)
    assert texts(sent.entries)[0] == "q2"
    grown.append(asked("q4"))
    grown.replace(9, replace(grown.entries[9], instructions={"": ("a", "b")}, guarded=True))  # nothing that is sent
    assert view.of(grown) is sent
    assert len(sent) == 7
    grown.append(said())
    grown.append(asked("q5"))
    assert view.of(grown) is not sent


def test_a_message_that_changed_is_encoded_anew() -> None:
    view, transcript = View([ClearResults(0)]), Transcript(turns(1))
    sent = view.of(transcript)
    transcript.replace(0, replace(transcript.entries[0], message=user("reworded")))
    again = view.of(transcript)
    assert again is not sent
    assert texts(again.entries)[0] == "reworded"


def test_a_redactor_that_makes_its_messages_each_time_is_no_change() -> None:
    def redact(entries: Sequence[Entry]) -> Sequence[Entry]:
        return [replace(entry, message=Message(entry.message.data)) for entry in entries]

    view, transcript = View([redact]), Transcript(turns(2))
    sent = view.of(transcript)
    transcript.append(asked("more"))
    assert view.of(transcript) is sent
    assert len(sent) == 7


def broken(entries: Sequence[Entry]) -> Sequence[Entry]:
    raise KeyError("x")


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (broken, r"the history processor broken failed with KeyError: 'x'"),
        (lambda _: None, "the history processor <lambda> returned None, which is no list of entries"),
        (lambda entries: [entries[0].message], "which is no list of entries"),
        (lambda _: [], "left nothing to send: keep at least the last question"),
    ],
)
def test_a_processor_that_fails_is_named(processor: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        View([processor]).of(Transcript(turns(1)))


def test_an_error_of_ours_comes_out_as_it_is() -> None:
    def strict(entries: Sequence[Entry]) -> Sequence[Entry]:
        raise UsageError("not like this")

    with pytest.raises(UsageError, match=r"^not like this"):
        View([strict]).of(Transcript(turns(1)))


def test_what_a_guard_refused_reaches_no_processor() -> None:
    seen: list[str] = []

    def look(entries: Sequence[Entry]) -> Sequence[Entry]:
        seen.extend(texts(entries))
        return entries

    transcript = Transcript([*turns(1), replace(asked("refused"), guarded=False), asked("q1")])
    assert [message["content"] for message in View([look]).of(transcript).messages][-2:] == ["a0", "q1"]
    assert seen == ["q0", "(1)", "a0", "q1"]


def test_a_processor_cannot_take_anything_out_of_the_transcript() -> None:
    def careless(entries: Any) -> Sequence[Entry]:
        return [entries.pop()]

    transcript = Transcript(turns(1))
    with pytest.raises(UsageError, match="careless failed with AttributeError"):
        View([careless]).of(transcript)
    assert len(transcript) == 3


# Whatever is set

CALLS = st.lists(st.sampled_from(("", "r" * 20, "r" * 900)), min_size=1, max_size=3)
PIECES = st.one_of(st.just("asked"), st.just("said"), st.just("hint"), st.just("system"), st.just("summary"), CALLS)
PROCESSORS = st.lists(
    st.one_of(
        st.builds(KeepTurns, st.integers(1, 4), stride=st.none() | st.integers(1, 3)),
        st.builds(ClearResults, st.integers(0, 3), min_chars=st.integers(0, 600), stride=st.none() | st.integers(1, 3)),
    ),
    max_size=3,
)


def grown(pieces: Sequence[Any]) -> list[Transcript]:
    """A conversation after each of its entries; a summary stands for what the model has answered to."""
    transcript, steps = Transcript([asked("first")]), []
    for index, piece in enumerate(pieces):
        match piece:
            case "asked":
                transcript.append(asked(f"q{index}"))
            case "said":
                transcript.append(said(f"a{index}"))
            case "hint":
                transcript.append(Entry(user("hint"), "loop"))
            case "system":
                transcript.append(Entry(system("Be brief.")))
            case "summary":
                covers = Compaction(10_000, keep=1 + index % 3).covered(transcript)
                if not covers:
                    continue
                transcript.append(summary(covers))
            case _:
                transcript.append(called(*piece, first=10 * index))
        steps.append(transcript.copy())
    return steps or [transcript]


@given(st.lists(PIECES, max_size=25), PROCESSORS)
def test_what_is_sent_is_a_conversation_with_the_last_question_in_it(pieces: list[Any], processors: Any) -> None:
    view = View(processors)
    for transcript in grown(pieces):
        before = transcript.dump()
        sent = view.of(transcript)
        assert transcript.dump() == before
        body = parse(bytes(encode(Request(sent), "m", DIALECTS["openai"], "x")))
        assert list(refusals(body)) == []
        assert body["messages"] == sent.messages
        assert body["messages"][0]["role"] != "tool"
        last = [entry.message.text for entry in transcript if entry.author == "caller" and entry.message.role == "user"]
        assert last[-1] in [message["content"] for message in body["messages"]]
        unseen = transcript.entries[unseen_from(transcript.entries) :]
        assert contents(sent.entries[unseen_from(sent.entries) :]) == contents(unseen)
        questions, open_ = texts(filter(opens_turn, sent)), texts(filter(opens_turn, unseen))
        assert questions[len(questions) - len(open_) :] == open_


@given(st.lists(PIECES, max_size=25), PROCESSORS)
def test_a_view_that_saw_each_step_sends_what_a_new_one_does(pieces: list[Any], processors: Any) -> None:
    view = View(processors)
    for transcript in grown(pieces):
        sent = view.of(transcript)
        assert sent.messages == View(processors).of(transcript).messages
        grown_ = bytes(encode(Request(sent), "m", DIALECTS["openai"], "x"))
        assert grown_ == bytes(encode(Request(Transcript(sent.entries)), "m", DIALECTS["openai"], "x"))


@given(st.lists(PIECES, min_size=8, max_size=25), PROCESSORS)
def test_an_end_that_is_enough_is_sent_as_the_whole_is(pieces: list[Any], processors: Any) -> None:
    whole = grown(pieces)[-1]
    enough = enough_for(processors, Compaction(1000)) or bool
    stays = [index for index, entry in enumerate(whole) if entry.message.role == "system"]
    at, _ = summed_up(whole)
    for offset in range(1, min([*stays, len(whole) - 1 if at is None else at]) + 1):
        end = Transcript(whole.entries[offset:])
        end.offset = offset
        if not enough(end):
            continue
        sent, expected = (View(processors).of(each).messages for each in (end, whole))
        if at is not None:
            assert sent == expected
            continue
        keeps = processors[0]
        some, most = (View([KeepTurns(n, stride=1)]).of(whole) for n in (keeps.turns, keeps.turns + keeps.stride - 1))
        kept = View([keeps]).of(end)
        assert len(some) <= len(kept) <= len(most)
        assert kept.entries == whole.entries[-len(kept) :]


@pytest.mark.parametrize(
    ("runs", "expected"), [("abbb", True), ("bbbb", False), ("    ", True), ("a   ", True), ("abcb", True)]
)
def test_a_run_that_is_gone_on_with_is_read_from_its_beginning(runs: str, expected: bool) -> None:
    entries = [replace(entry, run=run.strip()) for entry, run in zip([*turns(1), asked("q")], runs, strict=True)]
    enough = enough_for([KeepTurns(1, stride=1)], None)
    assert enough is not None
    assert enough(Transcript(entries)) is expected
    assert enough_for([ClearResults(1), KeepTurns(1)], None) is None


@pytest.mark.parametrize(("offset", "expected"), [(3, True), (5, True), (6, False), (9, False)])
def test_what_the_last_summary_left_is_read(offset: int, expected: bool) -> None:
    end = Transcript([*turns(4), summary(5), asked("q")][offset:])
    end.offset = offset
    enough = enough_for([], Compaction(1000))
    assert enough is not None
    assert enough(end) is expected


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 4))
def test_the_front_moves_no_oftener_than_the_stride_says(keep: int, stride: int, results: int) -> None:
    processors: list[History] = [KeepTurns(keep, stride=stride), ClearResults(results, stride=stride)]
    count = 24
    sent = [Transcript(entries) for entries in map(turns, range(1, count))]
    bodies = [bytes(encode(Request(View(processors[:1]).of(each)), "m", DIALECTS["openai"], "x")) for each in sent]
    moved = sum(not after.startswith(before[:-2]) for before, after in pairwise(bodies))
    assert moved <= count // stride
