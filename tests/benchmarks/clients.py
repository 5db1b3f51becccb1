"""The work as each client does it: by hand on httpx, by agentkit, and by others where they are installed."""

from __future__ import annotations

import asyncio
import inspect
import json
import typing
from collections.abc import Callable
from typing import Any, ClassVar

from tests.benchmarks.tasks import PARAMETERS, PROMPT, SYSTEM, Task, async_tool, sync_tool

Functions = list[Callable[..., Any]]
NO_LIMIT = 1_000_000


class Client:
    """Does tasks against one endpoint. `imports` is what its user imports."""

    imports: ClassVar[str]

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def prepare(self, task: Task) -> Any:
        """What is made once for many runs of a task."""
        return None

    async def run(self, made: Any, task: Task) -> str:
        """The answer."""
        raise NotImplementedError

    def run_sync(self, made: Any, task: Task) -> str:
        raise NotImplementedError

    async def stream(self, made: Any, task: Task, told: Callable[[str], None]) -> str:
        """The answer, each piece of its text told as it comes."""
        raise NotImplementedError

    async def keep(self, made: Any, task: Task) -> object:
        """What is kept of a conversation between two questions."""
        raise NotImplementedError

    def schemas(self, functions: Functions) -> list[Any]:
        raise NotImplementedError


class ByHand(Client):
    """The loop that a careful person writes with httpx and json."""

    imports = "import httpx, json"

    def __init__(self, base_url: str) -> None:
        import httpx

        super().__init__(base_url)
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
        headers = {"authorization": "Bearer x"}
        self.client = httpx.AsyncClient(limits=limits, timeout=600, headers=headers)
        self.client_sync = httpx.Client(limits=limits, timeout=600, headers=headers)
        self.url = f"{base_url}/chat/completions"

    def prepare(self, task: Task) -> Any:
        return async_tool(task), sync_tool(task)

    def _begin(self) -> list[dict[str, Any]]:
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]

    def _body(self, task: Task, messages: list[dict[str, Any]]) -> dict[str, Any]:
        function = {"name": "lookup", "description": "Look a key up in the store.", "parameters": PARAMETERS}
        tools = [{"type": "function", "function": function}]
        return {"model": task.scenario.model, "messages": messages, "tools": tools}

    async def _call(self, lookup: Any, call: dict[str, Any]) -> dict[str, Any]:
        content = await lookup(**json.loads(call["function"]["arguments"]))
        return {"role": "tool", "tool_call_id": call["id"], "content": content}

    async def _converse(self, made: Any, task: Task) -> list[dict[str, Any]]:
        messages = self._begin()
        while True:
            response = await self.client.post(self.url, json=self._body(task, messages))
            response.raise_for_status()
            messages.append(message := json.loads(response.content)["choices"][0]["message"])
            if not (calls := message.get("tool_calls")):
                return messages
            if len(calls) == 1:
                messages.append(await self._call(made[0], calls[0]))
            else:
                messages += await asyncio.gather(*[self._call(made[0], call) for call in calls])

    async def run(self, made: Any, task: Task) -> str:
        answer: str = (await self._converse(made, task))[-1]["content"]
        return answer

    async def keep(self, made: Any, task: Task) -> object:
        return await self._converse(made, task)

    def run_sync(self, made: Any, task: Task) -> str:
        messages = self._begin()
        while True:
            response = self.client_sync.post(self.url, json=self._body(task, messages))
            response.raise_for_status()
            messages.append(message := json.loads(response.content)["choices"][0]["message"])
            if not message.get("tool_calls"):
                answer: str = message["content"]
                return answer
            for call in message["tool_calls"]:
                content = made[1](**json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})

    async def stream(self, made: Any, task: Task, told: Callable[[str], None]) -> str:
        messages = self._begin()
        while True:
            body = self._body(task, messages) | {"stream": True, "stream_options": {"include_usage": True}}
            texts: list[str] = []
            calls: dict[int, dict[str, Any]] = {}
            async with self.client.stream("POST", self.url, json=body) as response:
                async for line in response.aiter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    for choice in json.loads(line[6:])["choices"]:
                        if text := choice["delta"].get("content"):
                            texts.append(text)
                            told(text)
                        _merge(calls, choice["delta"].get("tool_calls") or ())
            if not calls:
                return "".join(texts)
            listed = [
                call | {"function": {**call["function"], "arguments": "".join(call["pieces"])}}
                for call in calls.values()
            ]
            messages.append({"role": "assistant", "content": "".join(texts) or None, "tool_calls": listed})
            messages += await asyncio.gather(*[self._call(made[0], call) for call in listed])

    def schemas(self, functions: Functions) -> list[Any]:
        import docstring_parser
        from pydantic import Field, create_model

        schemas: list[Any] = []
        for function in functions:
            told = docstring_parser.parse(function.__doc__ or "")
            texts = {param.arg_name: param.description for param in told.params}
            hints = typing.get_type_hints(function)
            fields: dict[str, Any] = {
                name: (
                    hints[name],
                    Field(... if param.default is param.empty else param.default, description=texts[name]),
                )
                for name, param in inspect.signature(function).parameters.items()
            }
            schemas.append(create_model(function.__name__, **fields).model_json_schema())
        return schemas


def _merge(calls: dict[int, dict[str, Any]], deltas: Any) -> None:
    for delta in deltas:
        known = calls.setdefault(delta["index"], {"pieces": [], **delta})
        known["pieces"].append(delta["function"].get("arguments") or "")


class AgentKit(Client):
    """agentkit as its users write it."""

    imports = "import agentkit"

    def prepare(self, task: Task) -> Any:
        from agentkit import Agent, ChatModel, Limits
        from agentkit.tools import Tool

        model = ChatModel(task.scenario.model, base_url=self.base_url, api_key="x")
        told: dict[str, Any] = {"instructions": SYSTEM, "limits": Limits(steps=None)}
        looking = Tool(async_tool(task), read_only=True)
        return Agent(model, tools=[looking], **told), Agent(model, tools=[sync_tool(task)], **told)

    async def run(self, made: Any, task: Task) -> str:
        output: str = (await made[0].run(PROMPT)).output
        return output

    def run_sync(self, made: Any, task: Task) -> str:
        output: str = made[1].run_sync(PROMPT).output
        return output

    async def stream(self, made: Any, task: Task, told: Callable[[str], None]) -> str:
        from agentkit.events import TextDelta

        async with made[0].stream(PROMPT) as run:
            async for event in run:
                if isinstance(event, TextDelta):
                    told(event.text)
        output: str = run.result.output
        return output

    async def keep(self, made: Any, task: Task) -> object:
        return (await made[0].run(PROMPT)).transcript

    def schemas(self, functions: Functions) -> list[Any]:
        from agentkit.tools import Tool

        return [Tool(function).parameters for function in functions]


class PydanticAI(Client):
    """pydantic-ai, on its own model for OpenAI's endpoint."""

    imports = "from pydantic_ai import Agent; from pydantic_ai.models.openai import OpenAIChatModel"

    def prepare(self, task: Task) -> Any:
        from pydantic_ai import Agent
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        provider = OpenAIProvider(base_url=self.base_url, api_key="x")
        model = OpenAIChatModel(task.scenario.model, provider=provider)
        return (
            Agent(model, instructions=SYSTEM, tools=[async_tool(task)]),
            Agent(model, instructions=SYSTEM, tools=[sync_tool(task)]),
        )

    def _limits(self) -> Any:
        from pydantic_ai.usage import UsageLimits

        return UsageLimits(request_limit=None)

    async def run(self, made: Any, task: Task) -> str:
        output: str = (await made[0].run(PROMPT, usage_limits=self._limits())).output
        return output

    def run_sync(self, made: Any, task: Task) -> str:
        output: str = made[1].run_sync(PROMPT, usage_limits=self._limits()).output
        return output

    async def stream(self, made: Any, task: Task, told: Callable[[str], None]) -> str:
        async with made[0].run_stream(PROMPT, usage_limits=self._limits()) as run:
            async for text in run.stream_text(delta=True, debounce_by=None):
                told(text)
            output: str = await run.get_output()
        return output

    async def keep(self, made: Any, task: Task) -> object:
        return (await made[0].run(PROMPT, usage_limits=self._limits())).all_messages()

    def schemas(self, functions: Functions) -> list[Any]:
        from pydantic_ai import Tool

        return [Tool(function).tool_def.parameters_json_schema for function in functions]


CLIENTS: dict[str, type[Client]] = {"by hand": ByHand, "agentkit": AgentKit, "pydantic-ai": PydanticAI}
FLOOR = "by hand"
