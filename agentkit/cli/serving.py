"""An agent as an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentkit.cli.console import say
from agentkit.cli.extras import load_extra
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from agentkit.agent import Agent


def serve_agent(agent: Agent[Any, Any], *, name: str, host: str, port: int, key: str | None) -> None:
    """Serve until Ctrl-C. Raises UsageError where what it takes is not installed."""
    serve = load_extra("serve", "serve")
    if key is None and not serve.access.is_loopback(host):
        raise UsageError(f"--host {host} can be reached from other machines: give --key, or set AGENTKIT_SERVE_KEY")
    label = agent.name or name.rpartition(":")[2] or name
    app = serve.create_app({label: agent}, api_keys=None if key is None else [key], page=True)
    say(f"serving {label!r} at http://{host}:{port}/v1, and a page to chat at http://{host}:{port}/; Ctrl-C ends it")
    serve.serve(app, host, port)
