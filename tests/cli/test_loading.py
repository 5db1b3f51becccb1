from __future__ import annotations

import pytest

from agentkit import Agent
from agentkit.cli.loading import load_agent, load_deps, load_tool
from agentkit.errors import UsageError

ONE = """
from agentkit import Agent
from agentkit.testing import ScriptedModel
only = Agent(ScriptedModel(["hi"]))
def tool(): ...
class Deps: ...
"""


@pytest.mark.parametrize("spec", ["bots:agent", "bots:make"])
def test_an_agent_by_its_name(folder, spec):
    assert load_agent(spec).name == "librarian"


def test_a_file_in_the_current_folder(folder):
    (folder / "one_bot.py").write_text(ONE)
    by_module, by_file, alone = load_agent("one_bot:only"), load_agent("one_bot.py:only"), load_agent("one_bot.py")
    assert isinstance(by_module, Agent)
    assert by_module is by_file is alone


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("bots:agnt", "bots has no 'agnt': did you mean 'agent'? bots has the agents agent, "),
        ("bots:number", "'bots:number' is an int, no Agent: bots has the agents "),
        ("bots", "'bots' does not say which agent: bots has the agents "),
        ("bots:shelf_of", "'bots:shelf_of' is a Tool, no Agent"),
        ("botz:agent", "there is no module 'botz': python files here: near.py"),
        ("nea:agent", "there is no module 'nea': did you mean 'near'?"),
        ("no.such:agent", "there is no module 'no'"),
        ("nothing.py:agent", "there is no file 'nothing.py'; python files here: near.py"),
        (":agent", "':agent' names no module: write module:name"),
        (".near:agent", "names no module"),
        ("near:agent", "near has no 'agent': near has no agent at its top level"),
        ("bots:make_with", "cannot be called without arguments: missing a required argument: 'name'"),
        ("bots:make_later", "'bots:make_later' is an async function"),
    ],
)
def test_a_wrong_name_tells_what_was_found(folder, spec, told):
    (folder / "near.py").write_text("")
    with pytest.raises(UsageError) as raised:
        load_agent(spec)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import no_such_library", "it needs 'no_such_library', which is not installed"),
        ("def f(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero (--debug shows where)"),
    ],
)
@pytest.mark.parametrize("form", ["{}:agent", "{}.py:agent"])
def test_a_module_that_cannot_be_imported(folder, source, told, form):
    name = f"broken_{abs(hash((source, form)))}"
    (folder / f"{name}.py").write_text(source)
    with pytest.raises(UsageError) as raised:
        load_agent(form.format(name))
    assert told in str(raised.value)
    assert raised.value.__cause__ is not None


def test_tools_and_deps(folder):
    (folder / "more_bot.py").write_text(ONE)
    assert load_tool("more_bot:tool").__name__ == "tool"
    assert type(load_deps("more_bot:Deps")).__name__ == "Deps"
    assert load_deps("bots:number") == 7
    with pytest.raises(UsageError, match="does not say which function: more_bot has the function tool"):
        load_tool("more_bot")
    with pytest.raises(UsageError, match="is an int, no function"):
        load_tool("bots:number")
