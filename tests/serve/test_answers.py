"""What openai's own client gets of a served agent, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentkit import Agent
from agentkit.testing import ScriptedModel, call, calls, reply, say

HELLO = [{"role": "user", "content": "Hello"}]
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3, "text_tokens": 5, "audio_tokens": 2, "image_tokens": 4},
    "completion_tokens_details": {"text_tokens": 4, "audio_tokens": 1, "reasoning_tokens": 2},
}


def weather(city: str) -> str:
    """Tell the weather."""
    return f"Sunny in {city}"


def bot(*script: Any, **options: Any) -> Agent[Any, Any]:
    return Agent(ScriptedModel(script), **options)


def ask(client: Any, **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": "bot", "messages": HELLO, **fields})


def streamed(client: Any, **fields: Any) -> list[Any]:
    return list(ask(client, stream=True, **fields))


def joined(chunks: list[Any], name: str = "content", choice: int = 0) -> str:
    deltas = [each.delta for chunk in chunks for each in chunk.choices if each.index == choice]
    return "".join(getattr(delta, name, None) or "" for delta in deltas)


def test_a_whole_answer_has_every_field(client_of):
    client = client_of(bot(say("Good day.", reasoning="They greet.", usage=USAGE)))
    raw = client.chat.completions.with_raw_response.create(model="bot", messages=HELLO)
    data = json.loads(raw.content)
    assert data.pop("id").startswith("chatcmpl-")
    assert isinstance(data.pop("created"), int)
    assert data.pop("system_fingerprint").startswith("fp_")
    assert data["choices"][0]["message"].pop("agentkit_state")  # its endpoint may want its reasoning again
    assert data == {
        "object": "chat.completion",
        "model": "bot",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Good day.",
                    "refusal": None,
                    "reasoning_content": "They greet.",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.request_id == raw.headers["x-request-id"]


def test_a_stream_is_the_same_answer(client_of):
    client = client_of(bot(say(["Good ", "day."], reasoning="They greet.", usage=USAGE)))
    chunks = streamed(client, stream_options={"include_usage": True})
    *told, last = chunks
    assert joined(told) == "Good day."
    assert joined(told, "reasoning_content") == "They greet."
    assert {(chunk.object, chunk.model, chunk.id, chunk.system_fingerprint) for chunk in chunks} == {
        ("chat.completion.chunk", "bot", last.id, last.system_fingerprint)
    }
    assert told[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in told for choice in chunk.choices][-2:] == [None, "stop"]
    assert [chunk.usage for chunk in told] == [None] * len(told)
    assert last.choices == []
    assert last.model_dump(exclude_unset=True)["usage"] == USAGE


def test_no_usage_is_streamed_unasked(client_of):
    assert all(chunk.usage is None and chunk.choices for chunk in streamed(client_of(bot("Hi."))))


@pytest.mark.parametrize("stream", [False, True])
def test_the_agents_own_tools_run_in_the_server(client_of, stream):
    asked = calls(call("weather", city="Hue"), text="Let me see.", usage=USAGE)
    client = client_of(bot(asked, say("Sunny.", usage=USAGE), tools=[weather]))
    if stream:
        chunks = streamed(client, stream_options={"include_usage": True})
        text, usage = joined(chunks), chunks[-1].usage
        assert all(not choice.delta.tool_calls for chunk in chunks for choice in chunk.choices)
    else:
        answer = ask(client)
        text, usage = answer.choices[0].message.content, answer.usage
        assert answer.choices[0].message.tool_calls is None
        assert answer.choices[0].finish_reason == "stop"
    assert text == "Let me see.\n\nSunny."
    assert usage.prompt_tokens == 22
    assert usage.total_tokens == 36
    assert usage.prompt_tokens_details.cached_tokens == 6
    assert usage.completion_tokens_details.reasoning_tokens == 4


SHOWN = '→ weather {"city": "Hue"}\n← weather ok: Sunny in Hue\n'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("show_steps", "content", "reasoning"),
    [(None, "Sunny.", ""), ("text", f"{SHOWN}Sunny.", ""), ("reasoning", "Sunny.", SHOWN)],
)
def test_steps_are_shown_if_wanted(client_of, show_steps, content, reasoning, stream):
    client = client_of(bot(call("weather", city="Hue"), "Sunny.", tools=[weather]), show_steps=show_steps)
    if stream:
        chunks = streamed(client)
        assert (joined(chunks), joined(chunks, "reasoning_content")) == (content, reasoning)
    else:
        message = ask(client).choices[0].message
        assert (message.content, getattr(message, "reasoning_content", "")) == (content, reasoning)


@pytest.mark.parametrize("stream", [False, True])
def test_n_is_so_many_runs(client_of, stream):
    texts = iter(["One.", "Two.", "Three."])
    client = client_of(Agent(ScriptedModel(lambda _: say(next(texts), usage=(5, 2)))))
    if stream:
        chunks = streamed(client, n=3, stream_options={"include_usage": True})
        found, usage = {joined(chunks, choice=index) for index in range(3)}, chunks[-1].usage
    else:
        answer = ask(client, n=3)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        found, usage = {choice.message.content for choice in answer.choices}, answer.usage
    assert found == {"One.", "Two.", "Three."}
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (15, 6, 21)


def test_settings_reach_the_model(client_of):
    model = ScriptedModel(["Fine."])
    client = client_of(Agent(model, settings={"temperature": 1.5, "seed": 3}))
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    ask(client, temperature=0.5, stop=["\n"], logit_bias={"5": -1}, user="ann", response_format=form, top_p=None)
    settings = model.requests[0].settings
    assert (settings.temperature, settings.seed, settings.stop) == (0.5, 3, ["\n"])
    assert (settings.logit_bias, settings.user, settings.response_format) == ({"5": -1}, "ann", form)
    assert settings.top_p is None


@pytest.mark.parametrize(
    ("cap", "own", "fields", "sent"),
    [
        (None, {}, {"max_tokens": 9000}, (9000, None)),
        (100, {}, {"max_tokens": 9000}, (100, None)),
        (100, {}, {"max_completion_tokens": 9000}, (None, 100)),
        (100, {}, {"max_completion_tokens": 50}, (None, 50)),
        (100, {}, {}, (None, 100)),
        (100, {"max_tokens": 20}, {}, (None, 20)),
        (100, {"max_tokens": 20}, {"max_tokens": 60}, (60, None)),
        (None, {"max_tokens": 20}, {}, (20, None)),
    ],
)
def test_tokens_are_capped(client_of, cap, own, fields, sent):
    model = ScriptedModel(["Fine."])
    ask(client_of(Agent(model, settings=own), max_tokens_cap=cap), **fields)
    settings = model.requests[0].settings
    assert (settings.max_tokens, settings.max_completion_tokens) == sent


@pytest.mark.parametrize(
    ("given", "told"),
    [("stop", "stop"), ("length", "length"), ("max_tokens", "length"), ("eos", "stop")],
)
def test_finish_reasons(client_of, given, told):
    assert ask(client_of(bot(say("So it", finish_reason=given)))).choices[0].finish_reason == told


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_an_answer(client_of, stream):
    client = client_of(bot(say("", refusal="I won't.")))
    if stream:
        chunks = streamed(client)
        assert (joined(chunks, "refusal"), joined(chunks)) == ("I won't.", "")
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        message = ask(client).choices[0].message
        assert (message.refusal, message.content) == ("I won't.", None)


@pytest.mark.parametrize("stream", [False, True])
def test_a_filtered_answer_is_cut(client_of, stream):
    client = client_of(bot(say("So far", finish_reason="content_filter")))
    if stream:
        chunks = streamed(client)
        assert (joined(chunks), chunks[-1].choices[0].finish_reason) == ("So far", "content_filter")
    else:
        choice = ask(client).choices[0]
        assert (choice.message.content, choice.finish_reason) == ("So far", "content_filter")


@pytest.mark.parametrize("stream", [False, True])
def test_audio_comes_with_the_answer(client_of, stream):
    audio = {"id": "a1", "data": "AAAA", "transcript": "Hi", "expires_at": 1}
    client = client_of(bot(reply({"role": "assistant", "content": None, "audio": audio})))
    if stream:
        deltas = [chunk.choices[0].delta.model_dump() for chunk in streamed(client)]
        assert [delta["audio"] for delta in deltas if delta.get("audio")] == [audio]
    else:
        message = ask(client, modalities=["text", "audio"], audio={"voice": "x", "format": "wav"}).choices[0].message
        assert message.audio.model_dump(exclude_unset=True) == audio
        assert message.content == "Hi"


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_stands_beside_json(client_of, stream):
    script = [calls(call("weather", city="Hue"), text="Let me see."), '{"sky": "clear"}']
    client = client_of(bot(*script, tools=[weather]), show_steps="text")
    fields = {"response_format": {"type": "json_object"}}
    text = joined(streamed(client, **fields)) if stream else ask(client, **fields).choices[0].message.content
    assert text == '{"sky": "clear"}'


SYSTEM = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": [{"type": "text", "text": "Or not."}]},
]


@pytest.mark.parametrize(
    ("system", "told"),
    [("add", "Own words.\n\nBe brief.\n\nOr not."), ("replace", "Be brief.\n\nOr not.")],
)
def test_system_messages(client_of, system, told):
    model = ScriptedModel(["Fine."])
    client = client_of(Agent(model, instructions="Own words."), system=system)
    ask(client, messages=[SYSTEM[0], *HELLO, SYSTEM[1]])
    assert model.requests[0].messages == [{"role": "system", "content": told}, *HELLO]


def test_models(client_of):
    client = client_of({"one": bot("x"), "two/b": bot("y")})
    assert [model.id for model in client.models.list()] == ["one", "two/b"]
    model = client.models.retrieve("two/b")
    assert (model.id, model.object, model.owned_by) == ("two/b", "model", "agentkit")
    assert client.chat.completions.create(model="two/b", messages=HELLO).choices[0].message.content == "y"


def test_the_fingerprint_is_the_agents(client_of):
    def fingerprint(**options: Any) -> str:
        return ask(client_of(bot("x", **options))).system_fingerprint

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(instructions="a"), fingerprint(tools=[weather])}) == 3


def test_deps_come_from_the_caller(client_of):
    from agentkit import Context

    seen = []

    def look(context: Context[str]) -> str:
        """Look."""
        seen.append(context.deps)
        return "ok"

    agent = bot(call("look"), "Seen.", tools=[look])
    client = client_of(agent, api_keys={"sk-for-tests-1": "Ann"}, deps=lambda c: f"{c.key} {c.user} {c.headers['x-a']}")
    ask(client, user="u1", extra_headers={"x-a": "b"})
    assert seen == ["Ann u1 b"]
