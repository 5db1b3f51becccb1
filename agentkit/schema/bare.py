"""A tool whose JSON Schema is all that is known of it: it comes from elsewhere, at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentkit._json import loads
from agentkit.errors import BadArguments
from agentkit.messages import ToolSpec
from agentkit.schema.arguments import UnreadableError, as_object
from agentkit.schema.signature import checked_name
from agentkit.schema.strict import strict_form


class BareSchema:
    """What `FunctionSchema` is to a Python function; the arguments are checked to be an object, and stay a dict."""

    wants_context = True
    context_type: Any = None

    def __init__(self, spec: ToolSpec) -> None:
        self.name = checked_name(spec.name)
        self.description = spec.description
        self.parameters = dict(spec.parameters)

    def renamed(self, name: str, description: str) -> BareSchema:
        """The same under another name. Raises UsageError if the wire takes no such name."""
        return BareSchema(ToolSpec(name, description, self.parameters))

    def strict(self) -> dict[str, Any] | None:
        """A copy of `parameters` in the strict form, or None where there is none."""
        return strict_form(self.parameters)

    def validate(self, arguments: str | bytes | Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the one argument of the function. Raises BadArguments if they are no object."""
        if isinstance(arguments, Mapping):
            return (dict(arguments),), {}
        try:
            return (loads(as_object(arguments, "an object")),), {}
        except UnreadableError as error:
            raise BadArguments(
                f"{self.name} was not run, its arguments are wrong:\n- {error}", problems=(str(error),), tool=self.name
            ) from error
