"""The documentation's site: each page has its place, each public name is in the reference, no link is broken."""

from __future__ import annotations

import ast
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
CONFIG = (ROOT / "mkdocs.yml").read_text("utf-8")
DIRECTIVE = re.compile(r"^::: (?P<module>[\w.]+)\n(?P<options>(?:    .*\n)*)", re.MULTILINE)
FROM_ELSEWHERE = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["']?(?:https?:)?//""")


def reference() -> dict[str, list[str]]:
    """The names that the pages of the reference show, by module."""
    shown: dict[str, list[str]] = {}
    for page in sorted((DOCS / "reference").glob("*.md")):
        for found in DIRECTIVE.finditer(page.read_text("utf-8")):
            shown.setdefault(found["module"], []).extend(
                re.findall(r"^        - (\w+)$", found["options"], re.MULTILINE)
            )
    return shown


def public() -> dict[str, dict[str, str]]:
    """The names of the agreed API, by module; each with the module where it is described."""
    listed: dict[str, dict[str, str]] = {}
    module = ""
    for line in (ROOT / "tests/public_api.txt").read_text("utf-8").splitlines():
        if line.startswith("# "):
            module = line.removeprefix("# ")
        elif found := re.match(r"(?:class |def |async def )?(\w+)(?:: from (\S+))?", line):
            listed.setdefault(module, {})[found[1]] = found[2] or module
    return listed


@pytest.mark.parametrize("module", public())
def test_every_public_name_is_in_the_reference(module):
    shown = reference()
    missing = [
        name
        for name, home in public()[module].items()
        # A class may be shown in either of two modules that have it, as Output is.
        if name not in shown.get(home, []) and name not in shown.get(f"agentkit.{name.lower()}", [])
    ]
    assert missing == [], f"docs/reference/ has no page that shows these of {module}"


@pytest.mark.parametrize("module", ["agentkit.conversations", "agentkit.evals", "agentkit.serve"])
def test_every_name_of_the_large_parts_is_in_the_reference(module):
    tree = ast.parse((ROOT / module.replace(".", "/") / "__init__.py").read_text("utf-8"))
    listed = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and "__all__" in ast.dump(node)
    )
    assert set(listed) - set(reference()[module]) == set()


def test_every_name_in_the_reference_is_there():
    """The site's maker passes over a name that its module has no more."""
    gone = [
        f"{module}.{name}"
        for module, names in reference().items()
        for name in names
        if not hasattr(importlib.import_module(module), name)
    ]
    assert gone == []


def test_every_name_in_the_pages_is_there():
    named = {
        (page.relative_to(ROOT).as_posix(), name)
        for page in [ROOT / "README.md", *DOCS.rglob("*.md")]
        for name in re.findall(r"`(agentkit(?:\.\w+)+)`", page.read_text("utf-8"))
    }
    gone = []
    for page, name in sorted(named):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            gone.append(f"{page}: {name}")
    assert gone == []


def test_every_page_has_its_place():
    placed = re.findall(r": ([\w/.-]+\.md)$", CONFIG.partition("\nnav:\n")[2], re.MULTILINE)
    assert len(placed) == len(set(placed))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert pages == {page for page in placed if not page.startswith("repository/")}


def test_the_picture_of_the_loop_is_the_code_s():
    docstring = ast.get_docstring(ast.parse((ROOT / "agentkit/loop.py").read_text("utf-8"))) or ""
    assert docstring.split("```")[1].strip() in (DOCS / "how-it-works.md").read_text("utf-8")


def test_the_table_of_libraries_is_the_project_s():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = {"all": project["dependencies"]}
    needed |= {f"extra `{extra}`": extras[extra] for extra in extras if extra not in ("dev", "docs", "test")}
    expected = [
        (*re.fullmatch(r"([\w-]+(?:\[\w+\])?)(.*)", library).groups(), what)
        for what, libraries in needed.items()
        for library in libraries
    ]
    rows = re.findall(r"^\| `([^`]+)` \| (\S+) \| (.+) \|$", (DOCS / "stability.md").read_text("utf-8"), re.MULTILINE)
    assert rows == [(name, versions or "any", what) for name, versions, what in expected]


def build(target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts/docs", "build", "--site-dir", str(target)],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra `docs`, which is not installed")
def test_the_site_has_no_broken_link_and_asks_no_other_host(tmp_path):
    ran = build(tmp_path / "site")
    assert ran.returncode == 0, ran.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert pages
    asking = [page.name for page in pages if FROM_ELSEWHERE.search(page.read_text("utf-8"))]
    assert asking == []
    assert 'id="agentkit.Agent.run_sync"' in (tmp_path / "site/reference/agentkit.html").read_text("utf-8")
