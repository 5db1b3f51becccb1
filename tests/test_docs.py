"""What the documentation shows, runs: code blocks, docstrings' examples, the scripts in examples/.

In Markdown each ```python block is executed, all blocks of one file in one namespace. An HTML comment before a block
steers it: `<!-- skip: why -->` has it compiled alone; `<!-- output -->` before a ```text block compares that with what
the last python block printed. A ```py block is compiled alone: it is for another library. Models are answered by an
endpoint on this machine.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import functools
import importlib.util
import inspect
import io
import os
import re
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.tiers import WHOLE

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
TUTORIAL = ROOT / "docs/tutorial"  # whose files and commands tests/test_tutorial.py follows
WITH_CODE = [path for path in PAGES if path.parent != TUTORIAL and "```python" in path.read_text("utf-8")]
EXAMPLES = sorted(ROOT.glob("examples/*.py"))
DOCTESTED = [path for path in sorted(ROOT.glob("agentkit/**/*.py")) if ">>> " in path.read_text("utf-8")]
FRAGMENTS = sorted(path for path in ROOT.glob("changelog.d/*.md") if path.name != "README.md")

# A real model's score hangs on the processor's arithmetic and on the hour that its tools tell: its exit code is for the
# one who runs it; here so many calls have to be right.
SCORES = {"ten_questions.py": 8}

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*) *$")
COMMENT = re.compile(r"^ *<!-- (?P<text>.+?) -->$")
USES_LOCAL_MODEL = re.compile(r"""["']local[:"']""")


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of its first line, from 1
    comment: str  # the HTML comment before it
    above: str  # the line before it


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text."""
    found: list[Block] = []
    opened: Block | None = None
    indent = comment = above = ""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is not None and fence and not fence["language"] and fence["indent"] == indent:
            found.append(opened._replace(code=textwrap.dedent("\n".join([*lines, ""]))))
            opened, comment, above = None, "", ""
        elif opened is not None:
            lines.append(line)
        elif fence:
            opened, indent, lines = Block(fence["language"], "", number + 1, comment, above), fence["indent"], []
        elif line.strip():
            commented = COMMENT.match(line)
            comment, above = commented["text"] if commented else "", line
    if opened is not None:
        raise ValueError(f"the block at line {opened.line} has no end")
    return found


def run_blocks(page: str, text: str, namespace: dict[str, Any]) -> None:
    """Execute a page's blocks in order."""
    printed = ""
    for block in blocks(text):
        if block.language == "python":
            printed = _run(page, block, namespace)
        elif block.language == "py":
            _compiled(page, block)
        elif block.comment == "output":
            assert printed == block.code, f"{page}:{block.line}"


def _compiled(page: str, block: Block) -> types.CodeType:
    # Empty lines in front let a traceback name the page's own line.
    source = "\n" * (block.line - 1) + block.code
    return compile(source, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _run(page: str, block: Block, namespace: dict[str, Any]) -> str:
    """What the block prints."""
    code = _compiled(page, block)
    out = io.StringIO()
    if block.comment.startswith("skip: "):
        return ""
    with contextlib.redirect_stdout(out):
        pending = eval(code, namespace)
        if inspect.iscoroutine(pending):
            asyncio.run(pending)
    return out.getvalue()


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in WITH_CODE])
def test_code_in_pages_runs(page, scripted_endpoint, monkeypatch, tmp_path):
    # Dataclasses and models look up their module by name.
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    monkeypatch.chdir(tmp_path)
    run_blocks(str(page.relative_to(ROOT)), page.read_text("utf-8"), vars(module))


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCTESTED])
def test_code_in_docstrings_runs(path, scripted_endpoint):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert tried
    assert not failed


def _is_local(path: Path) -> bool:
    return USES_LOCAL_MODEL.search(path.read_text("utf-8")) is not None


def _example(path: Path) -> Any:
    """An example with what it needs: the local model is large, and runs only where its library is."""
    if not _is_local(path):
        return pytest.param(path, id=path.name, marks=pytest.mark.slow)
    missing = importlib.util.find_spec("xllamacpp") is None
    marks = [
        pytest.mark.slow,
        pytest.mark.timeout(1800),
        pytest.mark.skipif(missing, reason="needs the extra `local` (xllamacpp), which is not installed"),
        pytest.mark.skipif(path.name in SCORES and not WHOLE, reason="a model's score is scripts/deep's"),
    ]
    return pytest.param(path, id=path.name, marks=marks)


@pytest.mark.parametrize("path", [_example(path) for path in EXAMPLES])
def test_examples_run(path, scripted_endpoint, tmp_path, request):
    if _is_local(path):
        request.getfixturevalue("one_at_a_time")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    ran = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,  # one of them asks whoever is there
        capture_output=True,
        text=True,
        check=False,
    )
    if path.name in SCORES:
        score = re.search(r"(\d+) of 10 calls were right", ran.stdout)
        assert score is not None, ran.stderr
        assert int(score[1]) >= SCORES[path.name], ran.stdout
        return
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in FRAGMENTS])
def test_changelog_fragments_are_one_sentence(path):
    name = re.fullmatch(r"[a-z0-9-]+\.(added|changed|fixed|removed|breaking)\.md", path.name)
    assert name, "a fragment is named <a-few-words>.<kind>.md"
    sentence, *rest = path.read_text("utf-8").strip().split("\n\n", 1)
    assert re.fullmatch(r"[^\n]+\.", sentence), "a fragment is one line that ends with a full stop"
    shown = [block.code for block in blocks("".join(rest))]
    assert len(shown) == (2 if name[1] == "breaking" else 0), "a breaking change shows before and after, no other does"


def test_the_readme_starts_with_its_two_commands():
    shell = [block.code for block in blocks((ROOT / "README.md").read_text("utf-8")) if block.language == "sh"]
    assert shell[0].rstrip().endswith("python examples/quickstart.py")
    assert shell[1].rstrip().endswith("scripts/test")


def test_the_picture_of_the_loop_is_the_code_s():
    drawn = blocks(ast.get_docstring(ast.parse((ROOT / "agentkit/loop.py").read_text("utf-8"))) or "")[0].code
    assert drawn in [block.code for block in blocks((ROOT / "README.md").read_text("utf-8"))]


LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)")


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)


def referenced(text: str) -> list[tuple[str, list[str]]]:
    """The modules that a page of the reference describes, each with the names that it shows."""
    directives = re.findall(r"^::: ([\w.]+)\n((?:    .*\n)*)", text, re.MULTILINE)
    return [(module, re.findall(r"^        - (\w+)$", options, re.MULTILINE)) for module, options in directives]


@functools.cache
def anchors(page: Path) -> set[str]:
    """Where links into a page may lead: its headings, and the names that it has from docstrings."""
    text = page.read_text("utf-8")
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", re.sub(r"\]\(.*?\)", "", each).lower()).replace(" ", "-") for each in headings]
    return {*slugs, *(f"{module}.{name}" for module, names in referenced(text) for name in names)}


def broken_links(page: Path) -> list[str]:
    """The links of a page, to files of the repository and headings in them, that lead nowhere."""
    broken = []
    for link, anchor in LINK.findall(prose(page.read_text("utf-8"))):
        target = page.parent / link if link else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(f"{link}#{anchor}" if anchor else link)
    return broken


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_inside_the_repository_lead_somewhere(page):
    assert broken_links(page) == []


LINKS = """
# What `tool` adds, and [more](other.md)

[good](#what-tool-adds-and-more) [bad](#what-tool-adds) [other](other.md#run) [gone](gone.md)
[worse](other.md#runs) [far](https://example.com/#x) [shown](other.md#agentkit.testing.say)
[not](other.md#agentkit.testing.says)

```python
f["a"](nowhere)
```
"""


def test_broken_links_are_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(LINKS, "utf-8")
    shown = "::: agentkit.testing\n    options:\n      members:\n        - say\n"
    (tmp_path / "other.md").write_text(f"## Run\n\n{shown}", "utf-8")
    assert broken_links(page) == ["#what-tool-adds", "gone.md", "other.md#runs", "other.md#agentkit.testing.says"]


PAGE = """
Text.

```python
x = 1
print(x)
```

<!-- output -->

```text
1
```

<!-- skip: only shown -->
```python
import nothing_like_it
```

1. In a list:

   ```python
   x += await __import__("asyncio").sleep(0, 1)
   ```

```sh
exit 1
```
"""


def test_the_runner_of_pages():
    namespace: dict[str, Any] = {}
    run_blocks("page.md", PAGE, namespace)
    assert namespace["x"] == 2


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\n1/0\n```", ZeroDivisionError),
        ("```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```", AssertionError),
        ("<!-- skip: no -->\n```python\nx =\n```", SyntaxError),
        ("<!-- skip: no -->\ntext\n```python\n1/0\n```", ZeroDivisionError),
        ("```python\nx = 1\n", ValueError),
        ("```py\nx =\n```", SyntaxError),
    ],
)
def test_the_runner_of_pages_notices(text, error):
    with pytest.raises(error):
        run_blocks("page.md", text, {})
