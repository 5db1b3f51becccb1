"""An agent as an endpoint."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from agentkit.cli.console import say
from agentkit.cli.extras import load_extra
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from agentkit.agent import Agent


def serve_agent(
    agent: Agent[Any, Any], *, name: str, host: str, port: int, key: str | None, secret: str | None, deps: Any
) -> None:
    """Serve until Ctrl-C; `deps` is what each run is given. Raises UsageError where what it takes is not installed."""
    serve = load_extra("serve", "serve")
    if key is None and not serve.access.is_loopback(host):
        raise UsageError(f"--host {host} can be reached from other machines: give --key, or set AGENTKIT_SERVE_KEY")
    label = agent.name or name.rpartition(":")[2] or name
    keys = None if key is None else [key]

    def given(_: object) -> Any:
        return deps

    app = serve.create_app({label: agent}, api_keys=keys, secret=secret, page=True, deps=given)
    _show_requests()
    say(f"serving {label!r} at http://{host}:{port}/v1, and a page to chat at http://{host}:{port}/; Ctrl-C ends it")
    serve.serve(app, host, port)


def _show_requests() -> None:
    """Have each request be a line on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("agentkit.serve")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # --debug would show it twice
