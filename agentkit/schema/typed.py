"""A type as a model is told of it, and the check of a value that the model sends for it."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import SchemaValidator

from agentkit.errors import UsageError
from agentkit.schema.arguments import Arguments
from agentkit.schema.compile import Compiled, json_schema, said
from agentkit.schema.signature import Shape
from agentkit.schema.substitutes import with_local_names, with_own_typed_dicts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import TypeAdapter

VALUE: Final = "value"
"""The name of what is no object by itself, in the object that stands for it."""


class TypeSchema(NamedTuple):
    """What a model is told of a type, and the check of what it sends.

    `json` is a JSON Schema of type object; `is_wrapped` says that the type is none, and is its one property. `core` and
    `definitions` are pydantic's own schema of the object.
    """

    json: dict[str, Any]
    is_wrapped: bool
    core: Any
    definitions: list[Any]
    arguments: Arguments
    adapter: TypeAdapter[Any]

    def read(self, text: str) -> Any:
        """The value in the JSON text of the object. Raises BadArguments."""
        _, value = self.arguments.validate(text)
        return value[VALUE] if self.is_wrapped else value


def describe_type(of: Any, label: str, namespace: Mapping[str, Any]) -> TypeSchema:
    """The schema of a type. `label` is what to call the object in problems, `namespace` the names around the type.

    Raises:
        UsageError: pydantic has no schema of the type, or JSON has none.
    """
    try:
        return _described(of, label)
    except Exception as error:  # pydantic's errors, and whatever the user's types raise while they are looked at
        for mend in (with_own_typed_dicts, with_local_names):
            try:
                return _described(mend(of, dict(namespace)), label)
            except Exception:  # the error told is the first one  # noqa: S112
                continue
        raise UsageError(
            f"an answer of type {spelled(of)} cannot be asked for: there is no JSON Schema for it ({said(error)}). "
            "Give a type that JSON can spell: a pydantic model, a dataclass, a TypedDict, a Literal, an Enum, a list "
            "or a union of such"
        ) from error


def _described(of: Any, label: str) -> TypeSchema:
    from pydantic import TypeAdapter

    adapter = TypeAdapter[Any](of)
    core: Any = adapter.core_schema
    definitions: list[Any] = []
    if core["type"] == "definitions":
        core, definitions = core["schema"], core["definitions"]
    json = _as_object(json_schema(_with(core, definitions)))
    is_wrapped = json is None
    if json is None:
        field = {"type": "typed-dict-field", "schema": core, "required": True}
        core = {"type": "typed-dict", "fields": {VALUE: field}, "extra_behavior": "forbid"}
        json = json_schema(_with(core, definitions))
        json["additionalProperties"] = False
    # The one parameter lets a lone object stand for the property that it is.
    parameter = inspect.Parameter(VALUE, inspect.Parameter.KEYWORD_ONLY)
    shape = Shape([parameter] if is_wrapped else [], False, None, frozenset(), {}, "builtins")  # noqa: FBT003
    compiled = Compiled(json, SchemaValidator(_with(core, definitions)), {VALUE: VALUE} if is_wrapped else {})
    return TypeSchema(json, is_wrapped, core, definitions, Arguments(label, shape, compiled), adapter)


def _with(core: Any, definitions: list[Any]) -> Any:
    return {"type": "definitions", "schema": core, "definitions": definitions} if definitions else core


def _as_object(json: dict[str, Any]) -> dict[str, Any] | None:
    """The same schema with an object at its root, or None if it is of something else."""
    reference = json.get("$ref")
    if isinstance(reference, str):
        target = json["$defs"][reference.removeprefix("#/$defs/")]
        json = {**target, **{key: value for key, value in json.items() if key != "$ref"}}
    return json if json.get("type") == "object" else None


def spelled(of: Any) -> str:
    """How to name a type in a message."""
    if typing.get_origin(of) is typing.Annotated:
        return spelled(of.__origin__)
    return of.__qualname__ if isinstance(of, type) and not hasattr(of, "__args__") else repr(of)
