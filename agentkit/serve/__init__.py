"""Agents as a Chat Completions endpoint: `create_app`, and `serve` for those who have no server."""

from __future__ import annotations

try:
    from agentkit.serve.access import Caller
    from agentkit.serve.app import create_app
    from agentkit.serve.decisions import DECIDE
    from agentkit.serve.fields import STATE
    from agentkit.serve.limits import ServeLimits
    from agentkit.serve.server import serve
except ModuleNotFoundError as error:
    raise ImportError(f"agentkit.serve needs {error.name}: `pip install 'agentkit[serve]'`") from error

__all__ = ["DECIDE", "STATE", "Caller", "ServeLimits", "create_app", "serve"]
