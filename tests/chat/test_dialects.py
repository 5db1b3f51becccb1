from __future__ import annotations

import re
from dataclasses import fields, replace
from urllib.parse import urlsplit

import pytest

from agentkit.chat.dialects import DIALECTS, Dialect, dialect_of, split_model
from agentkit.chat.settings import FIELDS
from agentkit.errors import UsageError

EACH = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
PROMISED = (
    "openai azure tokenhub deepseek openrouter groq mistral gemini xai together fireworks "
    "ollama lmstudio vllm llamacpp generic"
).split()


def test_the_promised_endpoints_are_there():
    assert set(PROMISED) <= set(DIALECTS)
    assert all(name == dialect.name for name, dialect in DIALECTS.items())


@EACH
def test_each_dialect_is_sound(dialect):
    assert dialect.unsupported <= set(FIELDS)
    assert dialect.renamed.keys() <= set(FIELDS)
    assert dialect.response_format <= {"json_schema", "json_object"}
    assert dialect.key_required <= bool(dialect.key_env)
    assert {*dialect.echo.values(), dialect.echo_default} <= {"always", "turn", "never", "id"}
    assert dialect.system_role == "system" or dialect.developer
    if dialect.base_url is None:
        assert dialect.base_url_env
    else:
        assert not dialect.base_url.endswith("/")
        assert (urlsplit(dialect.base_url).scheme == "http") is (urlsplit(dialect.base_url).hostname == "localhost")
    if dialect.tool_call_id is not None:
        pattern, length = dialect.tool_call_id
        assert re.fullmatch(pattern, "a" * length)


def test_where_a_key_is_needed():
    keyless = {name for name, dialect in DIALECTS.items() if not dialect.key_required}
    assert keyless == {"ollama", "lmstudio", "vllm", "llamacpp", "generic"}


@pytest.mark.parametrize(
    ("name", "prefix", "model"),
    [
        ("openai:gpt-5-mini", "openai", "gpt-5-mini"),
        ("tokenhub:gpt-4", "tokenhub", "gpt-4"),
        ("ollama:llama3.2:3b", "ollama", "llama3.2:3b"),
        ("openrouter:openai/gpt-5:free", "openrouter", "openai/gpt-5:free"),
        ("generic:m", "generic", "m"),
    ],
)
@pytest.mark.parametrize("has_base_url", [True, False])
def test_a_known_prefix_names_the_endpoint(name, prefix, model, has_base_url):
    assert split_model(name, has_base_url=has_base_url) == (DIALECTS[prefix], model)


@pytest.mark.parametrize("name", ["gpt-4", "llama3.2:3b", "opnai:gpt-4", ":m", "OpenAI:m"])
def test_with_a_base_url_any_other_name_is_the_model_s(name):
    assert split_model(name, has_base_url=True) == (DIALECTS["generic"], name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("opnai:gpt-4", "unknown prefix 'opnai' in 'opnai:gpt-4': did you mean 'openai'?"),
        ("OpenAI:gpt-4", "did you mean 'openai'?"),
        ("loca:x", "did you mean 'local'?"),
        ("gpt-5-mini", "model 'gpt-5-mini' names no endpoint: write both, as in 'openai:gpt-5-mini'; the prefixes"),
        ("mistral", "write both, as in 'mistral:some-model'"),
        ("zzz:gpt-4", "the known ones are azure, deepseek"),
        ("zzz:gpt-4", "give base_url, or set OPENAI_BASE_URL"),
        ("", "model '' names no endpoint"),
        ("openai:", "names no model: write it after the colon, as in 'openai:some-model'"),
    ],
)
def test_otherwise_the_error_names_the_nearest(name, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        split_model(name, has_base_url=False)


def test_no_name_at_all_is_an_error_with_a_base_url_too():
    with pytest.raises(UsageError):
        split_model("", has_base_url=True)


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        *[
            (dialect.base_url, name)
            for name, dialect in DIALECTS.items()
            if (dialect.base_url or "").startswith("https")
        ],
        ("https://API.MISTRAL.AI/v1/", "mistral"),
        ("https://api.mistral.ai:443/v1", "mistral"),
        ("https://me.openai.azure.com/openai/v1", "azure"),
        ("https://me.services.ai.azure.com:443/openai/v1", "azure"),
        ("https://api.mistral.ai.evil.example/v1", "generic"),
        ("http://localhost:11434/v1", "generic"),
        ("http://127.0.0.1:8000/v1", "generic"),
        ("nonsense", "generic"),
    ],
)
def test_a_base_url_tells_its_dialect(base_url, name):
    assert dialect_of(base_url).name == name


@pytest.mark.parametrize(
    ("name", "environ", "base_url"),
    [
        ("openai", {}, "https://api.openai.com/v1"),
        ("openai", {"OPENAI_BASE_URL": ""}, "https://api.openai.com/v1"),
        ("openai", {"OPENAI_BASE_URL": " https://proxy.example/v1/ "}, "https://proxy.example/v1"),
        ("tokenhub", {"OPENAI_BASE_URL": "https://proxy.example/v1"}, "https://us-api.tokenhub.com/v1"),
        ("generic", {}, None),
        ("generic", {"OPENAI_BASE_URL": "http://h:1/v1"}, "http://h:1/v1"),
        ("azure", {}, None),
        ("azure", {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/"}, "https://me.openai.azure.com/openai/v1"),
        (
            "azure",
            {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/openai/v1/"},
            "https://me.openai.azure.com/openai/v1",
        ),
        ("azure", {"AZURE_OPENAI_BASE_URL": "https://gateway.example/x"}, "https://gateway.example/x"),
        ("ollama", {}, "http://localhost:11434/v1"),
        ("ollama", {"OLLAMA_HOST": "box"}, "http://box:11434/v1"),
        ("ollama", {"OLLAMA_HOST": "box:99"}, "http://box:99/v1"),
        ("ollama", {"OLLAMA_HOST": ":99"}, "http://127.0.0.1:99/v1"),
        ("ollama", {"OLLAMA_HOST": "0.0.0.0"}, "http://127.0.0.1:11434/v1"),
        ("ollama", {"OLLAMA_HOST": "http://0.0.0.0:99/"}, "http://127.0.0.1:99/v1"),
        ("ollama", {"OLLAMA_HOST": "https://ollama.example"}, "https://ollama.example/v1"),
        ("ollama", {"OLLAMA_HOST": "[::1]:99"}, "http://[::1]:99/v1"),
        ("ollama", {"OLLAMA_BASE_URL": "http://a:1/v1", "OLLAMA_HOST": "b"}, "http://a:1/v1"),
    ],
)
def test_the_address_comes_from_the_environment_or_the_dialect(name, environ, base_url):
    assert DIALECTS[name].find_base_url(environ) == base_url


@pytest.mark.parametrize(
    ("name", "environ", "key"),
    [
        ("tokenhub", {"TOKENHUB_API_KEY": "k"}, "k"),
        ("tokenhub", {"OPENAI_API_KEY": "k"}, None),
        ("gemini", {"GOOGLE_API_KEY": "second"}, "second"),
        ("gemini", {"GEMINI_API_KEY": "first\n", "GOOGLE_API_KEY": "second"}, "first"),
        ("openai", {"OPENAI_API_KEY": " "}, None),
        ("generic", {"OPENAI_API_KEY": "k"}, "k"),
    ],
)
def test_the_key_comes_from_the_environment(name, environ, key):
    assert DIALECTS[name].find_key(environ) == key


def test_the_key_s_header():
    assert DIALECTS["openai"].key_headers("k") == {"authorization": "Bearer k"}
    assert DIALECTS["azure"].key_headers("k") == {"api-key": "k"}


@pytest.mark.parametrize(
    ("name", "field", "echo"),
    [
        ("deepseek", "reasoning_content", "always"),
        ("openrouter", "reasoning_details", "always"),
        ("openrouter", "annotations", "always"),
        ("gemini", "extra_content", "always"),
        ("gemini", "reasoning_content", "never"),
        ("openai", "refusal", "always"),
        ("openai", "annotations", "never"),
        ("openai", "audio", "id"),
        ("groq", "reasoning", "never"),
        ("mistral", "prefix", "never"),
        ("tokenhub", "reasoning_content", "always"),
        ("generic", "anything", "always"),
    ],
)
def test_what_goes_back_to_where_it_came_from(name, field, echo):
    assert DIALECTS[name].echoes(field) == echo


@pytest.mark.parametrize(
    ("call_id", "fits"), [("abcDEF123", True), ("call_0fypS1hVX", False), ("abcdefgh", False), ("abcdefgh\n", False)]
)
def test_mistral_s_ids_have_nine_letters_and_digits(call_id, fits):
    pattern, length = DIALECTS["mistral"].tool_call_id or ("", 0)
    assert bool(re.fullmatch(pattern, call_id)) is fits
    assert length == 9


def test_another_dialect_is_made_from_one():
    local = replace(DIALECTS["llamacpp"], name="local", tools="json")
    assert local.tools == "json"
    assert DIALECTS["llamacpp"].tools == "native"
    assert {field.name for field in fields(Dialect)} >= {"tools", "strict", "include_usage", "key_header"}
