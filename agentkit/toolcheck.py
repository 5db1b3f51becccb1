"""What a reviewer would fault in tools: what a model is told of them, read as the model reads it."""

from __future__ import annotations

import inspect
from collections import defaultdict
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_list, is_object
from agentkit.schema import FunctionSchema
from agentkit.schema.docstrings import read_docstring
from agentkit.schema.signature import docstring_of
from agentkit.schema.strict import strict_form
from agentkit.tools import Tool
from agentkit.toolsearch import words
from agentkit.toolsets import Toolset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

BYTES_PER_TOKEN: Final = 4
"""A rough measure of JSON in English, for there is no one tokenizer."""
LONGEST_DESCRIPTION: Final = 1024
"""Source: OpenAI refuses longer ones."""
MOST_TOOLS: Final = 128
"""Source: OpenAI refuses more in one request. Models choose badly long before."""
MOST_VALUES: Final = 100
"""Of an enum. Each is paid for in each request."""

_SOME: Final = ("type", "anyOf", "oneOf", "allOf", "enum", "const", "$ref")


@dataclass(slots=True)
class ToolReport:
    """What is to be said of one tool.

    `parameters` is the JSON Schema that the model is told. `tokens` estimates what the tool takes of each request: the
    bytes of its JSON by four. `findings` are what to mend, each with its remedy.
    """

    name: str
    parameters: Mapping[str, Any]
    tokens: int
    findings: tuple[str, ...] = ()


def check_tools(tools: Toolset | Iterable[object]) -> list[ToolReport]:
    """A report on each tool, in order: what would mislead a model, cost tokens for nothing, or be refused.

    Takes functions, Tools, dicts, Toolsets. What a Toolset loads at run time is not known here. Raises UsageError.
    """
    known = _known(tools)
    names, texts = defaultdict[Any, list[Tool]](list), defaultdict[Any, list[Tool]](list)
    for tool in known:
        names[_key(tool)].append(tool)
        texts[tool.description.strip()].append(tool)
    reports: list[ToolReport] = []
    for index, tool in enumerate(known):
        findings = [*_said(tool), *_arguments(tool), *_docstring(tool)]
        if alike := _others(tool, names[_key(tool)]):
            findings.append(f"its name is hard to tell from {alike}: name what is different about it")
        if (text := tool.description.strip()) and (alike := _others(tool, texts[text])):
            findings.append(f"its description is that of {alike}: say when to call which")
        if index == MOST_TOOLS:
            findings.append(
                f"it is tool {MOST_TOOLS + 1} of {len(known)}: OpenAI takes {MOST_TOOLS} in a request, and models "
                "choose badly among so many; offer them through a Searchable, or fewer"
            )
        tokens = -(-len(tool.spec.json()) // BYTES_PER_TOKEN)
        reports.append(ToolReport(tool.name, tool.parameters, tokens, tuple(findings)))
    return reports


def _known(tools: Toolset | Iterable[object]) -> list[Tool]:
    if isinstance(tools, Toolset):
        return tools.known
    return [tool for item in tools for tool in (item if isinstance(item, Toolset) else Toolset([item])).known]


def _said(tool: Tool) -> Iterator[str]:
    text = tool.description.strip()
    if not text:
        yield "no description: say in the docstring, or by description=, what it does and when to call it"
    elif len(text) > LONGEST_DESCRIPTION:
        yield (
            f"a description of {len(text):,} characters: OpenAI takes {LONGEST_DESCRIPTION:,}; move what is about one "
            "argument to that argument, and what is general to the instructions"
        )


def _arguments(tool: Tool) -> Iterator[str]:
    told = tool.schema.parameters  # as it is without strict=True, where everything is required and may be null
    properties, required, definitions = told.get("properties"), told.get("required"), told.get("$defs")
    needed: Sequence[Any] = required if is_list(required) else ()
    for name, schema in (properties if is_object(properties) else {}).items():
        defs = dict(_used(schema, definitions if is_object(definitions) else {}, set()))
        if not (is_object(schema) and str(schema.get("description") or "").strip()):
            yield f"argument `{name}` has no description: describe it in the docstring's Args, or by Annotated[…, '…']"
        if not (is_object(schema) and any(key in schema for key in _SOME)):
            yield f"argument `{name}` takes any value: annotate it with a type, so that the model knows what to give"
        elif strict_form({"type": "object", "properties": {name: schema}, "required": [name], "$defs": defs}) is None:
            yield (
                f"argument `{name}` has no strict form (it holds free keys, or values of any type): give it a type "
                "with named fields, or endpoints cannot hold the model to it"
            )
        if (count := _longest_enum([schema, *defs.values()])) > MOST_VALUES:
            yield (
                f"argument `{name}` lists {count} values, which are paid for in each request: take text and answer a "
                "wrong value with Retry, or give a tool that looks values up"
            )
        if name in needed and _may_be_null(schema):
            yield (
                f"argument `{name}` may be null and has to be given: give it a default of None, so that it can be "
                "left out"
            )
    if told.get("additionalProperties", False) is not False:
        yield "it takes arguments of any name (**kwargs), so it has no strict form: name those that there are"


def _used(schema: object, defs: Mapping[str, Any], seen: set[str]) -> Iterator[tuple[str, Any]]:
    """The definitions that a schema refers to, straight or through others."""
    if is_list(schema):
        for item in schema:
            yield from _used(item, defs, seen)
    elif is_object(schema):
        name = str(schema.get("$ref")).rpartition("/")[2]
        if name in defs and name not in seen:
            seen.add(name)
            yield name, defs[name]
            yield from _used(defs[name], defs, seen)
        yield from _used(list(schema.values()), defs, seen)


def _longest_enum(schema: object) -> int:
    if is_list(schema):
        return max([_longest_enum(item) for item in schema], default=0)
    if not is_object(schema):
        return 0
    values = schema.get("enum")
    return max(len(values) if is_list(values) else 0, _longest_enum(list(schema.values())))


def _may_be_null(schema: object) -> bool:
    if not is_object(schema):
        return False
    kind, several = schema.get("type"), schema.get("anyOf")
    if kind == "null" or (is_list(kind) and "null" in kind):
        return True
    return is_list(several) and any(_may_be_null(each) for each in several)


def _docstring(tool: Tool) -> Iterator[str]:
    """What the docstring says of arguments that there are not."""
    if not isinstance(tool.schema, FunctionSchema):
        return
    function = tool.function
    while isinstance(function, partial):
        function = function.func
    # of a method, a classmethod, a staticmethod: as it was written
    parameters = inspect.signature(getattr(function, "__func__", function)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    _, texts = read_docstring(docstring_of(tool.function))
    arguments = list(tool.schema.parameters["properties"])
    for name in texts:
        if name not in arguments and name not in parameters:
            nearest = get_close_matches(name, arguments, 1)
            meant = f"is `{nearest[0]}` meant? Rename it" if nearest else "rename it"
            yield f"the docstring describes `{name}`, which is no argument: {meant}, or take it out"


def _key(tool: Tool) -> tuple[str, ...]:
    """A name without what is easily overlooked: order, number, case, digits."""
    return tuple(sorted(word for word in words(tool.name) if not word.isdigit()))


def _others(tool: Tool, alike: Sequence[Tool]) -> str:
    return ", ".join([other.name for other in alike if other is not tool])
