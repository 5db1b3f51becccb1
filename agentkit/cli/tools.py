"""The tools of an agent, as the model is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from agentkit._json import is_list, is_object
from agentkit.cli.console import for_tables, out, say
from agentkit.cli.plain import in_one_line, plain
from agentkit.toolcheck import check_tools
from agentkit.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agentkit.toolcheck import ToolReport
    from agentkit.toolsets import Toolset


def print_tools(tools: Sequence[Tool | Toolset]) -> list[ToolReport]:
    """A table of the tools: parameters, what the model is told, and about how many tokens that takes. Returns what is
    to be said of each."""
    reports = check_tools(tools)
    if not reports:
        say("no tools")
        return []
    described = {
        tool.name: tool.description for item in tools for tool in ([item] if isinstance(item, Tool) else item.known)
    }
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("tool", "parameters", "description"):
        table.add_column(name, overflow="fold")
    table.add_column("tokens", justify="right")
    for report in reports:
        table.add_row(
            Text(plain(report.name), "bold"),
            Text("\n".join(map(plain, parameters_of(report.parameters)))),
            Text(in_one_line(described.get(report.name, ""), 200)),
            str(report.tokens),
        )
    for_tables().print(table)
    say(f"about {sum(report.tokens for report in reports)} tokens of each request")
    return reports


def print_findings(reports: Sequence[ToolReport]) -> bool:
    """What a reviewer would fault, tool by tool; whether there was anything."""
    found = [(report.name, finding) for report in reports for finding in report.findings]
    for name, finding in found:
        out().print(Text(f"{plain(name)}: ", "bold").append(plain(finding), "yellow"))
    return bool(found)


def parameters_of(schema: Mapping[str, Any]) -> Iterator[str]:
    """Each parameter with its type, those that may be left out in brackets."""
    properties = schema.get("properties")
    required = schema.get("required")
    needed: list[Any] = list(required) if is_list(required) else []
    for name, described in (properties if is_object(properties) else {}).items():
        shown = f"{name}: {type_of(described)}"
        yield shown if name in needed else f"[{shown}]"


def type_of(schema: object) -> str:
    """A JSON Schema's type in few words."""
    if not is_object(schema):
        return "anything"
    if is_list(words := schema.get("enum")):
        return " | ".join(repr(word) for word in words[:5]) + (" | …" if len(words) > 5 else "")
    if is_list(several := schema.get("anyOf")):
        return " | ".join(map(type_of, several))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"array of {type_of(schema.get('items'))}"
    return " | ".join(map(str, kind)) if is_list(kind) else str(kind)
