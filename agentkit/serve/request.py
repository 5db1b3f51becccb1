"""A request as the server takes it: read from its body, checked by the table of fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from agentkit._json import is_nested_deeper, is_object
from agentkit.chat.settings import Settings
from agentkit.errors import UsageError
from agentkit.serve.check import check
from agentkit.serve.faults import Refused
from agentkit.serve.fields import STEPS, request_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agentkit.serve.limits import ServeLimits


@dataclass(slots=True)
class ChatRequest:
    """A request that is well-formed. `settings` are those that its agent's model is asked with."""

    model: str
    messages: list[dict[str, Any]]
    settings: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any] | None
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    wants_steps: bool = False
    user: str | None = None

    @property
    def wants_json(self) -> bool:
        """Whether the answer has to be JSON, so that nothing may stand beside it."""
        wanted = self.settings.get("response_format")
        return wanted is not None and wanted["type"] != "text"


def read_json(body: bytes, limits: ServeLimits) -> dict[str, Any]:
    """The object that a body spells. Raises Refused."""
    try:
        value: Any = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Refused(400, "The body is no JSON.", code="invalid_json") from None
    if is_nested_deeper(value, limits.nesting):
        raise Refused(400, f"The body is nested more than {limits.nesting} levels deep.", code="invalid_json")
    if not is_object(value):
        raise Refused(400, "The body has to be a JSON object.", code="invalid_json")
    return value


def read_request(body: Mapping[str, Any], limits: ServeLimits) -> ChatRequest:
    """The request that a body makes. Raises Refused, naming the field."""
    fields = request_fields(limits)
    check(
        {"type": "object", "properties": {field.name: _ANYTHING for field in fields}, "additionalProperties": False},
        body,
        "",
    )
    given: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for field in fields:
        value: Any = body.get(field.name)
        if value is None and not field.required:
            continue
        if field.name not in body:
            raise Refused(
                400,
                f"Missing required parameter: '{field.name}'.",
                param=field.name,
                code="missing_required_parameter",
            )
        try:
            check(field.schema, value, field.name)
        except Refused as problem:
            if field.becomes != "refused":
                raise
            message = f"Unsupported parameter: '{field.name}': {field.note}."
            raise Refused(400, message, param=field.name, code="unsupported_parameter") from problem
        if isinstance(value, float) and field.schema.get("type") == "integer":
            value = int(value)  # 1.0 is one too
        given[field.name] = value
        if field.becomes in ("model", "capped"):
            settings[field.name] = value
    if "max_tokens" in settings and "max_completion_tokens" in settings:
        message = "'max_tokens' and 'max_completion_tokens' mean the same: give one of them."
        raise Refused(400, message, param="max_tokens", code="invalid_value")
    try:
        Settings(**settings)
    except UsageError as error:
        raise Refused(400, str(error), code="invalid_value") from None
    tools: list[dict[str, Any]] = given.get("tools", [])
    choice: Any = given.get("tool_choice")
    options: dict[str, Any] = given.get("stream_options", {})
    _check_tools(tools, choice)
    return ChatRequest(
        given["model"],
        given["messages"],
        settings,
        tools,
        choice,
        n=given.get("n", 1),
        stream=given.get("stream", False),
        include_usage=options.get("include_usage") is True,
        wants_steps=given.get(STEPS, False),
        user=given.get("user"),
    )


_ANYTHING: Final[dict[str, Any]] = {}


def _check_tools(tools: Sequence[Mapping[str, Any]], choice: Any) -> None:
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = tool["function"]["name"]
        if name in names:
            param = f"tools[{index}].function.name"
            raise Refused(400, f"Two tools are named '{name}'.", param=param, code="invalid_value")
        names.add(name)
    if is_object(choice):
        wanted = choice["function"]["name"]
        if wanted not in names:
            message = f"Invalid value for 'tool_choice': no tool is named '{wanted}'."
            raise Refused(400, message, param="tool_choice", code="invalid_value")
    elif choice == "required" and not tools:
        message = "Invalid value for 'tool_choice': 'required' needs tools."
        raise Refused(400, message, param="tool_choice", code="invalid_value")
