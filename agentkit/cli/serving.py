"""An agent as an endpoint."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentkit.cli.console import say
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from agentkit.agent import Agent


def serve_agent(agent: Agent[Any, Any], *, name: str, host: str, port: int, key: str | None) -> None:
    """Serve until Ctrl-C. Raises UsageError where what it takes is not installed."""
    serve = _load_extra("serve")
    if key is None and not serve.access.is_loopback(host):
        raise UsageError(f"--host {host} can be reached from other machines: give --key, or set AGENTKIT_SERVE_KEY")
    label = agent.name or name.rpartition(":")[2] or name
    app = serve.create_app({label: agent}, api_keys=None if key is None else [key])
    say(f"serving {label!r} at http://{host}:{port}/v1; Ctrl-C ends it")
    serve.serve(app, host, port)


def _load_extra(name: str) -> Any:
    # the command's one door: what a part behind an extra loads, only those wait for who want that part
    try:
        return import_module(f"agentkit.{name}")
    except ImportError as error:
        raise UsageError(f"this needs an extra: pip install 'agentkit[{name}]' ({error})") from error
