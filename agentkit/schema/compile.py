"""Parameters → JSON Schema and validator: the one place that knows pydantic's schemas from inside."""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import PydanticSerializationError, SchemaValidator, from_json, to_json

from agentkit._json import dumps, loads
from agentkit.errors import UsageError
from agentkit.schema.signature import ABSENT, Shape, holder
from agentkit.schema.substitutes import with_local_names, with_own_typed_dicts

if TYPE_CHECKING:
    from pydantic.json_schema import GenerateJsonSchema

_EMPTY: Final = inspect.Parameter.empty
_SCALARS: Final = frozenset({str, int, float, bool, NoneType})
_MOST_KNOWN: Final = 1_000


class Field(NamedTuple):
    """One parameter, for the validator and in the JSON Schema."""

    core: dict[str, Any]
    json: dict[str, Any]
    alias: Any = None


class Compiled(NamedTuple):
    """What a function's parameters come to."""

    json: dict[str, Any]
    validator: SchemaValidator
    keys: dict[str, str]
    """What each parameter is called in the JSON."""


# Most parameters of most tools are of a few types made of builtins, for which pydantic would do the same work again.
_known: dict[str, tuple[dict[str, Any], bytes]] = {}


def compile_parameters(shape: Shape, texts: dict[str, str], label: str) -> Compiled:
    """The JSON Schema and the validator of these parameters. Raises UsageError naming one that can have none."""
    # User types raise anything; each parameter is then tried alone, and tells.
    with contextlib.suppress(Exception):
        return _compile(shape.parameters, texts, shape.module)
    mended = [_mend(parameter, shape, label) for parameter in shape.parameters]
    return _compile(mended, texts, shape.module)


def _compile(parameters: list[inspect.Parameter], texts: dict[str, str], module: str) -> Compiled:
    fields, cores, defs = _fields(parameters, module)
    properties: dict[str, Any] = {}
    required: list[str] = []
    typed: dict[str, Any] = {}
    keys: dict[str, str] = {}
    rest: dict[str, Any] = {"extra_behavior": "forbid"}
    additional: Any = False
    for parameter in parameters:
        field = fields.get(parameter.name)
        if field is None:  # hidden from JSON Schema by its type
            if parameter.default is _EMPTY:
                raise UsageError("a parameter that is hidden from the model needs a default")
            continue
        core, json, alias = field
        _say(json, _text_in(parameter.annotation) or texts.get(parameter.name))
        if parameter.kind is parameter.VAR_KEYWORD:
            rest = {"extra_behavior": "allow", "extras_schema": core}
            additional = json or True
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            core, json = {"type": "list", "items_schema": core}, _listed(json)
        needed = parameter.kind is not parameter.VAR_POSITIONAL and _is_needed(parameter, core)
        if not needed:
            core, json = _with_default(parameter, core, json)
        key = keys[parameter.name] = _key(parameter.name, alias)
        properties[key] = json
        typed[parameter.name] = {"type": "typed-dict-field", "schema": core, "required": needed}
        if alias is not None:
            typed[parameter.name]["validation_alias"] = alias
        if needed:
            required.append(key)
    json_schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        json_schema["required"] = required
    json_schema["additionalProperties"] = additional
    if defs:
        json_schema["$defs"] = defs
    schema: Any = {"type": "typed-dict", "fields": typed, **rest}
    if cores:
        schema = {"type": "definitions", "schema": schema, "definitions": cores}
    return Compiled(json_schema, SchemaValidator(schema), keys)


def _is_needed(parameter: inspect.Parameter, core: dict[str, Any]) -> bool:
    return (parameter.default is _EMPTY or _is_field(parameter.default)) and core["type"] != "default"


def _is_field(default: Any) -> bool:
    from pydantic.fields import FieldInfo

    return isinstance(default, FieldInfo)


def _with_default(
    parameter: inspect.Parameter, core: dict[str, Any], json: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    default = parameter.default
    if default is _EMPTY or default is ABSENT or _is_field(default):
        if core["type"] != "default" or core.get("default", ABSENT) is not None:
            return core, json
        inner, json = _nullable(core["schema"], json)
        return {**core, "schema": inner}, json
    if core["type"] == "default":  # from Field(default=…) in Annotated, which the function's own default beats
        core = core["schema"]
        json.pop("default", None)
    if default is None:
        core, json = _nullable(core, json)
    with contextlib.suppress(ValueError):
        json["default"] = _jsonable(default)
    return core, json


def _nullable(core: dict[str, Any], json: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same, taking null too."""
    kinds = [json, *json.get("anyOf", ())]
    if not (json.keys() - {"description", "default"}) or any(kind.get("type") == "null" for kind in kinds):
        return core, json
    outside: dict[str, Any] = {key: json.pop(key) for key in ("description", "default") if key in json}
    return {"type": "nullable", "schema": core}, {"anyOf": [json, {"type": "null"}], **outside}


def _listed(json: dict[str, Any]) -> dict[str, Any]:
    outside = {"description": json.pop("description")} if "description" in json else {}
    return {"type": "array", "items": json, **outside}


def _say(json: dict[str, Any], text: str | None) -> None:
    if text and "description" not in json:
        json["description"] = text


def _text_in(annotation: Any) -> str | None:
    """The plain string in an Annotated, also inside of an Optional."""
    if typing.get_origin(annotation) is typing.Annotated:
        return next((text for text in annotation.__metadata__ if isinstance(text, str)), None)
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        return next(filter(None, map(_text_in, typing.get_args(annotation))), None)
    return None


def _key(name: str, alias: Any) -> str:
    if alias is None:
        return name
    # A list of paths where Field has AliasChoices or AliasPath; the first step of the first is what the JSON has.
    while not isinstance(alias, str):
        alias = alias[0]
    return alias


def _jsonable(default: Any) -> Any:
    """A default as JSON. Raises ValueError if JSON has no such value."""
    if default is None or default.__class__ in (str, bool, int):
        return default
    value: Any = default
    if isinstance(default, AbstractSet):
        with contextlib.suppress(TypeError):  # an order that is the same in each process, where there is one
            value = sorted(value)
    try:
        return from_json(to_json(value, inf_nan_mode="constants"), allow_inf_nan=False)
    except Exception as error:  # a serializer of the user's may raise anything
        raise ValueError(f"no JSON: {error}") from None


def _fields(
    parameters: list[inspect.Parameter], module: str
) -> tuple[dict[str, Field], list[dict[str, Any]], dict[str, Any]]:
    """Each parameter's field, and the definitions that they share: in the core schema, in the JSON Schema."""
    fields: dict[str, Field] = {}
    asked: list[inspect.Parameter] = []
    plain: dict[str, str] = {}
    for parameter in parameters:
        spelled = None if _is_field(parameter.default) else _spelled(parameter.annotation)
        if spelled is not None and (known := _known.get(spelled)) is not None:
            fields[parameter.name] = Field(known[0], loads(known[1]))
            continue
        if spelled is not None:
            plain[parameter.name] = spelled
        default = parameter.default if _is_field(parameter.default) else _EMPTY
        asked.append(parameter.replace(default=default))
    if not asked:
        return fields, [], {}
    new, cores, defs = _ask(asked, module)
    for name, spelled in plain.items():
        if len(_known) < _MOST_KNOWN:
            _known[spelled] = (new[name].core, dumps(new[name].json))
    return {**fields, **new}, cores, defs


def _spelled(annotation: Any) -> str | None:
    """How a type made of builtins alone is written, which then tells all about it; None for any other."""
    if annotation is _EMPTY:
        return "Any"
    if typing.get_origin(annotation) is typing.Annotated and all(isinstance(x, str) for x in annotation.__metadata__):
        annotation = annotation.__origin__
    return repr(annotation) if _is_plain(annotation) else None


def _is_plain(annotation: Any) -> bool:
    if annotation is Any or (isinstance(annotation, type) and annotation in _SCALARS):
        return True
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return all(value.__class__ in (str, int, bool) for value in typing.get_args(annotation))
    return origin in (list, dict, typing.Union, UnionType) and all(map(_is_plain, typing.get_args(annotation)))


def _ask(
    parameters: list[inspect.Parameter], module: str
) -> tuple[dict[str, Field], list[dict[str, Any]], dict[str, Any]]:
    """The same from pydantic."""
    from pydantic.experimental.arguments_schema import generate_arguments_schema

    schema: Any = generate_arguments_schema(holder(parameters, module), "arguments-v3")
    cores: list[dict[str, Any]] = []
    if schema["type"] == "definitions":
        schema, cores = schema["schema"], schema["definitions"]
    arguments = {argument["name"]: argument for argument in schema["arguments_schema"]}
    typed: Any = {
        "type": "typed-dict",
        "fields": {
            name: {"type": "typed-dict-field", "schema": argument["schema"]} for name, argument in arguments.items()
        },
    }
    if cores:
        typed = {"type": "definitions", "schema": typed, "definitions": cores}
    json = json_schema(typed)
    return (
        {
            name: Field(argument["schema"], json["properties"][name], argument.get("alias"))
            for name, argument in arguments.items()
            if name in json["properties"]
        },
        cores,
        json.get("$defs", {}),
    )


def json_schema(core: Any) -> dict[str, Any]:
    """The JSON Schema of a core schema of pydantic's."""
    json: dict[str, Any] = _generator()().generate(core)
    for schema in (json, *json.get("$defs", {}).values()):
        if "enum" in schema:
            schema.pop("title", None)
    return json


@cache
def _generator() -> type[GenerateJsonSchema]:
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """JSON Schema without titles made from names, and without defaults that are not JSON."""

        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
            return False

        def sort(self, value: Any, parent_key: str | None = None) -> Any:  # noqa: ARG002
            return value

        def emit_warning(self, kind: Any, detail: str) -> None:
            """Say nothing: a default or a choice that JSON cannot spell is left out on purpose."""

        def encode_default(self, dft: Any) -> Any:
            try:
                return _jsonable(dft)
            except ValueError as error:
                raise PydanticSerializationError(str(error)) from None

        def _update_class_schema(self, json_schema: Any, cls: Any, config: Any) -> None:
            super()._update_class_schema(json_schema, cls, config)
            if json_schema.get("title") == cls.__name__:
                del json_schema["title"]

    return Generator


def _mend(parameter: inspect.Parameter, shape: Shape, label: str) -> inspect.Parameter:
    """The parameter, its annotation replaced by an equal one if that helps. Raises UsageError if nothing does."""
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

    try:
        _compile([parameter], {}, shape.module)
    except (PydanticUndefinedAnnotation, PydanticUserError, NameError) as error:
        mends: tuple[Callable[[Any, dict[str, Any]], Any], ...] = (with_own_typed_dicts, with_local_names)
        for mend in mends:
            try:
                changed = parameter.replace(annotation=mend(parameter.annotation, shape.namespace))
                _compile([changed], {}, shape.module)
            except Exception:  # the error told is the first one  # noqa: S112
                continue
            return changed
        raise _refusal(parameter, label, error) from error
    except Exception as error:
        raise _refusal(parameter, label, error) from error
    return parameter


def _refusal(parameter: inspect.Parameter, label: str, error: Exception) -> UsageError:
    annotation: Any = parameter.annotation
    spelled = f"{annotation.__module__}.{annotation.__qualname__}" if isinstance(annotation, type) else repr(annotation)
    return UsageError(
        f"{label}: the parameter `{parameter.name}` is annotated {spelled}, for which there is no JSON Schema "
        f"({said(error)}). Annotate it with what JSON can spell (str, int, list[...], a dataclass, a pydantic "
        "model); what the model must not choose belongs in the context's deps, or is bound with functools.partial"
    )


def said(error: Exception) -> str:
    """What an error says, without advice on how to configure pydantic."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = " ".join(line for line in lines if not line.startswith("For further information"))
    return kept.split(". Set `arbitrary_types_allowed")[0].removesuffix(".") or type(error).__name__
