"""How to test what is built with agentkit, without network: `pytest examples/testing_a_bot.py`, or run it as it is."""

from __future__ import annotations

from agentkit import Agent, ChatModel
from agentkit.testing import FakeEndpoint, ScriptedModel, call, fixed_clock, forbid_real_requests, override, say, status

STOCK = {"shirt": 3}


def in_stock(product: str) -> int:
    """Tell how many of a product are in stock."""
    return STOCK.get(product, 0)


# The bot as a program has it: a global of some module.
bot = Agent("openai:gpt-5-mini", tools=[in_stock], instructions="You work in a shop.")


def test_the_bot_looks_before_it_answers() -> None:
    """The model is scripted; the tool, the schema and the loop are the real ones."""
    model = ScriptedModel([call("in_stock", product="shirt"), "We have three."])
    with override(model=model), forbid_real_requests():
        result = bot.run_sync("Any shirts?")
    assert result.output == "We have three."
    assert [(each.call.name, each.result and each.result.content) for each in result.tool_calls] == [("in_stock", "3")]
    assert model.requests[0].instructions == "You work in a shop."


def test_the_bot_without_its_stock() -> None:
    """A tool is replaced too, by one of the same name."""

    def in_stock(product: str) -> int:
        """Tell that there is nothing."""
        return 0 * len(product)

    with override(model=ScriptedModel([call("in_stock", product="shirt"), "None left."]), tools=[in_stock]):
        assert bot.run_sync("Any shirts?").tool_calls[0].call.parsed == {"product": "shirt"}


def test_the_bot_on_a_bad_day() -> None:
    """A real server on this machine has a bad day, and the clock is fixed, so that waiting takes no time."""
    script = [status(429, headers={"retry-after": "20"}), status(503), say("Hello.")]
    with FakeEndpoint(script) as fake, fixed_clock() as clock:
        model = ChatModel("any-model", base_url=fake.base_url, api_key=fake.api_key)
        assert bot.run_sync("Hello!", model=model).output == "Hello."
    assert len(fake.requests) == 3
    assert clock.waits[0] == 20


if __name__ == "__main__":
    for test in (
        test_the_bot_looks_before_it_answers,
        test_the_bot_without_its_stock,
        test_the_bot_on_a_bad_day,
    ):
        test()
        print(f"{test.__name__}: passed")
