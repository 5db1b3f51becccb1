"""Any callable's parameters as JSON Schema, and the check of what a model sends for them."""

from __future__ import annotations

from agentkit.schema.bare import BareSchema
from agentkit.schema.function import FunctionSchema, describe

__all__ = ["BareSchema", "FunctionSchema", "describe"]
