"""A typed answer in a request: by the endpoint's response_format, by a tool, or in words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from agentkit._json import dumps
from agentkit.chat.request import wire_name
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from agentkit.chat.dialects import Dialect
    from agentkit.chat.request import Request
    from agentkit.output import Output

ALONE: Final = "Answer with one JSON object that fits this JSON Schema, and with nothing around it:"
BESIDE_TOOLS: Final = (
    "Call the functions that you need first. Then answer with one JSON object that fits this JSON Schema, and with "
    "nothing around it:"
)


def shaped(request: Request, dialect: Dialect, *, tools: Literal["native", "json"] | None = None) -> Request:
    """The request with its output, if it has one, in the words of the wire. `tools` stands over the dialect's.

    Raises:
        UsageError: the settings have a response_format of their own, or a tool has the name of an output tool.
    """
    output = request.output
    if output is None:
        return request
    settings = request.settings
    if settings.response_format is not None or "response_format" in (settings.extra_body or {}):
        raise UsageError(
            f"the output is {output.label}, and the settings have a response_format of their own: leave one of them out"
        )
    plain = request.with_(output=None)
    in_json = (tools or dialect.tools) == "json"
    match _way(output, request, dialect, in_json=in_json):
        case "native":
            return plain.with_(settings=replace(settings, response_format=_described(output, dialect)))
        case "tool":
            return _with_tools(plain, output, dialect)
        case _:
            return _told(plain, output, dialect, in_json=in_json)


def _way(output: Output[Any], request: Request, dialect: Dialect, *, in_json: bool) -> str:
    offers = bool(request.tools) and request.settings.tool_choice != "none"
    takes_tools = "tools" not in dialect.unsupported
    # in JSON the tools stand in the schema itself
    takes_schema = dialect.takes_format("json_schema") and (in_json or not (offers and dialect.schema_wins))
    match output.mode:
        case "native":
            return "native" if takes_schema else "prompted"
        case "tool":
            return "tool" if takes_tools or output.tools else "prompted"
        case "prompted":
            return "prompted"
        case _:
            if takes_schema and not (in_json and offers):
                return "native"
            return "tool" if takes_tools and (offers or not in_json) else "prompted"


def _described(output: Output[Any], dialect: Dialect) -> dict[str, Any]:
    strict = output.strict_schema if dialect.strict else None
    described: dict[str, Any] = {"name": wire_name(output.title)}
    if output.description:
        described["description"] = output.description
    described["schema"] = strict or output.schema
    if strict is not None:
        described["strict"] = True
    return {"type": "json_schema", "json_schema": described}


def _with_tools(request: Request, output: Output[Any], dialect: Dialect) -> Request:
    specs = output.specs_for(strict=dialect.strict)
    if taken := {spec.name for spec in specs} & {spec.name for spec in request.tools}:
        raise UsageError(f"the output and a tool are both named {min(taken)!r}: rename one of them")
    choice, tools = request.settings.tool_choice, request.tools
    if choice == "none":  # of the agent's own tools none; an answer is a call here
        choice, tools = None, ()
    settings = replace(request.settings, tool_choice=choice or "required")
    return request.with_(tools=(*tools, *specs), settings=settings)


def _told(request: Request, output: Output[Any], dialect: Dialect, *, in_json: bool) -> Request:
    offers = bool(request.tools)
    settings = request.settings
    if dialect.takes_format("json_object") and not (offers and dialect.schema_wins and not in_json):
        settings = replace(settings, response_format={"type": "json_object"})
    told = [request.instructions, BESIDE_TOOLS if offers else ALONE]
    schema = dumps(output.schema).decode()
    if output.description and "description" not in output.schema:
        told[1] = f"{output.description}\n{told[1]}"
    return request.with_(settings=settings, instructions="\n\n".join(filter(None, told)) + f"\n{schema}")
