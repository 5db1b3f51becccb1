"""A callable as a model is told of it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agentkit.schema.arguments import Arguments
from agentkit.schema.compile import compile_parameters
from agentkit.schema.docstrings import read_docstring
from agentkit.schema.signature import checked_name, docstring_of, name_of, read_signature
from agentkit.schema.strict import strict_form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(slots=True)
class FunctionSchema:
    """What a model is told of a function, and the check of what it sends.

    `parameters` is a JSON Schema of type object. `wants_context` says that the function's first parameter, which the
    schema leaves out, is the run's context; `context_type` is the annotation of that parameter.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    wants_context: bool
    context_type: Any
    _arguments: Arguments = field(repr=False, compare=False)

    def renamed(self, name: str, description: str) -> FunctionSchema:
        """The same under another name. Raises UsageError if the wire takes no such name."""
        arguments = self._arguments.renamed(checked_name(name))
        return replace(self, name=name, description=description, _arguments=arguments)

    def strict(self) -> dict[str, Any] | None:
        """A copy of `parameters` in OpenAI's strict form, or None where there is none (free keys, values of any type).

        What has a default is nullable there, and null then stands for the default.
        """
        return strict_form(deepcopy(self.parameters))

    def validate(self, arguments: str | bytes | Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The args and kwargs to call the function with, the context not among them.

        Raises:
            BadArguments: they do not fit; `problems` has a line for each argument that is wrong.
        """
        return self._arguments.validate(arguments)


def describe(
    function: Callable[..., Any],
    *,
    context: type | None = None,
    name: str | None = None,
    description: str | None = None,
    localns: Mapping[str, Any] | None = None,
) -> FunctionSchema:
    """The schema of a callable, from its signature and docstring.

    Args:
        function: A function, method, partial, class or callable object.
        name: What to call it, in place of its own name.
        description: What to say of it, in place of its docstring.
        context: The class that marks a first parameter which the model does not see.
        localns: The local names where the function is defined, for annotations that use them.

    Raises:
        UsageError: a parameter can have no schema; the message names it, its annotation, and what to do.
    """
    if isinstance(function, staticmethod):
        function = function.__func__
    label = name_of(function, name)
    shape = read_signature(function, label, context, localns)
    said, texts = read_docstring(docstring_of(function))
    compiled = compile_parameters(shape, texts, label)
    return FunctionSchema(
        label,
        said if description is None else description,
        compiled.json,
        shape.wants_context,
        shape.context_type,
        Arguments(label, shape, compiled),
    )
