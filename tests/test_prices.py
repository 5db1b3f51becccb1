from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from datetime import UTC, datetime
from math import inf, nan
from pathlib import Path

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.errors import UsageError
from agentkit.messages import ToolCall, Usage, assistant, user
from agentkit.prices import Price, cost_of, cost_of_entries, dollars, price_of, unknown_price, unpriced
from agentkit.transcript import CallRecord, Entry, Transcript

OPENAI = "https://api.openai.com/v1"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
CENT = Price(10_000, 20_000)  # a token costs one cent, or two

AMOUNTS = ["input_usd", "output_usd", "cached_usd", "cache_write_usd", "audio_input_usd", "audio_output_usd"]


@pytest.mark.parametrize("name", [*AMOUNTS, "request_usd"])
@pytest.mark.parametrize(
    ("value", "right"), [(0, True), (1.5, True), (-1, False), (nan, False), (inf, False), ("1", False)]
)
def test_a_price_is_an_amount(name, value, right):
    given_ = {"input_usd": 1, "output_usd": 1, name: value}
    if right:
        assert getattr(Price(**given_), name) == value
    else:
        with pytest.raises(UsageError, match=rf"Price\.{name} is a number of at least 0, not {re.escape(repr(value))}"):
            Price(**given_)


def test_prices_are_values():
    price = Price(1, 2, 0.5, above=[(100, Price(2, 4))])
    assert price == Price(1.0, 2.0, 0.5, above=((100, Price(2, 4)),))
    assert hash(price) == hash(Price(1, 2, 0.5, above=[(100, Price(2, 4))]))
    assert price != Price(1, 2, 0.5)
    assert price != "Price(1, 2)"
    assert pickle.loads(pickle.dumps(price)) == copy.deepcopy(price) == price
    assert repr(price) == "Price(1, 2, above=((100, Price(2, 4)),), cached_usd=0.5)"
    assert repr(Price(0, 0)) == "Price(0, 0)"


def test_a_price_may_depend_on_the_size():
    price = Price(1, 2, above=[(300, Price(5, 6, audio_output_usd=9)), (200, Price(3, 4, cache_write_usd=7))])
    assert [price.at(tokens).input_usd for tokens in (0, 200, 201, 300, 301)] == [1, 1, 3, 3, 5]
    assert price.most(200) == (1, 2, 1, 2)
    assert price.most(201) == (7, 4, 7, 4)
    assert price.most(10**9) == (7, 6, 7, 9)


@pytest.mark.parametrize(
    ("usage", "price", "cents"),
    [
        (Usage(10, 5, 15), CENT, 20),
        (Usage(10, 5, 15, cached_tokens=4), CENT, 20),
        (Usage(10, 5, 15, cached_tokens=4), Price(10_000, 20_000, 2_500), 17),
        (Usage(10, 5, 15, cached_tokens=4), Price(10_000, 20_000, 0), 16),
        (Usage(10, 5, 15, reasoning_tokens=3), CENT, 20),
        # xAI and Google: what was thought is in the total alone
        (Usage(10, 5, 115, reasoning_tokens=100), CENT, 220),
        (Usage(10, 5, 115), CENT, 220),
        # Anthropic: what was cached is beside the prompt
        (Usage(10, 5, 15, cached_tokens=100, extra={"cache_read_input_tokens": 100}), Price(10_000, 20_000, 1_000), 20),
        (
            Usage(10, 5, 15, extra={"cache_creation_input_tokens": 6}),
            Price(10_000, 20_000, cache_write_usd=20_000),
            26,
        ),
        (
            Usage(10, 5, 15, extra={"prompt_tokens_details": {"cache_write_tokens": 6}}),
            Price(10_000, 20_000, cache_write_usd=20_000),
            26,
        ),
        (Usage(10, 5, 15, extra={"prompt_tokens_details": {"cache_write_tokens": "6"}}), CENT, 20),
        (Usage(10, 5, 15, prompt_audio_tokens=4, completion_audio_tokens=5), CENT, 20),
        (
            Usage(10, 5, 15, prompt_audio_tokens=4, completion_audio_tokens=5),
            Price(10_000, 20_000, audio_input_usd=100_000, audio_output_usd=200_000),
            146,
        ),
        (Usage(10, 5, 15), Price(10_000, 20_000, request_usd=0.5), 70),
        (Usage(10, 5, 15), Price(10_000, 20_000, above=[(9, Price(30_000, 40_000))]), 50),
        (Usage(10, 5, 15), Price(10_000, 20_000, above=[(10, Price(30_000, 40_000))]), 20),
        (Usage(), CENT, 0),
        (Usage(10, 5, 15), Price(0, 0), 0),
    ],
)
def test_what_a_reply_cost(usage, price, cents):
    assert cost_of(usage, price) * 100 == pytest.approx(cents)


COUNTS = st.integers(0, 10**7)
MODELS = [
    ("gpt-5-mini", OPENAI, "openai"),
    ("gpt-5.4", OPENAI, "openai"),
    ("gpt-5.4", "https://some.openai.azure.com/openai/v1", "azure"),
    ("gemini-2.5-pro", GEMINI, "google"),
    ("grok-4.3", "https://api.x.ai/v1", "x-ai"),
    ("deepseek-chat", "https://api.deepseek.com/v1", "deepseek"),
    ("mistral-large-latest", "https://api.mistral.ai/v1", "mistral"),
    ("llama-3.3-70b-versatile", "https://api.groq.com/openai/v1", "groq"),
    ("openai/gpt-5-mini", "https://openrouter.ai/api/v1", "openrouter"),
    ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "https://api.together.xyz/v1", "together"),
    ("accounts/fireworks/models/gpt-oss-120b", "https://api.fireworks.ai/inference/v1", "fireworks"),
]


@given(st.sampled_from(MODELS), COUNTS, COUNTS, st.floats(0, 1))
def test_a_list_price_is_that_of_genai_prices(case, sent, came, cached):
    model, base_url, provider = case
    at = datetime(2026, 10, 1, 12, tzinfo=UTC)
    counts = {"input_tokens": sent, "output_tokens": came, "cache_read_tokens": int(sent * cached)}
    theirs = genai_prices.calc_price(
        genai_prices.Usage(**counts), model, provider_id=provider, genai_request_timestamp=at
    ).total_price
    price = price_of(model, base_url, at=at.timestamp())
    ours = cost_of(Usage(sent, came, sent + came, cached_tokens=int(sent * cached)), price)
    assert ours == pytest.approx(float(theirs), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("gpt-5-mini", "http://127.0.0.1:8000/v1"),
        ("gpt-5-mini", "https://gateway.example/v1"),
        ("no-such-model-at-all", OPENAI),
        ("text-embedding-3-small", OPENAI),  # has no price of output
        ("gpt-realtime-whisper", OPENAI),  # is paid by the hour
        (None, OPENAI),
        ("gpt-5-mini", None),
    ],
)
def test_what_has_no_list_price(model, base_url):
    assert price_of(model, base_url) is None


def test_a_service_tier_has_its_own_price():
    standard, flex, priority = (
        price_of("gpt-5-mini", OPENAI, service_tier=tier) for tier in (None, "flex", "priority")
    )
    assert flex.input_usd < standard.input_usd < priority.input_usd
    assert price_of("gpt-5-mini", OPENAI, service_tier="no-such-tier") == standard


def test_the_local_model_costs_nothing():
    assert price_of("local", "local") == Price(0, 0)


def test_a_price_may_be_one_of_each_request():
    assert price_of("sonar-pro", "https://api.perplexity.ai").request_usd > 0


def test_some_images_take_more_than_others():
    assert price_of("gpt-4o-mini", OPENAI).image_tokens > price_of("gpt-4o", OPENAI).image_tokens


def test_without_the_extra_nothing_is_known(monkeypatch):
    known = unknown_price("gpt-9", OPENAI)
    assert str(known) == (
        f"a limit in USD needs the price of gpt-9 at {OPENAI}, which is not known: say it where the model is made: "
        "ChatModel(…, price=Price(input_usd, output_usd)), per million tokens"
    )
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert price_of("gpt-5-mini", OPENAI) is None
    assert "pip install 'agentkit[prices]'" in str(unknown_price("gpt-5-mini", OPENAI))


def test_who_counts_no_money_loads_no_prices():
    code = """
import sys
from agentkit import Agent
from agentkit.model import ChatModel
from agentkit.testing import FakeEndpoint
with FakeEndpoint() as fake:
    Agent(ChatModel("m", base_url=fake.base_url, api_key=fake.api_key)).run_sync("Hello")
assert "genai_prices" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=Path(__file__).parent.parent, check=True)


# Entries


def reply(model: str | None = "gpt-5-mini", *, source: str | None = OPENAI, **more: object) -> Entry:
    given_ = {"usage": Usage(1_000_000, 1_000_000, 2_000_000), "at": 1_764_000_000.0, **more}
    return Entry(assistant("Yes."), author="model", model=model, source=source, **given_)


ASKED = Entry(user("Well?"))
MINI = cost_of(Usage(1_000_000, 1_000_000, 2_000_000), price_of("gpt-5-mini", OPENAI))


def calling(*inner: Entry) -> Entry:
    """A reply whose call is done by another agent."""
    record = CallRecord(ToolCall("a", "ask", "{}"), transcript=Transcript(inner))
    return reply(calls=(CallRecord(ToolCall("b", "look", "{}")), record))


@pytest.mark.parametrize(
    ("entries", "cost", "unknown"),
    [
        ([], 0.0, set()),
        ([ASKED], 0.0, set()),
        ([ASKED, reply(), ASKED, reply()], 2 * MINI, set()),
        ([reply(cost=7.5)], 7.5, set()),
        ([reply("mine", cost=0.5), reply()], 0.5 + MINI, set()),
        ([reply("mine"), reply(), reply("other", source="http://127.0.0.1:1/v1")], None, {"mine", "other"}),
        ([reply(usage=None)], None, {"gpt-5-mini"}),
        ([reply("local", source="local", at=0.0)], 0.0, set()),
        ([reply(None, source=None)], None, {"a model without a name"}),
        ([Entry(assistant("As I said."))], 0.0, set()),
        ([calling(ASKED, reply(), reply(cost=1.0))], 2 * MINI + 1.0, set()),
        ([calling(reply("mine"))], None, {"mine"}),
    ],
)
def test_what_a_conversation_cost(entries, cost, unknown):
    assert cost_of_entries(entries) == (None if cost is None else pytest.approx(cost))
    assert unpriced(entries) == unknown


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0.00"),
        (0.01, "$0.01"),
        (1, "$1.00"),
        (0.0042, "$0.0042"),
        (1234.5678912, "$1234.567891"),
        (0.000004, "$0.000004"),
        (1e-9, "$1e-09"),
    ],
)
def test_how_an_amount_is_told(usd, text):
    assert dollars(usd) == text
