"""What a callable is called, what it says of itself, and its parameters with their annotations resolved."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import typing
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ABSENT: Final = object()
"""The default of a parameter that may be left out, and has no value then (NotRequired)."""

_EMPTY: Final = inspect.Parameter.empty
_NAME: Final = r"[a-zA-Z0-9_-]{1,64}"
_SPELLED_DEEPLY: Final = 100


class Shape(NamedTuple):
    """How a function is called: its parameters without the context, each annotation resolved."""

    parameters: list[inspect.Parameter]
    wants_context: bool
    context_type: Any
    reserved: frozenset[str]
    """Names that **kwargs must not take, since the call already gives them."""
    namespace: dict[str, Any]
    module: str


def name_of(function: Callable[..., Any], given: str | None) -> str:
    """The name to send for a function. Raises UsageError if there is none that the wire takes."""
    name = given if given is not None else _own_name(function)
    if name == "<lambda>":
        raise UsageError("a lambda has no name to call it by: give it one with name=")
    return checked_name(name)


def checked_name(name: str) -> str:
    """A name that the wire takes. Raises UsageError."""
    if re.fullmatch(_NAME, name) is None:
        raise UsageError(
            f"{name!r} cannot be a tool's name: 1 to 64 of a-z, A-Z, 0-9, _ and - are allowed. Give another with name="
        )
    return name


def _own_name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    if isinstance(name, str):
        return name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(function).__name__).lower()


def docstring_of(function: Any) -> str | None:
    """The docstring that describes a call of this callable."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return _class_docstring(function)
    if _is_plain(function) or hasattr(function, "__wrapped__"):
        return function.__doc__ or inspect.getdoc(function)
    call = type(function).__call__
    return (call.__doc__ if _is_plain(call) else None) or type(function).__doc__


def _class_docstring(cls: type) -> str | None:
    # dataclass writes the signature where there is no docstring.
    if cls.__doc__ is not None and not cls.__doc__.startswith(f"{cls.__name__}("):
        return cls.__doc__
    init = vars(cls).get("__init__")
    return init and init.__doc__


def _is_plain(function: Any) -> bool:
    return isinstance(function, FunctionType | BuiltinFunctionType | MethodType | staticmethod | classmethod)


def read_signature(
    function: Callable[..., Any], label: str, context: type | None, localns: Mapping[str, Any] | None
) -> Shape:
    """The shape of a call. Raises UsageError where a parameter cannot be understood."""
    target = _innermost(function)
    namespace = _namespace(function, target, localns)
    parameters, reserved = _open_parameters(function, label)
    wants_context, context_type = False, None
    if context is not None and parameters:
        context_type = _context_annotation(parameters[0], context, namespace)
        if context_type is not None:
            wants_context = True
            reserved.add(parameters[0].name)
            _check_positional(parameters.pop(0), label)
    module = getattr(target, "__module__", None) or "builtins"
    resolved = _resolve(parameters, label, namespace, module)
    for parameter in resolved:
        if context is not None and _is_context(parameter.annotation, context):
            raise UsageError(f"{label}: the context comes first: make `{parameter.name}` the first parameter")
    return Shape(
        _unpacked(resolved, label, namespace), wants_context, context_type, frozenset(reserved), namespace, module
    )


def _open_parameters(function: Callable[..., Any], label: str) -> tuple[list[inspect.Parameter], set[str]]:
    try:
        signature = _signature(function)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{label}: its parameters cannot be read ({error}): wrap it in a function") from None
    # What a partial fixes by name is the caller's (it may be a key), so the model neither sees nor sets it.
    fixed: set[str] = set()
    inner: Any = function
    while isinstance(inner, functools.partial):
        fixed.update(inner.keywords)
        inner = inner.func
    reserved = set(fixed)
    if isinstance(inner, MethodType) or not (_is_plain(inner) or isinstance(inner, type)):
        reserved.update(_receiver(inner))
    return [parameter for name, parameter in signature.parameters.items() if name not in fixed], reserved


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _receiver(function: Any) -> list[str]:
    code = getattr(getattr(function, "__func__", type(function).__call__), "__code__", None)
    if code is None or not code.co_argcount or code.co_posonlyargcount:
        return []
    return [code.co_varnames[0]]


def _innermost(function: Any) -> Any:
    for _ in range(_SPELLED_DEEPLY):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType | staticmethod | classmethod):
            function = cast("Any", function).__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif _is_plain(function) or isinstance(function, type) or not isinstance(type(function).__call__, FunctionType):
            break
        else:
            function = type(function).__call__
    return function


def _namespace(function: Any, target: Any, localns: Mapping[str, Any] | None) -> dict[str, Any]:
    """The names that the annotations of a function may use, the nearest last."""
    names: dict[str, Any] = {}
    module = sys.modules.get(getattr(target, "__module__", None) or "")
    names.update(getattr(target, "__globals__", None) or vars(module or typing))
    while isinstance(function, functools.partial):
        function = function.func
    owner = function.__self__ if isinstance(function, MethodType) else None
    if owner is not None:
        owner = owner if isinstance(owner, type) else type(owner)
        for cls in reversed(owner.__mro__[:-1]):
            names.update(vars(cls))
            names[cls.__name__] = cls
    names.update(localns or {})
    code = getattr(target, "__code__", None)
    for name, cell in zip(code.co_freevars if code else (), getattr(target, "__closure__", None) or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not yet assigned
            continue
    for variable in getattr(target, "__type_params__", ()):
        names[variable.__name__] = variable
    return names


def holder(parameters: list[inspect.Parameter], module: str) -> Callable[..., Any]:
    """A function that does nothing, with these parameters."""

    def stub() -> None:
        """Carries a signature."""

    stub.__module__ = module
    stub.__annotations__ = {p.name: p.annotation for p in parameters if p.annotation is not _EMPTY}
    stub.__signature__ = inspect.Signature(parameters, __validate_parameters__=False)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]  # functions take any attribute
    return stub


def _resolve(
    parameters: list[inspect.Parameter], label: str, namespace: dict[str, Any], module: str
) -> list[inspect.Parameter]:
    hints: dict[str, Any] = {}
    try:
        hints = typing.get_type_hints(holder(parameters, module), namespace, None, include_extras=True)
    except Exception:  # an annotation may be any expression; each is tried alone, and tells
        for parameter in parameters:
            try:
                hints.update(typing.get_type_hints(holder([parameter], module), namespace, None, include_extras=True))
            except Exception as error:
                raise UsageError(
                    f"{label}: the annotation {parameter.annotation!r} of `{parameter.name}` cannot be resolved "
                    f"({error}): import what it names where the function is defined, not for type checking alone"
                ) from error
    return [p.replace(annotation=hints[p.name]) if p.name in hints else p for p in parameters]


def _context_annotation(parameter: inspect.Parameter, context: type, namespace: dict[str, Any]) -> Any:
    """The annotation of a context parameter, or None if the parameter is not one."""
    annotation = parameter.annotation
    if annotation.__class__ is type and not issubclass(annotation, context):
        return None
    try:
        annotation = typing.get_type_hints(holder([parameter], context.__module__), namespace, None)[parameter.name]
    except Exception:  # as above
        # Imported for type checking alone, as linters advise: its name must do.
        head = annotation.split("[")[0].rpartition(".")[2].strip() if isinstance(annotation, str) else ""
        return context if head == context.__name__ else None
    return annotation if _is_context(annotation, context) else None


def _is_context(annotation: Any, context: type) -> bool:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _is_context(annotation.__origin__, context)
    kind = origin or annotation
    return isinstance(kind, type) and issubclass(kind, context)


def _check_positional(parameter: inspect.Parameter, label: str) -> None:
    if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
        raise UsageError(f"{label}: the context is given by position: `{parameter.name}` must not be keyword-only")


def _unpacked(parameters: list[inspect.Parameter], label: str, namespace: dict[str, Any]) -> list[inspect.Parameter]:
    """The parameters, with **kwargs: Unpack[SomeTypedDict] as the keywords that it stands for."""
    if not parameters or parameters[-1].kind is not inspect.Parameter.VAR_KEYWORD:
        return parameters
    *rest, last = parameters
    if typing.get_origin(last.annotation) is not typing.Unpack:
        return parameters
    (keywords,) = typing.get_args(last.annotation)
    if not hasattr(keywords, "__required_keys__"):
        raise UsageError(f"{label}: `**{last.name}` unpacks {keywords!r}, which is no TypedDict")
    for name, (hint, required) in typed_dict_fields(keywords, namespace).items():
        if any(parameter.name == name for parameter in rest):
            raise UsageError(f"{label}: `{name}` is a parameter, and also in the TypedDict of `**{last.name}`")
        default = _EMPTY if required else ABSENT
        rest.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
    return rest


def typed_dict_fields(typed_dict: Any, namespace: dict[str, Any]) -> dict[str, tuple[Any, bool]]:
    """The type of each key of a TypedDict, and whether the key is required."""
    fields: dict[str, tuple[Any, bool]] = {}
    for name, annotation in typing.get_type_hints(typed_dict, None, namespace, include_extras=True).items():
        hint, required = annotation, name in typed_dict.__required_keys__
        # __required_keys__ does not see qualifiers inside of postponed annotations.
        while typing.get_origin(hint) in (typing.Required, typing.NotRequired):
            required = typing.get_origin(hint) is typing.Required
            (hint,) = typing.get_args(hint)
        fields[name] = hint, required
    return fields
