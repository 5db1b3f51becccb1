"""What an agent's answer is to be: a type, or functions whose arguments are the answer."""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, cast, get_args, overload

from pydantic_core import to_json

from agentkit._json import dumps, is_list, is_object, loads
from agentkit.errors import BadArguments, UsageError
from agentkit.messages import ToolSpec
from agentkit.output.growing import Growing
from agentkit.output.places import Known, Place
from agentkit.output.spelling import spelt_in
from agentkit.schema.places import schemas_at, takes_text, wanted
from agentkit.schema.signature import name_of
from agentkit.schema.strict import strict_form
from agentkit.schema.typed import VALUE, TypeSchema, describe_type, spelled
from agentkit.tools import Tool, find_tool, tools_by_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from typing_extensions import TypeForm

T = TypeVar("T")
Mode: TypeAlias = Literal["auto", "native", "tool", "prompted"]
MODES: Final[tuple[str, ...]] = get_args(Mode)
NAME: Final = "final_answer"
_SAID: Final = "Give the final answer by calling this, once you have all that it takes."
_FUNCTIONS: Final = (FunctionType, MethodType, BuiltinFunctionType, functools.partial, staticmethod, classmethod, Tool)
_MOST_FRAMES: Final = 30


class WrongAnswer(Exception):
    """An answer is not of its type. The text is for the model; `problems` has a line for each thing that is wrong."""

    def __init__(self, text: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.problems: tuple[str, ...] = problems or (text,)


class Output(Generic[T]):
    """What an agent's answer is to be: a value of a type, or what one of some functions makes of it.

    Args:
        of: Any type that pydantic knows: a model, a dataclass, a TypedDict, a Literal, an Enum, a union, a list, …; or
            a function, or a list of functions: the model then answers by calling one, and the output is what that
            returns.
        mode: How the model is asked: by the endpoint's response_format ("native"), by a tool ("tool"), in words
            ("prompted"); "auto" takes the best that the endpoint has.
        name: What the tool is called.
        description: What the model is told of the answer, in place of the type's docstring.
        retries: How often a wrong answer is sent back; without it the run's Limits(corrections=…) say so.
        strict: Whether the endpoint holds the model to the schema: True demands it, None has it so where the schema has
            a strict form.

    Raises:
        UsageError: there is no JSON Schema of the type, or an argument is wrong.
    """

    @overload
    def __init__(
        self,
        of: TypeForm[T],
        *,
        mode: Mode = "auto",
        name: str = NAME,
        description: str | None = None,
        retries: int | None = None,
        strict: bool | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        of: Callable[..., Awaitable[T]] | Sequence[Callable[..., Awaitable[T]]],
        *,
        mode: Mode = "auto",
        description: str | None = None,
        retries: int | None = None,
        strict: bool | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        of: Callable[..., T] | Sequence[Callable[..., T]],
        *,
        mode: Mode = "auto",
        description: str | None = None,
        retries: int | None = None,
        strict: bool | None = None,
    ) -> None: ...
    def __init__(
        self,
        of: Any,
        *,
        mode: Mode = "auto",
        name: str = NAME,
        description: str | None = None,
        retries: int | None = None,
        strict: bool | None = None,
    ) -> None:
        _check(mode, name, retries)
        self.mode: Mode = mode
        self.name = name
        self.retries = retries
        self.strict = strict
        self.tools: dict[str, Tool] = {}
        self._type: TypeSchema | None = None
        functions = _functions(of)
        if functions is None:
            self.label = spelled(of)
            self._type = describe_type(of, name, _names_around())
            self.schema: dict[str, Any] = self._type.json
            self.description: str = self.schema.get("description", "") if description is None else description
        else:
            self._take(functions, description)
        self._strict_schemas = [strict_form(schema) for schema in self._schemas()]
        if strict and None in self._strict_schemas:
            raise UsageError(
                f"strict=True, but {self.label} has no strict form (free-form objects and values of any type have "
                "none): give it named fields, or leave strict out"
            )
        if strict is False:
            self._strict_schemas = [None for _ in self._strict_schemas]
        self.specs: tuple[ToolSpec, ...] = self.specs_for(strict=False)

    def _take(self, functions: Sequence[Callable[..., Any]], description: str | None) -> None:
        if self.mode in ("native", "prompted"):
            raise UsageError(f"mode={self.mode!r} is for types: a function is called, which is mode 'tool'")
        if description is not None and len(functions) > 1:
            raise UsageError(
                "description= is for one answer: each of several functions says in its docstring what it is for"
            )
        self.tools = tools_by_name(functions)
        self.mode = "tool"
        self.label = ", ".join(self.tools)
        schemas = [dict(made.parameters) for made in self.tools.values()]
        self.schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        self.description = description or ""

    def _schemas(self) -> list[dict[str, Any]]:
        return [dict(made.parameters) for made in self.tools.values()] or [self.schema]

    @staticmethod
    def of(value: Any) -> Output[Any] | None:
        """An Output as it is, or one of a type or functions; None for `str`, which is plain text. Raises UsageError."""
        if value is str:
            return None
        return cast("Any", value) if isinstance(value, Output) else Output(value)

    @property
    def strict_schema(self) -> dict[str, Any] | None:
        """The schema of a type in the strict form, None if it has none or is not to be held to it."""
        return self._strict_schemas[0] if self._type is not None else None

    @property
    def title(self) -> str:
        """What to call the schema: the type's own name if it has one."""
        return self.label if self.label.isidentifier() else self.name

    def specs_for(self, *, strict: bool) -> tuple[ToolSpec, ...]:
        """The output tools; with `strict` in the strict form where there is one."""
        held = self._strict_schemas if strict else [None for _ in self._strict_schemas]
        made = [(made.name, made.description, dict(made.parameters)) for made in self.tools.values()]
        if self._type is not None:
            schema = {key: value for key, value in self.schema.items() if key != "description"}
            made = [(self.name, f"{self.description}\n\n{_SAID}".strip(), schema)]
        elif len(made) == 1 and self.description:
            made = [(made[0][0], self.description, made[0][2])]
        return tuple(
            [
                ToolSpec(name, said, form or parameters, strict=form is not None)
                for (name, said, parameters), form in zip(made, held, strict=True)
            ]
        )

    def handles(self, name: str) -> bool:
        """Whether a call of that name is an answer."""
        known: Mapping[str, Any] = self.tools or {self.name: self}
        return find_tool(known, name) is not None

    def function(self, name: str) -> Tool | None:
        """The function that a call of that name is for, also under the prefixes that models add."""
        return find_tool(self.tools, name)

    def read_text(self, text: str) -> T:
        """The value that an answer's text spells. Raises WrongAnswer."""
        described = self._type
        if described is None:
            raise WrongAnswer(f"Do not answer in words. Call one of the functions: {self.label}.")
        if not text.strip():
            raise WrongAnswer(f"The answer is empty: it should be {self._expected()}.")
        problems: tuple[str, ...] = ()
        openings = "{[" if described.is_wrapped else "{"
        for spelt in spelt_in(text, openings, in_words=self.mode in ("auto", "prompted")):
            try:
                return cast("T", described.read(self._as_object(spelt)))
            except BadArguments as error:
                problems = problems or (error.problems if spelt[:1] in ("{", "[") else ())
        if described.is_wrapped and (not problems or self._is_text):
            for bare in self._bare(text):
                with suppress(BadArguments):
                    return cast("T", described.read(dumps({VALUE: bare}).decode()))
        if not problems:
            raise WrongAnswer(f"The answer is not what was asked for: it should be {self._expected()}.")
        told = tuple([_of_answer(problem) for problem in problems])
        raise WrongAnswer(_listed("The answer is wrong:", told, "Give the whole answer again, corrected."), told)

    def read_call(self, name: str, arguments: str) -> T:
        """The value in a call of a type's output tool.

        Raises:
            WrongAnswer: the arguments do not fit.
            UsageError: the output is made by functions, which are called as tools.
        """
        if self._type is None:
            raise UsageError(f"{name} is a function: bind and call it, as in output.tools[{name!r}].call_sync(…)")
        try:
            return cast("T", self._type.read(arguments))
        except BadArguments as error:
            heading = f"{self.name} was not accepted, its arguments are wrong:"
            raise WrongAnswer(_listed(heading, error.problems), error.problems) from None

    def to_json(self, value: T) -> str:
        """The value as JSON. Raises ValueError if there is none."""
        if self._type is not None:
            with suppress(Exception):  # a validator may have made something else of it
                return self._type.adapter.dump_json(value, by_alias=True, warnings=False).decode()
        return to_json(value, by_alias=True).decode()

    def partial(self, text: str, name: str = "") -> Known:
        """What is known of a value whose JSON has come so far; MISSING if nothing is.

        For an object it is a dict of the fields that are known: each that is whole is checked and converted, the last
        may be a string or another object as far as it came; for a list a list of such. A field that is whole and wrong
        is left out. Of functions it is the arguments, as JSON has them, of the one that `name` calls.
        """
        growing = self.growing(name)
        growing.feed(text)
        return growing.value

    def growing(self, name: str = "") -> Growing:
        """The same, fed piece by piece."""
        described = self._type
        if described is None:
            return Growing(Place([], []) if name else None, is_wrapped=False)
        place = Place([(described.core, None)], described.definitions)
        return Growing(place, is_wrapped=described.is_wrapped)

    @property
    def _is_text(self) -> bool:
        """Whether any text at all is of the type."""
        return all(
            kind.keys() <= {"type", "description"} and kind.get("type") == "string"
            for kind in schemas_at(self.schema, (VALUE,))
        )

    def _expected(self) -> str:
        schemas = schemas_at(self.schema, ())
        if self._type is not None and self._type.is_wrapped and (inner := wanted(schemas_at(self.schema, (VALUE,)))):
            return f'{inner}, as JSON: {{"{VALUE}": …}}'
        return f"one JSON object, {wanted(schemas)}" if wanted(schemas) != "an object" else "one JSON object"

    def _as_object(self, text: str) -> str:
        """A JSON text as the one of the object that the schema is of."""
        if self._type is None or not self._type.is_wrapped:
            return text
        try:
            value = loads(text)
        except ValueError:
            return text
        return text if is_object(value) and VALUE in value else dumps({VALUE: value}).decode()

    def _bare(self, text: str) -> Iterator[str]:
        """What a text without JSON may spell."""
        stripped = text.strip()
        if takes_text(self.schema, (VALUE,)):
            yield text
        yield stripped
        plain = stripped.strip("\"'`*. ")
        for kind in schemas_at(self.schema, (VALUE,)):
            for choice in (*kind.get("enum", ()), kind.get("const")):
                if isinstance(choice, str) and choice.casefold() == plain.casefold():
                    yield choice

    def __repr__(self) -> str:
        return f"Output({self.label}, mode={self.mode!r})"


def _check(mode: str, name: str, retries: object) -> None:
    if mode not in MODES:
        raise UsageError(f"mode={mode!r} is not known: give one of {', '.join(map(repr, MODES))}")
    name_of(_check, name)
    if retries is not None and (not isinstance(retries, int) or isinstance(retries, bool) or retries < 0):
        raise UsageError(f"retries={retries!r} must be an integer of at least 0, or None")


def _functions(of: Any) -> Sequence[Callable[..., Any]] | None:
    """The functions that make the output, or None for a type. Raises UsageError for what is neither."""
    if is_list(of):
        given: Sequence[Any] = of
        if not given or not all(_is_function(each) for each in given):
            raise UsageError(f"a list of outputs holds functions, not {of!r}: write types as a union, as in `A | B`")
        return given
    if _is_function(of):
        return [of]
    if of is None or isinstance(of, str | bytes | int | float | dict | set):
        raise UsageError(
            f"an output is a type or a function, not {of!r}: give the type itself, or `str` for plain text"
        )
    return None


def _is_function(of: Any) -> bool:
    if isinstance(of, _FUNCTIONS):
        return True
    # what typing makes (list[int], int | str, NewType) may be called too
    return (
        callable(of)
        and not isinstance(of, type)
        and type(of).__module__ not in ("typing", "types", "typing_extensions")
    )


def _names_around() -> dict[str, Any]:
    """The local names of whoever makes the output: the fields of a type may be annotated with them."""
    frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for _ in range(_MOST_FRAMES):
        if frame.f_back is None or frame.f_globals.get("__name__", "").partition(".")[0] not in ("agentkit", "typing"):
            break
        frame = frame.f_back
    return {**frame.f_globals, **frame.f_locals}


def _listed(heading: str, problems: Sequence[str], then: str = "") -> str:
    return "\n".join([heading, *[f"- {problem}" for problem in problems], *([then] if then else [])])


def _of_answer(problem: str) -> str:
    for begins, instead in (("the arguments are", "the answer is"), ("the arguments", "the answer")):
        if problem.startswith(begins):
            return instead + problem.removeprefix(begins).replace(": their JSON", ": its JSON")
    return problem
