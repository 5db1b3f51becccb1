"""What a model sends for a function's parameters, checked, and made into Python values.

The text is checked as it is. Only where that fails, what models are known to do is tried: arguments encoded twice or
given twice, null for what has a default, a lone object without its name.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pydantic_core import ValidationError

from agentkit._json import dumps, loads
from agentkit.errors import BadArguments
from agentkit.schema.places import Path, Schema, listed, may_be_left_out, names_at, short, takes_text
from agentkit.schema.problems import Findings, value_at

if TYPE_CHECKING:
    from agentkit.schema.compile import Compiled
    from agentkit.schema.signature import Shape

# Control characters stand bare in strings that models write; what is meant is plain all the same.
_DECODER: Final = json.JSONDecoder(strict=False)
_BLANK: Final = " \t\r\n\ufeff"
_MOST_ROUNDS: Final = 8
# A list of 100 000 wrong items would take seconds, to be told in one line.
_MOST_ERRORS: Final = 1_000


class UnreadableError(Exception):
    """The text holds no JSON object; the message says why."""


class Arguments:
    """The check of one function's arguments."""

    __slots__ = ("_by_name", "_check", "_lone", "_name", "_parameters", "_reserved", "_schema", "_validator")

    def __init__(self, name: str, shape: Shape, compiled: Compiled) -> None:
        self._name = name
        self._schema: Schema = compiled.json
        self._validator = compiled.validator
        self._check = compiled.validator.validate_json
        self._parameters = shape.parameters
        self._reserved = shape.reserved
        kinds = {parameter.kind for parameter in shape.parameters}
        plain = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        self._by_name = kinds <= plain
        self._lone = _lone_object(shape, compiled)

    def renamed(self, name: str) -> Arguments:
        """The same for a function of another name."""
        twin = copy(self)
        twin._name = name  # noqa: SLF001  # it is of this class
        return twin

    def validate(self, arguments: str | bytes | Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The args and kwargs to call the function with. Raises BadArguments."""
        if isinstance(arguments, str | bytes):
            try:
                values = self._check(arguments)
            except Exception:  # validators of the user's types raise anything; the second look tells
                values = self._look_again(arguments)
        else:
            values = self._look_again(arguments)
        if self._by_name:
            return (), values
        return self._arranged(values)

    def _look_again(self, arguments: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._tolerant(arguments)
        except UnreadableError as error:
            self._refuse((str(error),), error)
        except RecursionError as error:
            self._refuse(("the arguments are nested too deeply",), error)
        except BadArguments:
            raise
        except Exception as error:  # raised by a validator of the user's types
            self._refuse((f"the arguments could not be checked: {type(error).__name__}",), error)

    def _refuse(self, problems: tuple[str, ...], cause: Exception | None = None) -> NoReturn:
        lines = "".join(f"\n- {problem}" for problem in problems)
        raise BadArguments(
            f"{self._name} was not run, its arguments are wrong:{lines}", problems=problems, tool=self._name
        ) from cause

    def _tolerant(self, arguments: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(arguments, Mapping):
            try:
                text = _mended(dumps(dict(arguments)))
            except ValueError:
                return self._of_python(arguments)
        else:
            text = as_object(arguments, self._example())
        values, findings = self._tried(loads(text))
        if values is not None:
            return values
        if self._lone is not None:
            data: dict[str, Any] = loads(text)
            within, findings_within = self._tried({self._lone: data})
            if within is not None:
                return within
            if self._lone not in data and not data.keys().isdisjoint(names_at(self._schema, (self._lone,))):
                findings = findings_within
        return self._refuse(findings.lines(self._schema))

    def _of_python(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            values: dict[str, Any] = self._validator.validate_python(dict(arguments))
        except ValidationError as error:
            self._refuse(Findings(error.errors(include_url=False), arguments).lines(self._schema), error)
        return values

    def _example(self) -> str:
        if names := self._schema.get("properties"):
            return f"an object with {listed(names)}"
        return "an object" if self._schema.get("additionalProperties", True) else "an empty object"

    def _tried(self, data: dict[str, Any]) -> tuple[dict[str, Any] | None, Findings]:
        """The values, or what is wrong in the end, after mending what can be mended."""
        seen: set[Path] = set()
        for _ in range(_MOST_ROUNDS):
            try:
                values: dict[str, Any] = self._check(dumps(data))
            except ValidationError as error:
                errors = error.errors(include_url=False)
                if errors[0]["type"] == "json_invalid":
                    # It is JSON, but pydantic's reader stops at 200 levels.
                    raise UnreadableError("the arguments are nested too deeply") from None
                findings = Findings(errors[:_MOST_ERRORS], data)
            else:
                return values, Findings((), data)
            mended = [path for path in findings.places if path and path not in seen and self._mend(data, path)]
            seen.update(mended)
            if not mended:
                break
        else:
            raise UnreadableError("the arguments are encoded again and again; send them as plain JSON")
        return None, findings

    def _mend(self, data: dict[str, Any], path: Path) -> bool:
        """Change the value at a path to what was meant. False if nothing else can have been meant."""
        *above, key = path
        holder, value = value_at(data, tuple(above)), value_at(data, path)
        if value is None and isinstance(holder, dict) and key in holder and may_be_left_out(self._schema, path):
            del holder[key]
            return True
        if isinstance(value, str) and not takes_text(self._schema, path):
            decoded = _decoded(value)
            if not isinstance(decoded, str):
                holder[key] = decoded
                return True
        return False

    def _arranged(self, values: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The values in the order in which the function takes them."""
        if not self._reserved.isdisjoint(values):
            unknown = [f"`{name}` is unknown" for name in values if name in self._reserved]
            self._refuse(tuple(unknown))
        more: tuple[Any, ...] = ()
        order: list[inspect.Parameter] = []
        for parameter in self._parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                more = tuple(values.pop(parameter.name, ()))
            elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD or parameter.kind is parameter.POSITIONAL_ONLY:
                order.append(parameter)
        if not more:
            order = [parameter for parameter in order if parameter.kind is parameter.POSITIONAL_ONLY]
            while order and order[-1].name not in values:
                order.pop()
        positional = [values.pop(parameter.name, parameter.default) for parameter in order]
        return (*positional, *more), values


def _lone_object(shape: Shape, compiled: Compiled) -> str | None:
    """The JSON name of the only parameter, if that is an object with named fields."""
    if len(shape.parameters) != 1 or len(compiled.keys) != 1:
        return None
    if shape.parameters[0].kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        return None
    key = next(iter(compiled.keys.values()))
    return key if names_at(compiled.json, (key,)) else None


def as_object(arguments: str | bytes, example: str) -> bytes:
    """The JSON text of the object that the arguments hold. Raises UnreadableError."""
    if isinstance(arguments, bytes):
        arguments = arguments.decode("utf-8", "replace")
    value = _read(arguments)
    if isinstance(value, str):
        inner = value
        try:
            value = _read(inner)
        except UnreadableError:
            value = inner
    if value is None:
        return b"{}"
    if not isinstance(value, dict):
        raise UnreadableError(f"the arguments should be {example}, not {short(value)}")
    return _mended(dumps(value))


def _mended(text: bytes) -> bytes:
    """A JSON text without halves of characters, which pydantic does not read."""
    return dumps(_whole(loads(text))) if b"\\ud" in text else text


def _read(text: str) -> Any:
    """The value of a JSON text; of one value that is given again and again, that value."""
    text = text.strip(_BLANK)
    if not text:
        return None
    value, end = _first(text)
    while rest := text[end:].strip(_BLANK):
        try:
            again, length = _first(rest)
        except UnreadableError:
            again, length = _DECODER, 0  # equal to nothing
        if again is _DECODER or dumps(again) != dumps(value):
            raise UnreadableError(f"the arguments should be one JSON object, but after it stands {short(rest)}")
        text, end = rest, length
    return value


def _first(text: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
            raise UnreadableError("the arguments are cut off: their JSON ends too early") from None
        near = short(text[max(0, error.pos - 20) : error.pos + 20])
        raise UnreadableError(f"the arguments are not JSON: {error.msg} at character {error.pos}, in {near}") from None
    except ValueError:  # Python reads no int of more than 4300 digits
        raise UnreadableError("the arguments hold a number of too many digits") from None


def _whole(value: Any) -> Any:
    """The value with halves of characters joined, and U+FFFD for one that stands alone."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    inner: Any = value
    if isinstance(value, list):
        return [_whole(each) for each in inner]
    if isinstance(value, dict):
        return {_whole(key): _whole(each) for key, each in inner.items()}
    return value


def _decoded(text: str) -> Any:
    """The value that a string holds as JSON, which may be a string again."""
    value: Any = text
    for _ in range(_MOST_ROUNDS):
        if not isinstance(value, str) or not value.strip():
            break
        try:
            value = _read(value)
        except UnreadableError:
            break
    return value
