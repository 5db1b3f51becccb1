"""Each public name stands in an example that ran: in a page, in a docstring, in examples/.

tests/public_api.txt has the names. A page's blocks, docstrings' examples and the scripts are run by test_docs.py; which
names they use is read off their syntax trees. Type aliases, constants, protocols and the names of TypedDicts are for
annotations, and need none; the keys of a TypedDict are keywords, and do.
"""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_docs import DOCTESTED, EXAMPLES, WITH_CODE, blocks

LIST = Path(__file__).with_name("public_api.txt")


def used_in(source: str) -> Iterator[str]:
    """The names that a text of Python uses, attributes and keywords (as `name=`) included. An import is no use."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield f"{name}="
            case ast.MatchClass(kwd_attrs=names):
                yield from names
            case _:
                pass


def sources() -> Iterator[str]:
    """Every text of Python that test_docs.py runs."""
    for page in WITH_CODE:
        for block in blocks(page.read_text("utf-8")):
            if block.language == "python" and not block.comment.startswith("skip: "):
                yield block.code
    for path in EXAMPLES:
        yield path.read_text("utf-8")
    for path in DOCTESTED:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
                    yield example.source


@cache
def used() -> frozenset[str]:
    return frozenset(name for source in sources() for name in used_in(source))


def public(listed: str) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """The names of the list by module: each as it is shown, with the words of which an example uses one."""
    names: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    module = owner = ""
    for line in listed.splitlines():
        if line.startswith("# "):
            module = line.removeprefix("# ")
            names[module] = []
        elif found := re.match(r"(?:async )?def (\w+)", line):
            names[module].append((found[1], (found[1],)))
        elif found := re.match(r"class (\w+)(\((?:TypedDict|Protocol)\))?", line):
            owner = found[1]
            names[module] += [] if found[2] else [(owner, (owner,))]
        elif found := re.match(r"    \.(\w+)(\(?)", line):
            # An argument's name stands for the attribute too; one of a verb's twins, sync and async, will do.
            verb = found[1].removesuffix("_sync").removesuffix("_")
            words = (found[1], verb, f"{verb}_", f"{verb}_sync") if found[2] else (found[1], f"{found[1]}=")
            names[module].append((f"{owner}.{found[1]}", tuple(dict.fromkeys(words))))
        elif found := re.match(r"    (\w+): ", line):
            names[module].append((f"{owner}({found[1]}=…)", (f"{found[1]}=",)))
    return names


PUBLIC = public(LIST.read_text("utf-8"))


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_stands_in_an_example_that_ran(module):
    missing = [name for name, words in PUBLIC[module] if used().isdisjoint(words)]
    assert missing == [], f"no example uses these of {module}: give each one, in its docstring or on a page"


LISTED = """
# one.module
class Kept(Base)
    (limit: int)
    .limit
    .run(self) -> None
    .size (property) -> int
class Args(TypedDict)
    name: str
class Speaks(Protocol)
    .say(self) -> str
Either: TypeAlias
MOST: int
Other: from two
async def wait() -> None
def work() -> None
"""


def test_which_names_need_an_example():
    assert public(LISTED) == {
        "one.module": [
            ("Kept", ("Kept",)),
            ("Kept.limit", ("limit", "limit=")),
            ("Kept.run", ("run", "run_", "run_sync")),
            ("Kept.size", ("size", "size=")),
            ("Args(name=…)", ("name=",)),
            ("Speaks.say", ("say", "say_", "say_sync")),
            ("wait", ("wait",)),
            ("work", ("work",)),
        ]
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from agentkit import Agent", set()),
        ("Agent(model, tools=[add]).run()", {"Agent", "model", "tools=", "add", "run"}),
        ("match it:\n    case Text(words=said):\n        pass", {"it", "Text", "words"}),
        ('"Agent"', set()),
    ],
)
def test_what_an_example_uses(source, expected):
    assert set(used_in(source)) == expected
