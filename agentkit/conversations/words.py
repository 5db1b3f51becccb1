"""The words of a text, as they are searched for: the same ones whatever the database, its settings and its language.

A database's own word breaking differs from the next one's, and none parts Chinese or Japanese. So the words are made
here, and a database only looks them up.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize

from agentkit._json import is_array, is_object
from agentkit.messages import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_TEXT_CHARS: Final = 200_000
"""So much of an entry can be found by its words."""
MAX_WORDS_CHARS: Final = 100_000  # Postgres keeps at most 1 MB of words to a row, a letter is up to 4 bytes
MAX_WORD_CHARS: Final = 64  # longer ones are encoded data, which nobody looks for
EXCERPT_CHARS: Final = 80

# Scripts that are written without spaces, or that glue particles to words: each pair of letters is a word.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_RUNS: Final = re.compile(f"[{_UNSPACED}]+|(?:[^\\W_{_UNSPACED}]|[\u0900-\u0963\u0966-\u0dff])+")
_IS_UNSPACED: Final = re.compile(f"[{_UNSPACED}]")
_ACCENTS: Final = re.compile("[\u0300-\u036f]")


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return normalize("NFKC", _ACCENTS.sub("", normalize("NFKD", text.casefold())))


def _words(text: str, *, singles: bool) -> Iterator[str]:
    for run in dict.fromkeys(_RUNS.findall(_folded(text))):
        if not _IS_UNSPACED.match(run):
            if len(run) <= MAX_WORD_CHARS:
                yield run
            continue
        if singles or len(run) == 1:
            yield from run
        yield from (first + second for first, second in pairwise(run))


def wanted_words(query: str) -> list[str]:
    """The words that a query asks for, each once."""
    return list(dict.fromkeys(_words(query[:MAX_TEXT_CHARS], singles=False)))


def stored_words(text: str) -> str:
    """The words that a text can be found by, each once, with a space before and after each."""
    chosen: list[str] = []
    room = MAX_WORDS_CHARS
    for word in dict.fromkeys(_words(text[:MAX_TEXT_CHARS], singles=True)):
        room -= len(word) + 1
        if room < 0:
            break
        chosen.append(word)
    return f" {' '.join(chosen)} " if chosen else ""


def entry_text(entry: Mapping[str, Any]) -> str:
    """What a dumped entry says: its message's text and its calls' results."""
    message = entry.get("message")
    texts = [text_of(message.get("content"))] if is_object(message) else []
    calls = entry.get("calls")
    for call in calls if is_array(calls) else ():
        result = call.get("result") if is_object(call) else None
        if is_object(result):
            texts.append(text_of(result.get("content")))
    return "\n".join(text for text in texts if text)


def excerpt(text: str, wanted: list[str]) -> str:
    """The text around the first of the words, on one line."""
    folded = text.casefold()
    places = [place for word in wanted if (place := folded.find(word)) >= 0]
    middle = min(places, default=0)
    start, end = max(0, middle - EXCERPT_CHARS), middle + 2 * EXCERPT_CHARS
    line = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{line}{'…' if end < len(text) else ''}"
