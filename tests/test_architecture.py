"""The order of the modules, and what each may import, read off the source with `ast` alone."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "agentkit"

# Bottom to top. A module imports only from those above it here, at run time; a name may be a module or a package.
LAYERS = (
    "_json plain shown errors logs messages events approval entries transcript calling context guards instructions "
    "schema tools outputs toolcalls pending toolsearch toolsources toolsets toolcheck output chat policy pacing "
    "circuit prices bound flow plan history tally landing state loop consult clock _http turns endpoint budget "
    "spending wire run caller drive drive_async streams model fallback handoffs result args checks agent looks "
    "printing conversations testing evals serve local cli"
).split()
# The same inside a package. One that is not listed has no order, only no cycles.
WITHIN = {
    "_http": (
        "loading abort allowance body chunks request proxies tls faults reader h11_parser llhttp line line_anyio "
        "racing line_asyncio answer relay sync asynchronous"
    ).split(),
    "chat": (
        "settings dialects control exchange wording faults sse merge "
        "reply calls stream reader request lacking shaping jsonmode jsonreply"
    ).split(),
    "conversations": (
        "faults seals words schema creating database rows leases kept searching listing memory store"
    ).split(),
    "looks": "timeline view words parameters cards html terminal".split(),
    "serve": (
        "faults limits check fields request access seal decisions conversation replies showing running service "
        "preparing chat openapi page app server"
    ).split(),
}

# All up to the loop decide, and wait for nothing; these two alone run other people's functions.
PURE = set(LAYERS[: LAYERS.index("consult") + 1]) - set(
    "calling context tools toolcalls toolsources toolsets toolcheck".split()
)
NOT_IN_PURE = (
    "asyncio anyio trio sniffio threading concurrent multiprocessing subprocess select selectors socket ssl "
    "time random secrets os httpx httpcore httpx2 httpcore2 aiohttp requests urllib3 urllib.request "
    "http.client http.server"
).split()

BASE = set(
    "anyio docstring_parser h11 httpcore httpx pydantic pydantic_core sniffio tenacity typing_extensions".split()
)
STDLIB = sys.stdlib_module_names | {"annotationlib"}  # the latter from Python 3.14 on
# Libraries outside the base, each at home in one place.
EXTRAS = {
    "_http": {"aiohttp"},
    "calling": {"trio"},
    "prices": {"genai_prices"},
    "conversations": {"sqlalchemy"},
    "local": {"xllamacpp"},
    "testing": {"pytest"},
    "looks": {"rich"},
    "evals": {"rich"},
    "serve": {"starlette", "uvicorn", "cryptography"},
    "cli": {"typer", "rich", "prompt_toolkit"},
}
ONLY_IN = {"httpx": {"_http"}, "httpcore": {"_http"}, "h11": {"_http"}, "docstring_parser": {"schema"}}
# Each has one function that loads a module by name: a part of the package, or what the user names.
DOORS = {"agentkit.model", "agentkit.shown", "agentkit.cli.extras", "agentkit.cli.loading"}

FORBIDDEN_WORDS = re.compile(
    r"\bissues? (no\. ?|number )?#?\d|/wor[k]/|\bpypi[.]org|files[.]pythonhosted", re.IGNORECASE
)
# Folders that are made, not written.
NOT_OURS = {".git", ".hypothesis", ".venv", "__pycache__", "build", "dist", "htmlcov", "site"}


class Module(NamedTuple):
    name: str  # agentkit.chat.stream
    path: Path
    tree: ast.Module

    @property
    def layer(self) -> str:
        """The module's or package's name in LAYERS; "" for the package agentkit itself."""
        return self.name.removeprefix("agentkit").removeprefix(".").partition(".")[0]


class Import(NamedTuple):
    line: int
    module: str  # what is imported from, or imported
    name: str | None  # the name taken from it
    function: str | None  # the function that it stands in


def _modules() -> dict[str, Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = Module(name, path, ast.parse(path.read_text("utf-8"), str(path)))
    return found


MODULES = _modules()


def each_module(check: Callable[[Module], None]) -> Callable[[], None]:
    """A test that looks at every module and tells of all that are wrong."""

    def test() -> None:
        wrong = []
        for module in MODULES.values():
            try:
                check(module)
            except AssertionError as error:
                wrong.append(f"{module.name}: {error}")
        assert not wrong, "\n".join(wrong)

    test.__name__ = check.__name__
    return test


def _imports(node: ast.AST, function: str | None = None) -> Iterator[Import]:
    """Every import that happens at run time. `import_module("…")` is one too."""
    match node:
        case ast.Import():
            yield from (Import(node.lineno, alias.name, None, function) for alias in node.names)
        case ast.ImportFrom():
            origin = "." * node.level + (node.module or "")
            yield from (Import(node.lineno, origin, alias.name, function) for alias in node.names)
        case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            for child in node.orelse:
                yield from _imports(child, function)
            return
        case ast.Call(
            func=ast.Name("import_module" | "__import__") | ast.Attribute(attr="import_module"), args=[arg, *_]
        ):
            literal = arg.value if isinstance(arg, ast.Constant) else "agentkit.<computed>"
            yield Import(node.lineno, str(literal), None, function)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            function = node.name
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, function)


@cache
def _imports_of(name: str) -> list[Import]:
    """Those of a module, read once for all rules."""
    return list(_imports(MODULES[name].tree))


def _own(module: Module) -> Iterator[tuple[Import, str]]:
    """Imports of the package's own modules, each with the module that is meant."""
    for imported in _imports_of(module.name):
        if imported.module.partition(".")[0] == "agentkit":
            inner = f"{imported.module}.{imported.name}"
            yield imported, inner if inner in MODULES else imported.module


def _rank(name: str) -> tuple[int, int]:
    _, layer, inner, *_ = *name.split("."), "", ""
    order = WITHIN.get(layer)
    if not layer:
        return len(LAYERS), 0
    # A package itself stands on top of its modules.
    return LAYERS.index(layer), 0 if order is None else order.index(inner) if inner else len(order)


def _where(module: Module, line: int) -> str:
    return f"{module.path.relative_to(ROOT)}:{line}"


@each_module
def test_each_module_has_its_place(module):
    _, layer, inner, *_ = *module.name.split("."), "", ""
    assert not layer or layer in LAYERS, f"say in LAYERS where {module.name} stands"
    assert not inner or layer not in WITHIN or inner in WITHIN[layer], f"say in WITHIN where {module.name} stands"


@each_module
def test_imports_lean_down(module):
    wrong = [
        f"{_where(module, imported.line)}: {module.name} stands below {target}"
        for imported, target in _own(module)
        if imported.function is None and not _may_import(module.name, target)
    ]
    assert not wrong, "\n".join(wrong)


def _may_import(importer: str, target: str) -> bool:
    upper, lower = _rank(importer), _rank(target)
    if upper[0] == lower[0] and importer.split(".")[1:2] and importer.split(".")[1] not in WITHIN:
        return importer != target  # one package without an order of its own: the test for cycles looks after it
    return lower < upper


def test_the_table_in_agents_md_is_this_order():
    listed: list[tuple[str, bool]] = []
    for line in (ROOT / "AGENTS.md").read_text("utf-8").splitlines():
        if row := re.fullmatch(r"\| (`[^|]+`) \|[^|]+\| (yes)? ?\|", line):
            listed += [(name.rstrip("/"), row[2] == "yes") for name in re.findall(r"`([^`]+)`", row[1])]
    present = {module.layer for module in MODULES.values()} - {""}
    assert [name for name, _ in listed] == [name for name in LAYERS if name in dict(listed)]
    assert present <= set(dict(listed))
    assert {name for name, pure in listed if pure} == PURE


def test_no_cycles():
    graph = {
        module.name: {target for imported, target in _own(module) if imported.function is None}
        for module in MODULES.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@each_module
def test_private_names_stay_private(module):
    """A private module may be imported inside the package that it stands in; a private name by nobody else."""
    wrong = []
    for imported, target in _own(module):
        home, _, last = target.rpartition(".")
        if last.startswith("_") and not f"{module.name}.".startswith(f"{home}."):
            wrong.append(f"{_where(module, imported.line)}: {target} is private to {home}")
        if (imported.name or "").startswith("_") and target == imported.module:
            wrong.append(f"{_where(module, imported.line)}: {imported.name} is private to {imported.module}")
    assert not wrong, "\n".join(wrong)


@each_module
def test_own_modules_are_imported_at_the_top(module):
    inside = [imported for imported, _ in _own(module) if imported.function is not None]
    if module.name in DOORS:
        assert len({imported.function for imported in inside}) <= 1, "there is one door"
    else:
        assert not inside, "\n".join(f"{_where(module, i.line)}: in {i.function}()" for i in inside)


@each_module
def test_imports_are_absolute(module):
    assert not [_where(module, i.line) for i in _imports_of(module.name) if i.module.startswith(".")]


@each_module
def test_pure_modules_wait_for_nothing(module):
    if module.layer not in PURE:
        return
    wrong = [
        f"{_where(module, imported.line)}: {module.name} is pure, and imports {name}"
        for imported in _imports_of(module.name)
        for name in NOT_IN_PURE
        if f"{imported.module}.".startswith(f"{name}.") or f"{imported.module}.{imported.name}" == name
    ]
    assert not wrong, "\n".join(wrong)


@each_module
def test_libraries_stay_where_they_belong(module):
    wrong = []
    for imported in _imports_of(module.name):
        library = imported.module.partition(".")[0]
        if library in STDLIB | {"agentkit"}:
            continue
        if library not in BASE | EXTRAS.get(module.layer, set()):
            wrong.append(f"{_where(module, imported.line)}: {library} is no base dependency")
        if module.layer not in ONLY_IN.get(library, {module.layer}):
            wrong.append(f"{_where(module, imported.line)}: {library} is for {', '.join(ONLY_IN[library])} alone")
    assert not wrong, "\n".join(wrong)


@each_module
def test_every_module_postpones_annotations(module):
    future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in module.tree.body)
    annotates = any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign) for node in ast.walk(module.tree))
    assert future or not annotates, f"{module.name} lacks `from __future__ import annotations`"


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring


def _long_functions(tree: ast.AST, most: int) -> list[str]:
    return [
        f"{node.name}: {_length(node)} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _length(node) > most
    ]


@each_module
def test_functions_are_short(module):
    assert not _long_functions(module.tree, 80)


def test_decide_fits_on_one_screen():
    if loop := MODULES.get("agentkit.loop"):
        assert not [line for line in _long_functions(loop.tree, 60) if line.startswith("decide:")]


def _texts() -> Iterator[tuple[str, list[str]]]:
    """The lines of every text file of the repository, by its path."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith(("_cache", ".egg-info"))]
        for path in (Path(folder, name) for name in sorted(files)):
            with contextlib.suppress(UnicodeDecodeError):
                yield str(path.relative_to(ROOT)), path.read_text("utf-8").splitlines()


def test_files_are_short():
    lengths = {name: len(lines) for name, lines in _texts() if name.endswith(".py")}
    assert "tests/test_architecture.py" in lengths
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_no_file_points_outside():
    wrong = [
        f"{name}:{number}: {line[:120]}"
        for name, lines in _texts()
        for number, line in enumerate(lines, 1)
        if FORBIDDEN_WORDS.search(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("text", ["see issue \x31", "Issues #\x32", "/wor\x6b/main", "https://pypi\x2eorg/"])
def test_words_that_point_outside(text):
    assert FORBIDDEN_WORDS.search(text)


LIGHT = BASE | {"agentkit", "annotated_types", "certifi", "h11", "idna", "typing_inspection"}
PROBE = "import sys; old = set(sys.modules); import agentkit, json; print(json.dumps(sorted(set(sys.modules) - old)))"


def test_import_is_light():
    """No server, no command line, no model, and no library outside the base."""
    probe = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert probe.returncode == 0, probe.stderr
    loaded: list[str] = json.loads(probe.stdout)
    libraries = {name.partition(".")[0] for name in loaded} - STDLIB
    assert libraries <= LIGHT
    heavy = (
        "argparse http.server socketserver agentkit.local agentkit.testing agentkit.evals agentkit.cli agentkit.serve"
    ).split()
    assert not set(heavy) & set(loaded)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os", [("os", None, None)]),
        ("from agentkit.x import y, _z", [("agentkit.x", "y", None), ("agentkit.x", "_z", None)]),
        ("if TYPE_CHECKING:\n import os\nelse:\n import re", [("re", None, None)]),
        ("def f():\n class A:\n  import os", [("os", None, "f")]),
        ("def f():\n importlib.import_module('agentkit.x')", [("agentkit.x", None, "f")]),
        ("def f(n):\n import_module(f'agentkit.{n}')", [("agentkit.<computed>", None, "f")]),
        ("from . import x", [(".", "x", None)]),
    ],
)
def test_the_reader_of_imports(source, expected):
    assert [tuple(found)[1:] for found in _imports(ast.parse(source))] == expected


@pytest.mark.parametrize(
    ("importer", "target", "allowed"),
    [
        ("agentkit.messages", "agentkit.errors", True),
        ("agentkit.errors", "agentkit.messages", False),
        ("agentkit.loop", "agentkit.chat", True),
        ("agentkit.loop", "agentkit.chat.reply", True),
        ("agentkit.chat.reply", "agentkit.loop", False),
        ("agentkit.chat.reply", "agentkit.chat.settings", True),
        ("agentkit.chat.settings", "agentkit.chat.reply", False),
        ("agentkit.chat.settings", "agentkit.chat", False),
        ("agentkit.chat", "agentkit.chat.request", True),
        ("agentkit.testing.one", "agentkit.testing.two", True),
        ("agentkit", "agentkit.agent", True),
        ("agentkit.errors", "agentkit", False),
    ],
)
def test_the_order(importer, target, allowed):
    assert _may_import(importer, target) is allowed


def test_the_measure_of_functions():
    tree = ast.parse('def f():\n    """One\n    two."""\n    a = 1\n    return a\n')
    assert _long_functions(tree, 2) == ["f: 3 lines"]
    assert _long_functions(tree, 3) == []
