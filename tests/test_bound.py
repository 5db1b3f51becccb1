from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.bound import ADDED_TOKENS, input_most, most_of, output_most
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.request import Body, Request, encode
from agentkit.chat.settings import Settings
from agentkit.messages import Audio, File, Image, Message, Usage, assistant, user
from agentkit.prices import Price
from agentkit.transcript import Entry, Transcript

USD = Price(1e6, 1e6)  # a token costs a dollar: what is said in USD is a count


def body(transcript: Transcript, *, model: str = "m", dialect: str = "generic", **settings: object) -> Body:
    return encode(Request(transcript, settings=Settings(**settings)), model, DIALECTS[dialect], "http://here/v1")


def conversation(*contents: object) -> Transcript:
    return Transcript([Entry(user(content)) for content in contents])


def answered(transcript: Transcript, text: str = "Yes.") -> None:
    transcript.append(Entry(assistant(text), author="model", source="http://here/v1"))


@given(st.lists(st.text(), min_size=1))
def test_a_byte_is_a_token_at_the_most(texts):
    sent = body(conversation(*texts))
    most = most_of(sent, USD)
    assert most.input_tokens == len(sent) - len(b"]}") + ADDED_TOKENS
    assert most.usd == most.input_tokens
    assert most.output_tokens is None


@pytest.mark.parametrize(
    ("settings", "output"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"n": 3}, None),
        ({"max_tokens": 7, "extra_body": {"max_completion_tokens": 9}}, 9),
        ({"max_tokens": 7, "extra_body": {"max_tokens": "many"}}, None),
        ({"max_tokens": 7, "extra_body": {"n": 2.0}}, None),
    ],
)
@pytest.mark.parametrize("dialect", ["generic", "openai", "mistral"])
def test_what_bounds_an_answer(settings, output, dialect):
    most = most_of(body(conversation("Hello"), dialect=dialect, **settings), USD)
    assert most.output_tokens == output
    assert most.usd == most.input_tokens + (output or 0)


def test_prices_of_the_bound_are_the_highest_that_may_hold():
    price = Price(1e6, 2e6, 3e6, request_usd=0.5, audio_output_usd=9e6, above=[(10, Price(4e6, 5e6))])
    most = most_of(body(conversation("Hello"), max_tokens=10), price)
    assert most.usd == 0.5 + 4 * most.input_tokens + 5 * 10
    sung = most_of(body(conversation("Hello"), max_tokens=10, modalities=["text", "audio"]), price)
    assert sung.usd == 0.5 + 4 * sung.input_tokens + 9 * 10


@given(st.lists(st.text(), min_size=1, max_size=5), st.lists(st.text(), max_size=5), st.integers(1, 10**6))
def test_what_an_endpoint_has_counted_needs_no_bound(before, after, counted):
    transcript = conversation(*before)
    first = body(transcript)
    answered(transcript)
    for text in after:
        transcript.append(Entry(user(text)))
    second = body(transcript)
    most = most_of(second, USD, (first, Usage(counted, 5, counted + 5)))
    assert most.input_tokens == counted + len(second) - len(first)


def test_a_changed_head_counts_again():
    transcript = conversation("Hello")
    first, usage = body(transcript), Usage(20, 5, 25)
    answered(transcript)
    same, changed = body(transcript), body(transcript, temperature=0.5)
    head, new = changed.since(first)
    assert json.loads(head + b"]}")["temperature"] == 0.5
    assert json.loads(new.strip(b",")) == {"role": "assistant", "content": "Yes."}
    assert most_of(changed, USD, (first, usage)).input_tokens == 20 + len(head) + len(new)
    assert most_of(same, USD, (first, usage)).input_tokens == 20 + len(new)


def test_another_conversation_or_model_is_bounded_anew():
    transcript = conversation("Hello")
    first, usage = body(transcript), Usage(20, 5, 25)
    answered(transcript)
    for other in (body(conversation("Hello", "again")), body(transcript, model="another")):
        assert most_of(other, USD, (first, usage)).usd == most_of(other, USD).usd
    later = body(transcript)
    assert first.since(later) is None
    assert most_of(first, USD, (later, usage)).usd == most_of(first, USD).usd


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (Usage(20, 5, 25), 20),
        (Usage(20, 5, 25, cached_tokens=10), 20),
        (Usage(20, 5, 25, cached_tokens=10, extra={"cache_read_input_tokens": 10}), 30),
        (
            Usage(20, 5, 25, cached_tokens=10, extra={"cache_read_input_tokens": 10, "cache_creation_input_tokens": 7}),
            37,
        ),
        (Usage(20, 5, 25, completion_audio_tokens=4), 24),
    ],
)
def test_what_an_endpoint_has_counted(usage, tokens):
    assert input_most(usage) == tokens


@pytest.mark.parametrize(
    ("fields", "output"), [({}, None), ({"max_tokens": True}, None), ({"max_tokens": 3, "n": None}, 3)]
)
def test_fields_of_a_request(fields, output):
    assert output_most(fields) == output


def test_images_and_sound_count_by_what_models_take():
    price = Price(1e6, 1e6, audio_input_usd=2e6, image_tokens=1000)
    plain = most_of(body(conversation(["Look:"])), price).usd
    for image in (Image(b"0" * 9000), Image("https://host.example/a.png")):
        most = most_of(body(conversation(["Look:", image])), price)
        assert plain + 1000 < most.usd < plain + 1000 + 200
    heard = most_of(body(conversation(["Hear:", Audio(b"0" * 12_000)])), price)
    assert plain + 2 * 1001 < heard.usd < plain + 2 * 1001 + 200
    file = most_of(body(conversation(["Read:", File(b"0" * 9000)])), price)
    assert file.usd > plain + 12_000


def test_an_image_counts_once():
    transcript = conversation(["Look:", Image(b"0" * 9000)])
    first = body(transcript)
    answered(transcript, "A cat.")
    most = most_of(body(transcript), Price(1, 1), (first, Usage(500, 5, 505)))
    assert most.input_tokens < 600


@pytest.mark.parametrize("content", [[{"type": "image_url", "image_url": "https://host.example/a.png"}], ["?", 3]])
def test_parts_in_any_form(content):
    message = Message({"role": "user", "content": [*content, {"type": "input_audio", "input_audio": None}]})
    assert most_of(body(Transcript([Entry(message)])), USD).usd > ADDED_TOKENS


def test_how_a_bound_is_told():
    transcript = conversation("Hello")
    tokens = len(body(transcript, max_tokens=100)) - 2 + ADDED_TOKENS
    assert str(most_of(body(transcript, max_tokens=100), Price(1, 2))) == (
        f"up to $0.000{tokens + 200} ({tokens} tokens of input, 100 of output)"
    )
    assert str(most_of(body(transcript), Price(0, 2))).endswith(
        "of input, its answer not counted: no max_tokens bounds it)"
    )
