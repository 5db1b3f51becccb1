from __future__ import annotations

import re
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.chat.dialects import DIALECTS
from agentkit.chat.settings import FIELDS, Settings, check_number, nearest
from agentkit.errors import UsageError

GENERIC = DIALECTS["generic"]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}

VALID = [
    *[("temperature", value) for value in (0, 0.0, 1, 2, 2.0)],
    *[("top_p", value) for value in (0, 0.5, 1)],
    *[("presence_penalty", value) for value in (-2, 0, 2.0)],
    *[("frequency_penalty", value) for value in (-2.0, 1.5)],
    *[("n", value) for value in (1, 128)],
    *[("max_tokens", value) for value in (1, 10**6)],
    ("max_completion_tokens", 1),
    *[("top_logprobs", value) for value in (0, 20)],
    *[("seed", value) for value in (-1, 0, 2**62)],
    *[("stop", value) for value in ("x", "", ["a", "b"], ("a",), [])],
    *[("modalities", value) for value in (["text", "audio"], ("hologram",))],
    *[("logprobs", value) for value in (True, False)],
    ("parallel_tool_calls", False),
    ("store", True),
    ("user", "me"),
    ("reasoning_effort", "gigantic"),
    ("verbosity", "low"),
    ("service_tier", "flex"),
    ("prompt_cache_key", "k"),
    ("prompt_cache_retention", "24h"),
    ("safety_identifier", "s"),
    *[("tool_choice", value) for value in ("none", "auto", "required", "get_weather", {"type": "function"})],
    *[("response_format", value) for value in ({"type": "text"}, SCHEMA)],
    ("logit_bias", {"50256": -100, 7: 0.5}),
    ("audio", {"voice": "alloy"}),
    ("prediction", {}),
    ("web_search_options", {}),
    ("metadata", {"a": "b"}),
    ("extra_body", {"thinking": {"type": "enabled"}}),
    ("extra_headers", {"x-a": "b"}),
]

INVALID = [
    ("temperature", 2.1, "temperature is a number from 0 to 2, not 2.1"),
    ("temperature", -0.1, "from 0 to 2"),
    ("temperature", nan, "not nan"),
    ("temperature", True, "not True"),
    ("temperature", "hot", "not 'hot'"),
    ("top_p", 1.01, "top_p is a number from 0 to 1"),
    ("top_p", inf, "not inf"),
    ("presence_penalty", 3, "from -2 to 2"),
    ("frequency_penalty", -3, "from -2 to 2"),
    ("n", 0, "n is an integer of at least 1, not 0"),
    ("n", 1.0, "an integer"),
    ("n", True, "an integer"),
    ("max_tokens", 0, "of at least 1"),
    ("max_tokens", 10.5, "an integer"),
    ("max_completion_tokens", -1, "of at least 1"),
    ("top_logprobs", 21, "from 0 to 20"),
    ("seed", 1.5, "seed is an integer, not 1.5"),
    ("stop", 7, "stop is a string or a list of strings, not 7"),
    ("stop", ["a", 7], "list of strings"),
    ("stop", b"a", "list of strings"),
    ("modalities", "text", "modalities is a list of strings"),
    ("modalities", {"text"}, "list of strings"),
    ("logprobs", 1, "logprobs is True or False, not 1"),
    ("store", "yes", "True or False"),
    ("user", "", "user is a string that is not empty"),
    ("user", 7, "user is a string"),
    ("reasoning_effort", 1, "reasoning_effort is a string"),
    ("tool_choice", "", "not empty"),
    ("tool_choice", 7, "tool_choice is a mapping"),
    ("tool_choice", {}, "an object with a 'type'"),
    ("response_format", "json", "response_format is a mapping"),
    ("response_format", {"type": 7}, "an object with a 'type'"),
    ("response_format", dict, "response_format is a mapping"),
    ("logit_bias", [1], "logit_bias maps"),
    ("logit_bias", {"1": 101}, "logit_bias['1'] is a number from -100 to 100, not 101"),
    ("logit_bias", {1.5: 0}, "the id of a token, not 1.5"),
    ("logit_bias", {True: 0}, "the id of a token"),
    ("audio", [], "audio is a mapping"),
    ("metadata", {1: 2}, "whose keys are strings"),
    ("extra_body", [1], "extra_body is a mapping"),
    ("extra_body", {"messages": []}, "extra_body cannot set 'messages': the conversation is"),
    ("extra_body", {"stream": True}, "extra_body cannot set 'stream'"),
    ("extra_headers", {"x": 7}, "extra_headers['x'] is a string of one line, not int"),
    ("extra_headers", {"": "x"}, "one line"),
    ("extra_headers", {"x": "a\r\nhost: b"}, "one line"),
]


@pytest.mark.parametrize(("name", "value"), VALID)
def test_what_is_right_is_taken_and_sent(name, value):
    settings = Settings(**{name: value})
    assert getattr(settings, name) is not None
    if name == "extra_headers":
        assert settings.body(GENERIC) == {}
    else:
        assert settings.body(GENERIC)
    assert Settings.of({name: value}) == settings


@pytest.mark.parametrize(("name", "value", "message"), INVALID)
def test_what_is_wrong_is_refused_by_name(name, value, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Settings(**{name: value})


def test_every_field_has_a_case():
    assert (
        {name for name, _ in VALID}
        == set(FIELDS)
        == {name for name, *_ in INVALID}
        | {
            *("parallel_tool_calls", "verbosity", "service_tier", "prompt_cache_key", "prompt_cache_retention"),
            *("safety_identifier", "prediction", "web_search_options"),
        }
    )


def test_a_secret_in_a_header_is_not_shown():
    with pytest.raises(UsageError) as caught:
        Settings(extra_headers={"authorization": "secret\n"})
    assert "secret" not in str(caught.value)


def test_what_the_caller_changes_later_changes_nothing():
    stop, extra = ["a"], {"a": 1}
    settings = Settings(stop=stop, extra_body=extra)
    stop.append("b")
    extra["b"] = 2
    assert settings.body(GENERIC) == {"stop": ["a"], "a": 1}


def test_unset_fields_are_not_sent():
    assert Settings().body(GENERIC) == {}
    assert Settings(temperature=0, logprobs=False, stop="").body(GENERIC) == {
        "temperature": 0,
        "stop": "",
        "logprobs": False,
    }


@pytest.mark.parametrize(
    ("dialect", "given", "sent"),
    [
        ("openai", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ("mistral", {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ("tokenhub", {"max_tokens": 5}, {"max_tokens": 5}),
        ("tokenhub", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ("mistral", {"seed": 7, "user": "me", "verbosity": "low"}, {"random_seed": 7}),
        ("gemini", {"seed": 7, "frequency_penalty": 1, "temperature": 1}, {"temperature": 1}),
        ("groq", {"logprobs": True, "top_logprobs": 3, "seed": 1}, {"seed": 1}),
        ("gemini", {"parallel_tool_calls": False}, {}),
        ("openai", {"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ("openai", {"tool_choice": "required"}, {"tool_choice": "required"}),
        ("openai", {"tool_choice": "ping"}, {"tool_choice": {"type": "function", "function": {"name": "ping"}}}),
        ("openai", {"tool_choice": {"type": "custom"}}, {"tool_choice": {"type": "custom"}}),
        ("openai", {"logit_bias": {7: 1}}, {"logit_bias": {"7": 1}}),
        ("groq", {"extra_body": {"logprobs": True}}, {"logprobs": True}),
        ("openai", {"temperature": 1, "extra_body": {"temperature": 9, "x": None}}, {"temperature": 9, "x": None}),
    ],
)
def test_the_body_is_in_the_dialect_s_words(dialect, given, sent):
    assert Settings(**given).body(DIALECTS[dialect]) == sent


def test_only_one_name_for_the_most_tokens():
    with pytest.raises(UsageError, match="max_tokens is 1 and max_completion_tokens is 2: set one of them"):
        Settings(max_tokens=1, max_completion_tokens=2)


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"temperature": 1, "n": 2}, {"temperature": 0}, {"temperature": 0, "n": 2}),
        ({"max_tokens": 1}, {"max_completion_tokens": 2}, {"max_completion_tokens": 2}),
        ({"max_completion_tokens": 1}, {"max_tokens": 2}, {"max_tokens": 2}),
        (
            {"extra_body": {"a": 1, "b": 1}},
            {"extra_body": {"b": 2}, "extra_headers": {"x": "y"}},
            {"extra_body": {"a": 1, "b": 2}, "extra_headers": {"x": "y"}},
        ),
        ({"metadata": {"a": "1"}}, {"metadata": {"b": "2"}}, {"metadata": {"b": "2"}}),
        ({"stop": ["a"]}, {}, {"stop": ["a"]}),
        ({"logprobs": True}, {"logprobs": False}, {"logprobs": False}),
    ],
)
def test_settings_merge_field_by_field(below, above, merged):
    under = Settings(**below)
    assert under.merged(Settings(**above)) == Settings(**merged)
    assert under == Settings(**below)


def test_merging_with_none_is_the_same():
    settings = Settings(n=2)
    assert settings.merged(None) is settings


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        (None, None),
        ("auto", None),
        ("none", None),
        ("required", ""),
        ("ping", "ping"),
        ({"type": "function", "function": {"name": "ping"}}, "ping"),
        ({"type": "custom", "custom": {"name": "ping"}}, "ping"),
        ({"type": "function"}, ""),
        ({"type": "function", "function": {"name": 7}}, ""),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, ""),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, None),
    ],
)
def test_what_the_model_is_forced_to_call(choice, forced):
    assert Settings(tool_choice=choice).forced == forced


def test_settings_of_what_a_caller_has():
    settings = Settings(n=2)
    assert Settings.of(settings) is settings
    assert Settings.of(None) == Settings()
    assert Settings.of({"n": 2, "seed": None}) == settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temprature": 1}, "unknown setting 'temprature': did you mean 'temperature'?"),
        ({"Temperature": 1}, "did you mean 'temperature'?"),
        ({"zzz": 1}, "unknown setting 'zzz': send it by extra_body={'zzz': …}"),
        ({"model": "m"}, "unknown setting 'model': it is named where the model is made"),
        ({"tools": []}, "an argument of their own"),
        ({"stream": True}, "the verb says"),
        ({7: 1}, "names are strings"),
        ([1], "settings are a Settings or a mapping, not list"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(given, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Settings.of(given)


def test_a_changed_copy_is_checked_again():
    with pytest.raises(UsageError):
        replace(Settings(n=1), n=0)


SOME = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "n": st.integers(1, 5),
        "max_tokens": st.integers(1, 5),
        "stop": st.lists(st.text(), max_size=2),
        "extra_body": st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=2),
    },
)


@given(SOME, SOME, SOME)
def test_merging_is_associative(one, two, three):
    a, b, c = Settings(**one), Settings(**two), Settings(**three)
    assert a.merged(b).merged(c) == a.merged(b.merged(c))
    assert a.merged(Settings()) == a == Settings().merged(a)


@given(SOME, st.sampled_from(sorted(DIALECTS)))
def test_no_body_has_two_names_for_the_most_tokens(given, dialect):
    body = Settings(**given).body(DIALECTS[dialect])
    assert not {"max_tokens", "max_completion_tokens"} <= body.keys()
    assert "extra_body" not in body


@pytest.mark.parametrize("value", [-1, 1.5, True, None, "1", nan])
def test_a_number_that_is_wrong_names_itself(value):
    with pytest.raises(UsageError, match=re.escape(f"x is an integer of at least 0, not {value!r}")):
        check_number("x", value, low=0, whole=True)


def test_nearest():
    assert nearest("Opnai", ["openai", "azure"]) == "openai"
    assert nearest("zzz", ["openai"]) is None
