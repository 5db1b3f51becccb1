"""What the documentation site shows from outside of docs/: files of the repository that its pages link to.

mkdocs calls the two functions (`hooks` in mkdocs.yml). A Markdown file becomes a page, any other a page with its text,
a folder one with the text of all that is in it, each under `repository/`; links in the pages are turned to them. So the
same links work in the repository and here.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[#)])")
LANGUAGES = {".py": "python", ".sh": "sh", ".sql": "sql"}
UNDER = "repository/"


def _target(path: str, link: str) -> str:
    """The path, from the repository's root, that a link in the file at `path` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _uri(path: str) -> str:
    """The name that the site has for a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return UNDER + (path if path.endswith(".md") else f"{path}.md")


def _path(uri: str) -> str:
    """The other way round."""
    if not uri.startswith(UNDER):
        return f"docs/{uri}"
    path = uri.removeprefix(UNDER)
    return path if (ROOT / path).exists() else path.removesuffix(".md")


def _content(path: str) -> str:
    file = ROOT / path
    if file.is_dir():
        files = [each for each in sorted(file.rglob("*")) if each.is_file()]
        return "\n".join([f"# {file.name}\n", *(f"## {each.relative_to(file)}\n\n{_shown(each)}" for each in files)])
    if path.endswith(".md"):
        return file.read_text("utf-8")
    if path.endswith(".ipynb"):
        return "\n\n".join(_cells(json.loads(file.read_text("utf-8"))))
    return f"# {file.name}\n\n{_shown(file)}"


def _shown(file: Path) -> str:
    return f"````{LANGUAGES.get(file.suffix, '')}\n{file.read_text('utf-8')}\n````\n"


def _cells(notebook: dict[str, Any]) -> Iterator[str]:
    """A notebook's cells as Markdown, with what they have shown."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        yield source if cell["cell_type"] == "markdown" else f"````python\n{source}\n````"
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", "")})
            shown = "".join(data.get("text/html") or data["text/plain"])
            yield shown if "text/html" in data else f"````text\n{shown}\n````"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages link to, and those that these link to."""
    waiting = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.endswith(".md"):
            continue
        for link in LINK.findall((ROOT / path).read_text("utf-8")):
            target = _target(path, link)
            if target in seen or target.startswith("docs/") or not (ROOT / target).exists():
                continue
            seen.add(target)
            waiting.append(target)
            files.append(File.generated(config, _uri(target), content=_content(target)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn a page's links to what the site has."""
    uri = page.file.src_uri
    path = _path(uri)

    def turned(link: re.Match[str]) -> str:
        target = _target(path, link[0])
        # What is not there stays as it is, for mkdocs to complain of.
        if not (ROOT / target).exists():
            return link[0]
        return posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".")

    return LINK.sub(turned, markdown) if path.endswith(".md") else markdown
