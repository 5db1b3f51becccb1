"""The tools of an agent, as the model is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from agentkit.cli.console import for_tables, out, say
from agentkit.looks.parameters import parameters_of
from agentkit.plain import in_one_line, plain
from agentkit.toolcheck import check_tools
from agentkit.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Sequence

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
