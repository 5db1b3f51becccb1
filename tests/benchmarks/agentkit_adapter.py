"""agentkit in the framework overhead benchmark: the adapter that its large run loads."""

from __future__ import annotations

from agentkit import Agent, ChatModel, Limits
from agentkit.events import TextDelta
from agentkit.tools import Tool

from .common import PROMPT, SYSTEM, Base, make_async_tool, make_sync_tool  # noqa: TID252  # of whoever loads it

NO_LIMITS = Limits(steps=None)


class Adapter(Base):
    name = "agentkit"
    imports = "import agentkit"
    dists = ("agentkit", "httpx", "pydantic")
    venv = "agentkit"
    features = frozenset({"stream", "sync", "schema"})
    http = "httpx"

    def _agent(self, task, tool):
        model = ChatModel(task.model, base_url=self.base_url, api_key="x", http=self.http)
        return Agent(model, tools=[tool], instructions=SYSTEM, limits=NO_LIMITS)

    def prepare(self, task):
        read_only = Tool(make_async_tool(task), read_only=True)
        return self._agent(task, read_only), self._agent(task, make_sync_tool(task))

    async def run(self, handle, task):
        return (await handle[0].run(PROMPT)).output

    def run_sync(self, handle, task):
        return handle[1].run_sync(PROMPT).output

    async def stream(self, handle, task, on_text):
        async with handle[0].stream(PROMPT) as run:
            async for event in run:
                if isinstance(event, TextDelta):
                    on_text(event.text)
        return run.result.output

    def schema(self, fns):
        return [Tool(fn).parameters for fn in fns]


class Fast(Adapter):
    name = "agentkit_fast"
    dists = (*Adapter.dists, "aiohttp")
    http = "aiohttp"


VARIANTS = {variant.name: variant for variant in (Adapter, Fast)}
