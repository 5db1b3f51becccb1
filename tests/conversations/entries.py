"""Entries as a transcript dumps them, for tests of the store."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import create_engine, text


def said(text: str, role: str = "user", **fields: Any) -> str:
    """A message's entry."""
    return json.dumps({"message": {"role": role, "content": text}, "author": "caller", **fields})


def asked(*results: str | None, ids: str = "call") -> str:
    """A reply with a call for each result; None is a call without one."""
    listed, calls = [], []
    for number, result in enumerate(results):
        name = f"{ids}_{number}"
        listed.append({"id": name, "type": "function", "function": {"name": "look", "arguments": "{}"}})
        call: dict[str, Any] = {"id": name, "name": "look", "arguments": "{}"}
        if result is not None:
            call |= {"started_at": 1.0, "result": {"content": result, "status": "ok"}}
        calls.append(call)
    message = {"role": "assistant", "content": None, "tool_calls": listed}
    return json.dumps({"message": message, "author": "model", "run": "r", "calls": calls})


def fill(store: Any, name: str, entries: list[str], **options: Any) -> None:
    """Have a conversation with these entries, each recorded by itself."""
    with store.open(name, **options) as kept:
        for index, entry in enumerate(entries, len(kept.transcript)):
            kept.record(index, entry)


def run_sql(url: str, *statements: str) -> None:
    """Change a database behind the store's back."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    finally:
        engine.dispose()
