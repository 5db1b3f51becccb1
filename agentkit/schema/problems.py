"""What is wrong with arguments, told to a model: one line an argument, which, what, and what is expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any, Final

from agentkit.schema.places import Path, Schema, listed, names_at, schemas_at, short, wanted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MISSING: Final = frozenset({
    "missing", "missing_argument", "missing_keyword_only_argument", "missing_positional_only_argument",
    "union_tag_not_found",
})  # fmt: skip
_TAG: Final = frozenset({"union_tag_not_found", "union_tag_invalid"})
_UNKNOWN: Final = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_WRONG_KIND: Final = (
    r".*_(type|parsing|from_float|from_datetime_inexact|from_datetime_parsing|unicode|attributes_type)|"
    r"finite_number|literal_error|enum|none_required|date_from_.*|is_(instance|subclass)_of"
)
_OTHER_WORDS: Final = {"decimal_parsing": "a decimal number", "decimal_type": "a decimal number"}
_SUBJECT: Final = r"^[A-Z][\w /]*? (?=should )"
_MOST_PROBLEMS: Final = 20
_MOST_PLACES: Final = 5


class Findings:
    """The errors of one check, by the place in the arguments that each is about."""

    def __init__(self, errors: Iterable[ErrorDetails], data: Any) -> None:
        self.data = data
        self.places: dict[Path, list[ErrorDetails]] = {}
        for error in errors:
            self.places.setdefault(_place(data, error), []).append(error)

    def lines(self, schema: Schema) -> tuple[str, ...]:
        """The problems, one line for each argument."""
        arguments: dict[str | int | None, list[str]] = {}
        for path, errors in self.places.items():
            told = arguments.setdefault(path[0] if path else None, [])
            if len(told) <= _MOST_PLACES:
                told.append(_told(path, errors, self.data, schema) if len(told) < _MOST_PLACES else "and more")
        lines = tuple("; ".join(told) for told in arguments.values())
        if len(lines) > _MOST_PROBLEMS:
            return (*lines[:_MOST_PROBLEMS], f"{len(lines) - _MOST_PROBLEMS} more arguments are wrong")
        return lines


def value_at(data: Any, path: Path) -> Any:
    """The value at a path, or None."""
    for key in path:
        if not _has(data, key):
            return None
        data = data[key]
    return data


def _has(data: Any, key: str | int) -> bool:
    length = len(data) if isinstance(data, Sized) else 0
    if isinstance(data, list):
        return isinstance(key, int) and key < length
    return isinstance(data, Mapping) and key in data


def _place(data: Any, error: ErrorDetails) -> Path:
    """The path in the data that an error is about. Its own also has the names of a union's members."""
    path: list[str | int] = []
    location = error["loc"]
    for index, key in enumerate(location):
        if _has(data, key):
            data = data[key]
            path.append(key)
        elif index == len(location) - 1 and error["type"] in _MISSING:
            path.append(key)
    if error["type"] in _TAG:
        name = error.get("ctx", {}).get("discriminator", "").strip("'")
        if name.isidentifier():  # else it is a function
            path.append(name)
    return tuple(path)


def _told(path: Path, errors: list[ErrorDetails], data: Any, schema: Schema) -> str:
    name = _spelled(path)
    kinds = {error["type"] for error in errors}
    expected = wanted(schemas_at(schema, path))
    value = value_at(data, path)
    if kinds <= _MISSING and (value is None or not path):
        return f"{name} is missing" + (f": it should be {expected}" if expected else "")
    if kinds & _UNKNOWN:
        return _unknown(path, schema)
    phrases: list[str] = []
    for error in errors:
        phrase = _phrase(error, expected)
        if phrase not in phrases:
            phrases.append(phrase)
    should, other = _split(phrases, lambda phrase: phrase.startswith("should "))
    told = [f"{name} {' or '.join(should)}, not {short(value)}"] if should else []
    told += [f"{name} is {short(value)}: {phrase}" for phrase in other]
    return "; ".join(told)


def _split(phrases: list[str], rule: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    return [p for p in phrases if rule(p)], [p for p in phrases if not rule(p)]


def _phrase(error: ErrorDetails, expected: str) -> str:
    kind, message = error["type"], error["msg"]
    if error["loc"] and error["loc"][-1] == "[key]":
        return f"its key does not fit: {_subjectless(message)}"
    if kind in _OTHER_WORDS:
        return f"should be {_OTHER_WORDS[kind]}"
    if expected and (kind in _TAG or re.fullmatch(_WRONG_KIND, kind)):
        return f"should be {expected}"
    return _subjectless(message)


def _subjectless(message: str) -> str:
    """Pydantic's own sentence, without its subject ("Input should be …") and its terms."""
    for term, word in (("Value error, ", ""), ("Assertion failed, ", ""), (" after validation", "")):
        message = message.replace(term, word)
    shorter = re.sub(_SUBJECT, "", message)
    # "…, not 4" tells a length, which our own ", not [...]" would contradict.
    return re.sub(r", not \d+$", "", shorter)


def _unknown(path: Path, schema: Schema) -> str:
    from difflib import get_close_matches

    known, name = names_at(schema, path[:-1]), str(path[-1])
    told = f"{_spelled(path)} is unknown"
    if near := get_close_matches(name[:100], known, 1):
        return f"{told}: did you mean `{near[0]}`?"
    if known:
        return f"{told}: known {'is' if len(known) == 1 else 'are'} {listed(known)}"
    return f"{told}: there are no {'arguments' if len(path) == 1 else 'fields'} here"


def _spelled(path: Path) -> str:
    if not path:
        return "the arguments"
    spelled = ""
    for key in path:
        spelled += f"[{key}]" if isinstance(key, int) else f".{short(key, quoted=False)}"
    return f"`{spelled.removeprefix('.')}`"
