"""A model on this machine: llama.cpp's own server, run in this process, and the file of the default model."""

from __future__ import annotations

from agentkit.local.fetching import model_file
from agentkit.local.server import LocalServer, local_endpoint, serve

__all__ = ["LocalServer", "local_endpoint", "model_file", "serve"]
