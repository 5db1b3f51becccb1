"""Annotations that stand for one that pydantic cannot take as it is."""

from __future__ import annotations

import typing
from types import UnionType
from typing import Any

from agentkit.schema.signature import typed_dict_fields


def with_own_typed_dicts(annotation: Any, namespace: dict[str, Any]) -> Any:
    """The annotation with each TypedDict of typing, which pydantic refuses before 3.12, as one of typing_extensions."""
    import typing_extensions

    if typing.is_typeddict(annotation):
        make: Any = typing_extensions.TypedDict
        hints: dict[str, Any] = {}
        for name, (hint, required) in typed_dict_fields(annotation, namespace).items():
            inner = with_own_typed_dicts(hint, namespace)
            hints[name] = inner if required else typing.NotRequired[inner]
        made = make(annotation.__name__, hints)
        made.__doc__ = annotation.__doc__
        return made
    args = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if not args or origin is typing.Literal:
        return annotation
    if origin is typing.Annotated:
        return typing.Annotated[(with_own_typed_dicts(annotation.__origin__, namespace), *annotation.__metadata__)]
    changed = tuple(with_own_typed_dicts(each, namespace) for each in args)
    return typing.Union[changed] if origin is UnionType else origin[changed]  # of any length  # noqa: UP007


def with_local_names(annotation: Any, namespace: dict[str, Any]) -> Any:
    """The annotation, what its classes name found among the function's own names too."""
    from pydantic import ConfigDict, TypeAdapter

    metadata: tuple[Any, ...] = ()
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, metadata = annotation.__origin__, annotation.__metadata__
    # In a list, since a type with a config of its own would refuse this one.
    kind: Any = list.__class_getitem__(annotation)
    adapter = TypeAdapter[Any](kind, config=ConfigDict(defer_build=True))
    adapter.rebuild(force=True, raise_errors=True, _types_namespace=namespace)
    core: Any = adapter.core_schema
    inner = core["schema"]["items_schema"] if core["type"] == "definitions" else core["items_schema"]
    found = {**core, "schema": inner} if core["type"] == "definitions" else inner
    # A type, since definitions in what metadata gives are not taken up.

    class Prepared:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            return found

    prepared: Any = Prepared
    return typing.Annotated[(prepared, *metadata)] if metadata else prepared
