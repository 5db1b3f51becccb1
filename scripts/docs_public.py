"""What the reference shows: of a class its part of tests/public_api.txt, for the rest is the package's own business; of
a module no docstring, for its page begins with words of its own.

mkdocs.yml names this file as an extension of griffe, which reads the package for the reference.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from griffe import Extension

if TYPE_CHECKING:
    from griffe import Class, Module

LIST = Path(__file__).parent.parent / "tests/public_api.txt"


def listed() -> dict[str, set[str]]:
    """What each public class has."""
    members: dict[str, set[str]] = {}
    own: set[str] = set()
    for line in LIST.read_text("utf-8").splitlines():
        if found := re.match(r"class (\w+)", line):
            own = members.setdefault(found[1], set())
        elif found := re.match(r"    \.?(\w+)", line):
            own.add(found[1])
    return members


class Shown(Extension):
    """Leaves the rest out."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = listed()

    def on_module_members(self, *, mod: Module, **_: Any) -> None:
        """Griffe has read a module."""
        mod.docstring = None

    def on_class_members(self, *, cls: Class, **_: Any) -> None:
        """Griffe has read a class."""
        shown = self.listed.get(cls.name)
        if shown is None:
            return
        for name, member in list(cls.members.items()):
            # An attribute without a docstring is not shown anyway.
            told = not member.is_alias and (member.is_function or member.docstring is not None)
            if told and not name.startswith("_") and name not in shown:
                del cls.members[name]
