"""What agentkit does, and what it tells, where nothing but its base dependencies is installed: `python tests/bare.py`.

tests/test_packaging.py and scripts/package run it in environments that have the wheel. The tests' own libraries are not
there, so these are plain asserts.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import agentkit
from agentkit import Agent, ChatModel
from agentkit.errors import AgentKitError
from agentkit.testing import FakeEndpoint, ScriptedModel, call

ROOT = Path(__file__).parent.parent


def told(extra: str, attempt: Callable[[], object]) -> None:
    """What needs an extra says which."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            attempt()
    except (AgentKitError, ImportError, SystemExit) as error:
        text = f"{said.getvalue()}{error}"
    else:
        raise AssertionError(f"it needs {extra}, and does without it")
    assert f"pip install 'agentkit[{extra}]'" in text, text
    sys.stdout.write(f"without {extra}: {text.strip()}\n")


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def runs() -> None:
    """A run with a scripted model; and over HTTP, in each of the four ways."""
    script = [call("double", number=21), "42."]
    agent = Agent(ScriptedModel(script), tools=[double])
    assert agent.run_sync("Double 21!").output == "42."
    for watched in (False, True):
        for sync in (False, True):
            with FakeEndpoint(script, api_key="sk-fake") as endpoint:
                agent = Agent(ChatModel("m", base_url=endpoint.base_url, api_key="sk-fake"), tools=[double])
                ended = in_sync(agent, watched) if sync else asyncio.run(in_async(agent, watched))
                assert ended.output == "42.", ended.output
                assert ended.tool_calls[0].result.content == "42"


def in_sync(agent, watched):
    if not watched:
        return agent.run_sync("Double 21!")
    with agent.stream_sync("Double 21!") as run:
        return run.finish()


async def in_async(agent, watched):
    if not watched:
        return await agent.run("Double 21!")
    async with agent.stream("Double 21!") as run:
        return await run.finish()


def readme() -> None:
    """The README's first agent, as it stands there."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert block is not None
    with FakeEndpoint(["606060.61 dong."], api_key=None) as endpoint:
        os.environ |= {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": "key-for-tests"}
        namespace: dict[str, object] = {}
        exec(block[1], namespace)
    assert namespace["result"].output == "606060.61 dong."


def main() -> None:
    home = Path(agentkit.__file__).parent
    assert not home.is_relative_to(ROOT), f"{home} is not what was installed"
    runs()
    readme()
    command = entry_points(group="console_scripts", name="agentkit")["agentkit"]
    told("cli", command.load())
    told("serve", lambda: import_module("agentkit.serve"))
    told("store", lambda: import_module("agentkit.conversations"))
    told("fast", lambda: ChatModel("openai:gpt-5-mini", http="aiohttp"))
    told("local", lambda: Agent("local").run_sync("Hello"))
    told("prices", lambda: Agent("openai:gpt-5-mini").run_sync("Hello", limits=agentkit.Limits(cost_usd=1)))
    sys.stdout.write(f"agentkit on Python {sys.version.partition(' ')[0]}: all is well\n")


if __name__ == "__main__":
    main()
