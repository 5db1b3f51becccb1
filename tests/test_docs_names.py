"""Names of agentkit that prose has in backticks, on pages and in docstrings, are there.

`Agent.run`, `agentkit.prices.unpriced`, `Limits(steps=…)`, `result.usage`, `on_event=`: what is called by a name that
stands for one of agentkit's things, in capitals or by the variable that the pages always use for it, is looked up.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pydantic
import pytest

from agentkit import loop
from agentkit.args import AgentArgs, RunArgs
from agentkit.toolsets import ToolOptions
from tests.test_docs import PAGES, ROOT, blocks, prose, referenced
from tests.test_public_api import FOR_THE_PACKAGE, MODULES, public_names

SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
WORD = r"[A-Za-z_]\w*"
DOTTED = re.compile(rf"@?({WORD}(?:\.{WORD})*)(?<!\.py)(?<!\.md)(?<!\.json)(?<!\.toml)(?:\((.*)\))?$")
ARGUMENT = re.compile(rf"({WORD})=(?:…|[\"'\d(\[{{].*|True|False|None)?")
KEYWORD = re.compile(rf"(?<![\w.])({WORD})=")
# What a variable of this name is, wherever the pages have one.
VARIABLES = {
    "agent": "Agent",
    "budget": "Budget",
    "call": "ToolCall",
    "ctx": "Context",
    "exchange": "Exchange",
    "fake": "FakeEndpoint",
    "model": "ScriptedModel",  # it has what any model has
    "record": "CallRecord",
    "reply": "Reply",
    "report": "Report",
    "result": "Result",
    "run": "RunStream",
    "store": "Conversations",
    "toolset": "Toolset",
    "transcript": "Transcript",
}
ANY = "**"
# Pages that are about other libraries' names as well.
OTHERS = {"docs/coming-from.md", "docs/compared.md"}
# The keywords that a function takes beside those of its signature.
TYPED = {"Agent": AgentArgs, "run": RunArgs, "run_sync": RunArgs, "stream": RunArgs, "tool": ToolOptions}


@cache
def known() -> dict[str, Any]:
    """The public names, and what belongs to them without a place of its own."""
    found: dict[str, Any] = {
        "Exchange": importlib.import_module("agentkit.chat.exchange").Exchange,
        **{effect.__name__: effect for effect in typing.get_args(loop.Effect | loop.Finished)},
    }
    for module in (importlib.import_module(name) for name in reversed(MODULES)):
        found |= {name: getattr(module, name) for name in public_names(module)}
    return found


def has(thing: Any, name: str) -> bool:
    """Whether a class, its instances or a module have an attribute."""
    if hasattr(thing, name):
        return True
    if not inspect.isclass(thing):
        return False
    fields = {field.name for field in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else set()
    return name in fields or any(name in assigned(base) for base in thing.__mro__)


@cache
def assigned(owner: type) -> frozenset[str]:
    """The attributes that a class's methods give to its instances."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    except (OSError, TypeError):  # it is no class of Python's making
        return frozenset()
    return frozenset(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))


@cache
def methods() -> dict[str, list[Any]]:
    """What public classes have, by name."""
    found: dict[str, list[Any]] = {}
    for owner in known().values():
        for name in dir(owner) if inspect.isclass(owner) else ():
            if inspect.isroutine(member := inspect.getattr_static(owner, name)) or isinstance(member, staticmethod):
                found.setdefault(name, []).append(getattr(owner, name))
    return found


def parameters_of(thing: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(thing).parameters
    except ValueError:  # an exception that takes what Exception does
        return {}


def keywords(thing: Any) -> set[str]:
    """What may be given by keyword."""
    name = thing.__name__
    taken = set(TYPED[name].__annotations__) if name in TYPED else set()
    for function in [thing, *(typing.get_overloads(thing) if inspect.isfunction(thing) else ())]:
        parameters = parameters_of(function)
        taken |= set(parameters)
        if name not in TYPED and any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            taken.add(ANY)
    return taken


@cache
def all_keywords() -> set[str]:
    """Every keyword of every public function, class and method."""
    things = [*known().values(), *(each for several in methods().values() for each in several)]
    return {name for each in things if callable(each) and hasattr(each, "__name__") for name in keywords(each)}


def problems(span: str, own: set[str]) -> Iterator[str]:
    """What is wrong with a span; `own` are the names that the page's code has."""
    if (argument := ARGUMENT.fullmatch(span)) and argument[1] not in all_keywords():
        yield f"nothing takes {argument[1]}="
    found = DOTTED.match(span)
    if found is None:
        return
    first, *rest = found[1].split(".")
    if first == "agentkit" and rest:
        thing: Any = importlib.import_module("agentkit")
        for name in rest:
            try:
                thing = (
                    getattr(thing, name)
                    if hasattr(thing, name)
                    else importlib.import_module(f"{thing.__name__}.{name}")
                )
            except ImportError:
                yield f"there is no {found[1]}"
                return
        return
    thing = known().get(VARIABLES.get(first, first) if rest else first)
    if thing is None and (first in own or hasattr(builtins, first) or hasattr(pydantic, first)):
        return
    if thing is None:
        made = methods().get(first, [])
        if not made and not rest and (found[2] is not None or (first[0].isupper() and not first.isupper())):
            yield f"nothing is called {first}"
    else:
        made = [thing, *methods().get(first, [])]
        for name in rest:
            if not has(thing, name):
                yield f"{first} has no {name}"
                return
            if name in FOR_THE_PACKAGE.get(getattr(thing, "__name__", ""), "").split():
                yield f"{first}.{name} is for the package's own modules"
                return
            thing = getattr(thing, name, None)
            made = [thing]
            if not (inspect.isclass(thing) or inspect.isroutine(thing)):
                break  # what it is, only an instance knows
    takes = {name for each in made if callable(each) and hasattr(each, "__name__") for name in keywords(each)}
    if found[2] and takes and ANY not in takes:
        given = KEYWORD.findall(re.sub(r"\(.*\)", "", found[2]))
        yield from (f"{found[1]} takes no {name}=" for name in given if name not in takes)


@pytest.mark.parametrize("page", sorted({str(page.relative_to(ROOT)) for page in PAGES} - OTHERS))
def test_names_in_prose_are_there(page):
    text = (ROOT / page).read_text("utf-8")
    own = {word for block in blocks(text) for word in re.findall(WORD, block.code)}
    gone = [f"`{span}`: {problem}" for span in SPAN.findall(prose(text)) for problem in problems(span, own)]
    assert gone == []


def documented(module: Any) -> Iterator[Any]:
    """A module's public names, and what its classes have."""
    for name in public_names(module):
        yield (thing := getattr(module, name))
        if inspect.isclass(thing):
            yield from [
                member
                for member in vars(thing).values()
                if inspect.isroutine(member) or isinstance(member, property | classmethod | staticmethod)
            ]


@pytest.mark.parametrize("page", [path.name for path in sorted((ROOT / "docs/reference").glob("*.md"))])
def test_names_in_the_reference_are_public(page):
    for module, names in referenced((ROOT / "docs/reference" / page).read_text("utf-8")):
        assert set(names) - set(public_names(importlib.import_module(module))) == set()


@pytest.mark.parametrize("module", MODULES)
def test_names_in_docstrings_are_there(module):
    gone = []
    for thing in documented(importlib.import_module(module)):
        # Its own arguments, and what these are by default.
        own = set(re.findall(WORD, str(parameters_of(thing)))) if inspect.isclass(thing) else set()
        for span in SPAN.findall(inspect.getdoc(thing) or ""):
            gone += [f"{thing}: `{span}`: {problem}" for problem in problems(span, own)]
    assert gone == []


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("agentkit.prices.unpriced", ""),
        ("agentkit.prices.unpriced_models", "there is no agentkit.prices.unpriced_models"),
        ("agentkit.price.unpriced", "there is no agentkit.price.unpriced"),
        ("Agent.run_sync", ""),
        ("Agent.run_twice", "Agent has no run_twice"),
        ("agent.persona", "agent.persona is for the package's own modules"),
        ("result.usage.cached_tokens", ""),
        ("result.usages", "result has no usages"),
        ("error.code", ""),
        ("Limits(steps=…)", ""),
        ("Limits(rounds=…)", "Limits takes no rounds="),
        ("Agent(model, output=Output(Invoice, mode='tool'))", ""),
        ("agent.run(conversation=name, until=…)", "agent.run takes no until="),
        ("@tool(read_only=True)", ""),
        ("@tool(readonly=True)", "tool takes no readonly="),
        ("assert_called(…)", ""),
        ("assert_answered(…)", "nothing is called assert_answered"),
        ("as_tool(name=…)", ""),
        ("on_event=", ""),
        ("on_events=", "nothing takes on_events="),
        ('busy="wait"', ""),
        ("ModelRetry", "nothing is called ModelRetry"),
        ("KeyboardInterrupt", ""),
        ("Mine", ""),
        ("agentkit chat", ""),
        ("result.py", ""),
    ],
)
def test_what_is_wrong_with_a_name(span, expected):
    assert next(problems(span, {"Mine"}), "") == expected
