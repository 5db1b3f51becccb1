"""From a request to the job that it is: the agent with the client's tools and words, its limits, its conversation."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from agentkit.agent import family_of
from agentkit.chat.settings import Settings
from agentkit.errors import UsageError
from agentkit.serve.conversation import Binding, rebuilt
from agentkit.serve.decisions import DECIDE
from agentkit.serve.faults import Refused
from agentkit.serve.running import Job
from agentkit.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentkit.agent import Agent
    from agentkit.args import RunArgs
    from agentkit.serve.access import Caller
    from agentkit.serve.conversation import Conversation
    from agentkit.serve.request import ChatRequest
    from agentkit.serve.service import Served, Service
    from agentkit.serve.showing import ShowSteps

PREFIX: Final = "client_"
"""What stands before the name of a client's tool that is taken by one of the agent's."""


class Names:
    """What the client's tools are called in front of the agent's model: as they are, unless the agent's go by that."""

    def __init__(self, agent: Agent[Any, Any], listed: list[str]) -> None:
        outputs = () if agent.output is None else [spec.name for spec in agent.output.specs]
        personas = family_of(agent).values()  # the client's tools are there for each of them
        own = [name for persona in personas for name in persona.tools]
        self._taken = {name.lower() for name in (*own, *outputs)}
        self._is_open = any(persona.groups for persona in personas)  # which names those have is known in a run alone
        self.by_inner: dict[str, str] = {}
        self._inner: dict[str, str] = {}
        for name in sorted(listed, key=self._is_taken):
            self._inner[name] = self._made(name) if self._is_taken(name) else name
            self.by_inner[self._inner[name]] = name

    def _is_taken(self, name: str) -> bool:
        return self._is_open or name.lower() in self._taken

    def inner(self, name: str) -> str:
        """The name of a client's tool as the model knows it; of one that is not listed, one that can't be called."""
        if name not in self._inner:
            self._inner[name] = self._made(name)
        return self._inner[name]

    def _made(self, name: str) -> str:
        used = {*self.by_inner, *self._inner.values()}
        for number in count(1):
            made = f"{PREFIX}{name}"[:64] if number == 1 else f"{PREFIX}{name}"[:56] + f"_{number}"
            if made not in used and made.lower() not in self._taken:
                return made
        raise AssertionError  # numbers do not end


def job_of(service: Service, served: Served, request: ChatRequest, caller: Caller, digest: str) -> Job:
    """The job that a request is. Raises Refused."""
    agent = served.agent
    specs = [spec for spec in request.tools if spec["function"]["name"] != DECIDE]
    names = Names(agent, [spec["function"]["name"] for spec in specs])
    binding = Binding(service.sealer, served.name, digest)
    conversation = rebuilt(request.messages, binding, names.inner)
    _check_conversation(conversation)
    settings = _settings(service, agent, request)
    inner = {outer: made for made, outer in names.by_inner.items()}
    tools: list[Tool] = [] if request.tool_choice == "none" else _tools(specs, inner)
    if (choice := _choice(request.tool_choice, inner)) is not None and tools:
        settings["tool_choice"] = choice
    limits = agent.limits
    run_s = service.limits.run_s
    told = _told(service, conversation)
    args: RunArgs = {
        "tools": tools,
        "instructions": told if service.system == "add" else (),
        "settings": Settings(**settings),
        "limits": replace(limits, seconds=run_s if limits.seconds is None else min(limits.seconds, run_s)),
        "pause": lambda: service.is_draining,
        "deps": None if service.deps is None else service.deps(replace(caller, user=request.user)),
    }
    return Job(
        agent.with_(instructions=told) if told and service.system == "replace" else agent,
        args,
        conversation,
        binding,
        names.by_inner,
        decides=len(specs) < len(request.tools),
        whole=_is_whole(agent, request),
        show_steps=_shown(service, request),
        cuts=service.cuts,
        state_bytes=service.limits.state_bytes,
    )


def _shown(service: Service, request: ChatRequest) -> ShowSteps:
    return None if service.show_steps == "asked" and not request.wants_steps else service.show_steps


def _check_conversation(conversation: Conversation) -> None:
    if not len(conversation.transcript):
        raise Refused(400, "'messages' has no message to answer.", param="messages", code="invalid_value")
    if conversation.last_role == "assistant" and not conversation.is_open:
        message = "The last of 'messages' is the assistant's: there is nothing to answer."
        raise Refused(400, message, param="messages", code="invalid_value")


def _settings(service: Service, agent: Agent[Any, Any], request: ChatRequest) -> dict[str, Any]:
    settings = dict(request.settings)
    if agent.output is not None and request.wants_json:
        message = "Unsupported parameter: 'response_format': this agent's answers have a form of their own."
        raise Refused(400, message, param="response_format", code="unsupported_parameter")
    cap = service.max_tokens_cap
    if cap is not None:
        given = settings.get("max_tokens") or settings.get("max_completion_tokens")
        own = agent.settings.max_tokens or agent.settings.max_completion_tokens
        name = "max_tokens" if "max_tokens" in settings else "max_completion_tokens"
        settings[name] = min(given or own or cap, cap)
    return settings


def _tools(specs: list[dict[str, Any]], inner: Mapping[str, str]) -> list[Tool]:
    tools: list[Tool] = []
    for index, spec in enumerate(specs):
        function = spec["function"]
        try:
            told = {"type": "function", "function": {**function, "name": inner[function["name"]]}}
            tools.append(Tool.of(told, strict=function.get("strict") is True))
        except UsageError as error:
            raise Refused(400, str(error), param=f"tools[{index}].function", code="invalid_value") from None
    return tools


def _choice(choice: str | dict[str, Any] | None, inner: Mapping[str, str]) -> str | None:
    if isinstance(choice, dict):
        return inner.get(choice["function"]["name"])
    return choice if choice == "required" else None


def _told(service: Service, conversation: Conversation) -> list[str]:
    if conversation.system and service.system == "refuse":
        message = "System and developer messages are not taken here: this agent has its own instructions."
        raise Refused(400, message, param="messages", code="unsupported_value")
    return conversation.system


def _is_whole(agent: Agent[Any, Any], request: ChatRequest) -> bool:
    """Whether text may be shown once the answer is there alone: it is checked, or nothing may stand beside it."""
    plan = agent.plan
    if agent.output is not None or plan.validators or plan.output_guards:
        return True
    return request.wants_json and any(persona.tools or persona.groups for persona in family_of(agent).values())
