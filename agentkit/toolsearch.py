"""Which tools fit a description: scored by words, without an index and without a model.

The measure is BM25 over a tool's name, description and arguments, with what stands in the name counted threefold.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from math import log
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agentkit.tools import Tool

_TOO_COMMON: Final = frozenset(
    "a an and are as at be by can do for from how i in is it me my of on or that the this to tool tools use what which "
    "with you".split()
)
_NAME_WEIGHT: Final = 3
# BM25's usual constants: how soon more of the same word stops counting, and how much a long text is held against it.
_SATURATION: Final = 1.2
_LENGTH: Final = 0.75


def words(text: str) -> list[str]:
    """The words of a text or a name, in small letters and in the singular."""
    word, unspaced = _patterns()
    found = word.findall(text)
    if not text.isascii() and unspaced.search(text):
        found = [part for each in found for part in _parts(each, unspaced)]
    return [_singular(each.lower()) for each in found]


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A word, names in camelCase parted; and a sign of a script that puts no spaces between words."""
    return (
        re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]|\d+"),
        re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"),
    )


def _parts(word: str, unspaced: re.Pattern[str]) -> list[str]:
    """A run of such signs as each one and each two neighbours."""
    if unspaced.search(word) is None:
        return [word]
    return [*word, *[first + second for first, second in pairwise(word)]]


def _singular(word: str) -> str:
    if word[-1:] != "s" or len(word) <= 3:  # "gas"
        return word
    if word.endswith("ies") and len(word) > 4:  # "ties"
        return f"{word[:-3]}y"
    return word if word.endswith(("ss", "us", "is")) else word[:-1]


def ranked(query: str, tools: Sequence[Tool]) -> list[Tool]:
    """The tools that have a word of the query, the best first; among equals, in the order of the tools."""
    wanted = dict.fromkeys(word for word in words(query) if word not in _TOO_COMMON)
    texts = [_words_of(tool) for tool in tools] if wanted else []
    average = sum(map(len, texts)) / max(1, len(texts))
    scores = [0.0] * len(texts)
    for word in wanted:
        counts = [text.count(word) for text in texts]
        having = len(counts) - counts.count(0)
        rarity = log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for index, count in enumerate(counts):
            if count:
                long = 1 - _LENGTH + _LENGTH * len(texts[index]) / average
                scores[index] += rarity * count * (_SATURATION + 1) / (count + _SATURATION * long)
    found = [index for index, score in enumerate(scores) if score > 0]
    return [tools[index] for index in sorted(found, key=lambda index: -scores[index])]


def _words_of(tool: Tool) -> list[str]:
    texts = " ".join([tool.description, *_argument_texts(tool.parameters)])
    return words(tool.name) * _NAME_WEIGHT + words(texts)


def _argument_texts(parameters: Mapping[str, Any]) -> Iterator[str]:
    properties = parameters.get("properties")
    for name, schema in properties.items() if is_object(properties) else ():
        yield name
        if is_object(schema) and isinstance(described := schema.get("description"), str):
            yield described
