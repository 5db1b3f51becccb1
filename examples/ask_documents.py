"""Questions about a folder of Markdown files, answered with quotes that are checked.

`python examples/ask_documents.py FOLDER QUESTION`; without arguments a sample is asked. The sections are found by
SQLite's full-text search. A quote that does not stand in the section that it is said to come from goes back to the
model. Without AGENTKIT_MODEL the model is scripted, and makes up a source at first.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from agentkit import Agent, Context, Retry, tool
from agentkit.testing import ScriptedModel, call

SAMPLE = Path(__file__).parent / "data" / "handbook"
MAX_SECTIONS = 5


class Quote(BaseModel):
    """Where something of the answer comes from."""

    source: str = Field(description="as `search` named it")
    words: str = Field(description="one sentence, word for word")


class Answer(BaseModel):
    """An answer, and what it rests on."""

    text: str
    quotes: list[Quote] = Field(min_length=1)


@dataclass
class Documents:
    """The sections of Markdown files by their sources, file and line, and an index of their words."""

    sections: dict[str, str]
    index: sqlite3.Connection

    def best(self, words: str, count: int) -> list[str]:
        """The sources of the sections that have some of the words, best first."""
        query = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", words))
        found = self.index.execute("SELECT source FROM sections (?) ORDER BY rank LIMIT ?", (query or '""', count))
        return [source for (source,) in found]


def sections_in(folder: Path) -> dict[str, str]:
    """The sections of a folder's Markdown files, each from one heading to the next."""
    sections: dict[str, str] = {}
    for file in sorted(folder.rglob("*.md")):
        source = ""
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if line.startswith("#") or not source:
                source = f"{file.relative_to(folder).as_posix()}:{number}"
            sections[source] = " ".join(f"{sections.get(source, '')} {line}".split())
    return sections


@contextmanager
def indexed(folder: Path) -> Generator[Documents]:
    """The documents in a folder, for as long as the block lasts."""
    # Tools may run in other threads than this one; they only read.
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as index:
        documents = Documents(sections_in(folder), index)
        index.execute("CREATE VIRTUAL TABLE sections USING fts5 (source UNINDEXED, text, tokenize = 'porter')")
        index.executemany("INSERT INTO sections VALUES (?, ?)", documents.sections.items())
        yield documents


@tool(read_only=True)
def search(context: Context[Documents], words: str) -> dict[str, str]:
    """Find the sections that have some of these words: their texts by their sources."""
    documents = context.deps
    found = {source: documents.sections[source] for source in documents.best(words, MAX_SECTIONS)}
    if not found:
        raise Retry("No section has any of these words; try others.")
    return found


def are_quotes(context: Context[Documents], answer: Answer) -> Answer:
    """Check each quote."""
    sections = context.deps.sections
    for quote in answer.quotes:
        if quote.source not in sections:
            raise Retry(f"There is no source {quote.source!r}: search, and name sources as they are named there.")
        words = " ".join(quote.words.split()).casefold()
        if not words or words not in sections[quote.source].casefold():
            raise Retry(f"{quote.words!r} does not stand in {quote.source!r}: quote word for word.")
    return answer


def answered(source: str) -> str:
    """What the scripted model answers."""
    quotes = [Quote(source=source, words="For bicycles it is 14 days.")]
    return Answer(text="You have 14 days to send a bicycle back.", quotes=quotes).model_dump_json()


SCRIPT = ScriptedModel([call("search", words="send bicycle back"), answered("terms.md:12"), answered("returns.md:3")])
librarian = Agent[Documents, Answer](
    os.environ.get("AGENTKIT_MODEL") or SCRIPT,
    output=Answer,
    tools=[search],
    validators=[are_quotes],
    instructions="Answer from the documents alone. Search first.",
)


def ask(folder: Path, question: str) -> None:
    """Answer a question, and print what the answer rests on."""
    with indexed(folder) as documents:
        result = librarian.run_sync(question, deps=documents)
    for entry in result.transcript:
        if entry.author == "loop":
            print(f"(corrected: {entry.message.text})")
    print(result.output.text)
    for quote in result.output.quotes:
        print(f'- {quote.source}: "{quote.words}"')


if __name__ == "__main__":
    if sys.argv[1:]:
        ask(Path(sys.argv[1]), " ".join(sys.argv[2:]))
    else:
        ask(SAMPLE, "Until when can I send a bicycle back?")
