"""What a docstring says of a function and of each of its parameters."""

from __future__ import annotations

import inspect
import re
from functools import cache
from textwrap import indent
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from docstring_parser import Docstring

_KEYWORD_SECTIONS: Final = ("Keyword Args", "Keyword Arguments", "Other Parameters")

# In order of preference: a section of parameters decides, and only without one any other section.
_STYLES: Final = (
    ("numpy", r"^[ \t]*(?:Other )?(?:Parameters|Params|Arguments|Args)[ \t]*\n[ \t]*-{3,}[ \t]*$"),
    ("google", r"^[ \t]*(?:Args|Arguments|Parameters|Params|Keyword Arg(?:uments|s)|Other Parameters):[ \t]*$"),
    ("rest", r"^[ \t]*:(?:param|parameter|arg|argument|key|keyword)\b[^:\n]*:"),
    ("epydoc", r"^[ \t]*@param\b[^:\n]*:"),
    ("numpy", r"^[ \t]*(?:Returns|Yields|Raises|Warns|Examples?|Notes?|See Also|References)[ \t]*\n[ \t]*-{3,}[ \t]*$"),
    ("google", r"^[ \t]*(?:Returns|Yields|Raises|Exceptions|Except|Examples?|Attributes):[ \t]*$"),
    ("rest", r"^[ \t]*:(?:returns?|rtype|raises?|type|yields?)\b[^:\n]*:"),
    ("epydoc", r"^[ \t]*@(?:type|return|rtype|raise)\b[^:\n]*:"),
)


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """The description in a docstring of any usual style, and the text of each parameter by its name."""
    if not text or not text.strip():
        return "", {}
    for style, marker in _STYLES:
        if found := re.search(marker, text, re.MULTILINE):
            return _parsed(style, text, found.start())
    return inspect.cleandoc(text).strip(), {}


def _parsed(style: str, text: str, start: int) -> tuple[str, dict[str, str]]:
    has_description = bool(text[:start].strip())
    if not has_description:
        text = _below_a_line(text)
    # The parser raises more than its own ParseError on odd texts; a docstring never forbids a tool.
    try:
        parsed = _parser(style)(text)
    except Exception:
        return inspect.cleandoc(text[:start]).strip() if has_description else "", {}
    between = "\n\n" if parsed.blank_after_short_description else "\n"
    description = between.join(part for part in (parsed.short_description, parsed.long_description) if part)
    texts: dict[str, str] = {}
    for parameter in parsed.params:
        if parameter.description:
            for name in parameter.arg_name.split(","):
                texts[name.replace("\\", "").strip().lstrip("*")] = parameter.description.strip()
    return description.strip() if has_description else "", texts


def _below_a_line(text: str) -> str:
    """A docstring that begins with its section, as the parsers find one: below other text, its entries indented."""
    title, _, entries = inspect.cleandoc(text).partition("\n")
    if not entries[:1].isspace():
        entries = indent(entries, "    ")
    return f"_\n\n{title}\n{entries}"


@cache
def _parser(style: str) -> Callable[[str], Docstring]:
    # Each of the library's four parsers takes some 60 us a docstring, and parse() tries all of them.
    from docstring_parser import epydoc, google, numpydoc, rest

    match style:
        case "google":
            extra = [google.Section(title, "param", google.SectionType.MULTIPLE) for title in _KEYWORD_SECTIONS]
            return google.GoogleParser([*google.DEFAULT_SECTIONS, *extra]).parse
        case "numpy":
            return numpydoc.parse
        case "rest":
            return rest.parse
        case _:
            return epydoc.parse
