from __future__ import annotations

import dataclasses
import functools
import typing
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest
import typing_extensions
from pydantic import BaseModel

from agentkit.errors import BadArguments, UsageError
from agentkit.schema import describe

if TYPE_CHECKING:
    from somewhere import Elsewhere

Deps = TypeVar("Deps")


class Ctx(Generic[Deps]):
    pass


class MyCtx(Ctx[int]):
    pass


def every(a: int, /, b: int, c: int = 3, *rest: int, d: int, e: int = 5, **more: int):
    return (a, b, c, rest, d, e, more)


def only(a: int = 1, b: int = 2, /, c: int = 3):
    return (a, b, c)


def bare(schema, json, copy, model_config, self, func, cls, name, args, kwargs):
    return (schema, json, copy, model_config, self, func, cls, name, args, kwargs)


class Holder:
    """A holder."""

    class Inner(typing.NamedTuple):
        n: int

    ZERO = Inner(0)

    def method(self, x: int, inner: Inner = ZERO) -> Nowhere:  # noqa: F821
        """A method."""
        return (x, inner)

    @classmethod
    def of_class(cls, x: int):
        return (cls, x)

    @staticmethod
    def static(x: int):
        return x

    def loose(self, x: int, **more: int):
        return (x, more)

    def __call__(self, x: int):
        """Call it."""
        return x


class HTTPFetcher2:
    """Fetches."""

    def __call__(self, url: str):
        return url


def wrapper(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


async def asynchronous(x: int) -> int:
    return x


def generator(x: int) -> typing.Iterator[int]:
    yield x


async def async_generator(x: int):
    yield x


@dataclasses.dataclass
class Plain:
    x: int


class Model(BaseModel):
    x: int


class Keywords(typing.TypedDict):
    x: int
    y: typing.NotRequired[str]


def unpacking(a: int, **more: typing.Unpack[Keywords]):
    return (a, more)


def loose(a: int, /, **more: Any):
    return (a, more)


# function, name, required, all properties, arguments, result
KINDS = {
    "every kind": (
        every,
        "every",
        ["a", "b", "d"],
        ["a", "b", "c", "rest", "d", "e"],
        '{"a": "1", "b": 2, "rest": ["4"], "d": 5, "x": "9"}',
        (1, 2, 3, (4,), 5, 5, {"x": 9}),
    ),
    "without rest": (
        every,
        "every",
        ["a", "b", "d"],
        ["a", "b", "c", "rest", "d", "e"],
        '{"a": 1, "b": 2, "d": 4}',
        (1, 2, 3, (), 4, 5, {}),
    ),
    "positional with a hole": (only, "only", [], ["a", "b", "c"], '{"b": 5}', (1, 5, 3)),
    "positional left out": (only, "only", [], ["a", "b", "c"], '{"c": 5}', (1, 2, 5)),
    "no annotations, odd names": (
        bare,
        "bare",
        ["schema", "json", "copy", "model_config", "self", "func", "cls", "name", "args", "kwargs"],
        ["schema", "json", "copy", "model_config", "self", "func", "cls", "name", "args", "kwargs"],
        '{"schema":0,"json":1,"copy":2,"model_config":3,"self":4,"func":5,"cls":6,"name":7,"args":8,"kwargs":9}',
        tuple(range(10)),
    ),
    "method": (Holder().method, "method", ["x"], ["x", "inner"], '{"x": 1, "inner": [2]}', (1, Holder.Inner(2))),
    "class method": (Holder.of_class, "of_class", ["x"], ["x"], '{"x": 1}', (Holder, 1)),
    "static method": (Holder.static, "static", ["x"], ["x"], '{"x": 1}', 1),
    "static method in its class": (vars(Holder)["static"], "static", ["x"], ["x"], '{"x": 1}', 1),
    "callable object": (Holder(), "holder", ["x"], ["x"], '{"x": 1}', 1),
    "callable object's name": (HTTPFetcher2(), "http_fetcher2", ["url"], ["url"], '{"url": "u"}', "u"),
    "partial": (
        functools.partial(every, 1, e=6),
        "every",
        ["b", "d"],
        ["b", "c", "rest", "d"],
        '{"b": 2, "c": 3, "rest": [4], "d": 5}',
        (1, 2, 3, (4,), 5, 6, {}),
    ),
    "partial of a partial": (
        functools.partial(functools.partial(every, b=2), 1),
        "every",
        ["d"],
        ["c", "d", "e"],
        '{"d": 5}',
        (1, 2, 3, (), 5, 5, {}),
    ),
    "wrapped": (wrapper(only), "only", [], ["a", "b", "c"], '{"b": 5}', (1, 5, 3)),
    "cached": (functools.lru_cache(only), "only", [], ["a", "b", "c"], '{"b": 5}', (1, 5, 3)),
    "class": (Plain, "Plain", ["x"], ["x"], '{"x": 1}', Plain(1)),
    "model": (Model, "Model", ["x"], ["x"], '{"x": 1}', Model(x=1)),
    "builtin": (len, "len", ["obj"], ["obj"], '{"obj": [1]}', 1),
    "Unpack": (unpacking, "unpacking", ["a", "x"], ["a", "x", "y"], '{"a": 1, "x": 2}', (1, {"x": 2})),
    "name of a positional twice": (loose, "loose", ["a"], ["a"], '{"a": 1, "b": 2}', (1, {"b": 2})),
}


@pytest.mark.parametrize(("function", "name", "required", "names", "arguments", "result"), KINDS.values(), ids=KINDS)
def test_kinds(function, name, required, names, arguments, result):
    described = describe(function, context=Ctx)
    assert described.name == name
    assert described.parameters.get("required", []) == required
    assert list(described.parameters["properties"]) == names
    assert not described.wants_context
    args, kwargs = described.validate(arguments)
    assert function(*args, **kwargs) == result


@pytest.mark.parametrize("function", [asynchronous, generator, async_generator])
def test_how_it_runs_does_not_matter(function):
    described = describe(function)
    assert described.parameters["properties"] == {"x": {"type": "integer"}}
    assert described.validate('{"x": "1"}') == ((), {"x": 1})


@pytest.mark.parametrize(
    ("function", "description"),
    [
        (Holder().method, "A method."),
        (Holder(), "Call it."),
        (Holder, "A holder."),
        (HTTPFetcher2(), "Fetches."),
        (functools.partial(Holder().method, 1), "A method."),
        (Plain, ""),
        (Model, ""),
        (Holder.static, ""),
    ],
)
def test_descriptions(function, description):
    assert describe(function).description == description


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (functools.partial(every, 1, e=6), '{"b": 2, "d": 4, "e": 7}'),  # fixed by the caller
        (functools.partial(loose, 1, key=2), '{"key": 7}'),
        (Holder().loose, '{"x": 1, "self": 7}'),  # Python gives it already
    ],
)
def test_what_the_caller_fixed_is_not_the_models(function, arguments):
    with pytest.raises(BadArguments, match="is unknown"):
        describe(function).validate(arguments)


def first(ctx: Ctx[str], x: int): ...
def bare_context(ctx: Ctx, x: int): ...
def subclass(ctx: MyCtx, x: int): ...
def annotated(ctx: typing.Annotated[Ctx[str], "no text"], x: int): ...
def unresolvable(ctx: Ctx[Elsewhere], x: int): ...
def positional(ctx: Ctx[str], /, x: int): ...
def no_context(x: int): ...


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (first, Ctx[str]),
        (bare_context, Ctx),
        (subclass, MyCtx),
        (annotated, Ctx[str]),
        (unresolvable, Ctx),
        (positional, Ctx[str]),
        (no_context, None),
    ],
)
def test_context(function, kind):
    described = describe(function, context=Ctx)
    assert described.wants_context is (kind is not None)
    assert described.context_type == kind
    assert list(described.parameters["properties"]) == ["x"]
    assert described.validate('{"x": 1}') == ((), {"x": 1})


def test_a_context_is_not_a_keyword_for_the_model():
    def tool(ctx: Ctx[str], **more: int): ...

    with pytest.raises(BadArguments, match="`ctx` is unknown"):
        describe(tool, context=Ctx, localns=locals()).validate('{"ctx": 1}')


def test_context_among_what_is_local():
    class Db:
        pass

    Alias = Ctx[Db]

    def tool(ctx: Alias, x: int): ...

    assert describe(tool, context=Ctx, localns=locals()).context_type == Ctx[Db]


def second(x: int, ctx: typing.Annotated[Ctx[str], 1]): ...
def keyword(*, ctx: Ctx[str]): ...
def missing(x: int, elsewhere: Elsewhere): ...
def words(x: "how many there are"): ...  # noqa: F722
def odd_unpack(**more: typing.Unpack[int]): ...
def overlapping(x: int, **more: typing.Unpack[Keywords]): ...
def größe(x: int): ...  # such names are what is tested  # noqa: PLC2401


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (second, "second: the context comes first: make `ctx` the first parameter"),
        (keyword, "keyword: the context is given by position: `ctx` must not be keyword-only"),
        (missing, "missing: the annotation 'Elsewhere' of `elsewhere` cannot be resolved (name 'Elsewhere'"),
        (words, "of `x` cannot be resolved"),
        (odd_unpack, "`**more` unpacks <class 'int'>, which is no TypedDict"),
        (overlapping, "`x` is a parameter, and also in the TypedDict of `**more`"),
        (lambda x: x, "a lambda has no name to call it by: give it one with name="),
        (größe, "'größe' cannot be a tool's name"),
        (max, "max: its parameters cannot be read"),
        (int, "int: its parameters cannot be read"),
    ],
)
def test_what_cannot_be_told(function, told):
    with pytest.raises(UsageError) as error:
        describe(function, context=Ctx)
    assert told in str(error.value)


def test_given_names():
    assert describe(lambda x: x, name="same").name == "same"
    with pytest.raises(UsageError, match="'a b' cannot be a tool's name"):
        describe(no_context, name="a b")
    with pytest.raises(UsageError, match="1 to 64 of"):
        describe(no_context, name="x" * 65)


def test_local_classes_by_the_frame_of_the_function():
    @dataclasses.dataclass
    class Inner:
        amount: Decimal

    class Row(typing.TypedDict):
        inner: typing.NotRequired[Inner]

    class Own(typing_extensions.TypedDict):
        inner: Inner

    @dataclasses.dataclass
    class Outer:
        inner: Inner
        more: list[Inner] = dataclasses.field(default_factory=list)

    class Local(BaseModel):
        outer: Outer

    def tool(outer: typing.Annotated[Outer, "Around."], row: Row, own: Own, also: Inner | None = None): ...

    described = describe(tool, localns=locals())
    assert sorted(described.parameters["$defs"]) == ["Inner", "Outer", "Own", "Row"]
    assert described.parameters["properties"]["outer"] == {"$ref": "#/$defs/Outer", "description": "Around."}
    one = Inner(Decimal(1))
    sent = '{"outer": {"inner": {"amount": "1"}}, "row": {"inner": {"amount": 1}}, "own": {"inner": {"amount": 1}}}'
    assert described.validate(sent) == ((), {"outer": Outer(one), "row": {"inner": one}, "own": {"inner": one}})
    with pytest.raises(UsageError, match=r"of `outer` cannot be resolved \(name 'Outer' is not defined\)"):
        describe(tool)


def test_local_classes_by_closure():
    class Item(typing.NamedTuple):
        n: int

    def tool(item: Item):
        return isinstance(item, Item)

    assert describe(tool).validate('{"item": [1]}') == ((), {"item": Item(1)})


def test_a_local_class_that_is_not_there_yet():
    def tool(item: Later): ...

    with pytest.raises(UsageError, match="'Later' of `item` cannot be resolved"):
        describe(tool)

    class Later(typing.NamedTuple):
        n: int

    assert describe(tool, localns=locals()).validate('{"item": [1]}')[1] == {"item": Later(1)}


def test_a_function_that_names_a_class_of_its_closure_too_early():
    def make():
        def tool(n: int):
            return Later(n)

        described = describe(tool)

        class Later(typing.NamedTuple):
            n: int

        return described, tool

    described, tool = make()
    assert tool(*described.validate('{"n": 1}')[0], n=1) == (1,)
