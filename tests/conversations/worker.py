"""What a process of its own does with a store; it tells of it line by line."""

from __future__ import annotations

import os
import sys
from itertools import count

from agentkit.conversations import Conversations
from agentkit.errors import AgentKitError
from tests.conversations.entries import asked, said


def tell(text: object) -> None:
    print(text, flush=True)  # noqa: T201  # it is what the test reads


def hold(store: Conversations, name: str) -> None:
    """Hold the conversation; each line of input is an entry to record."""
    with store.open(name) as kept:
        tell("open")
        for index, line in enumerate(sys.stdin, len(kept.transcript)):
            try:
                kept.record(index, said(line.strip()))
            except AgentKitError as error:
                tell(type(error).__name__)
            else:
                tell("recorded")


def take_turns(store: Conversations, name: str) -> None:
    """Open the conversation again and again, and say each time how long it is."""
    for _ in range(10):
        with store.open(name) as kept:
            found = len(kept.transcript)
            kept.record(found, said(str(found)))
            kept.record(found + 1, said(str(found)))
    tell("done")


def write(store: Conversations, name: str) -> None:
    """Record calls and their results for ever, telling each when it has been recorded."""
    with store.open(name) as kept:
        for index in count(len(kept.transcript)):
            kept.record(index, asked(None))
            tell(f"{index} asked")
            kept.record(index, asked(f"result {index}"))
            tell(f"{index} answered")


def make(store: Conversations, name: str) -> None:
    """Open the database when told to, together with others."""
    tell("ready")
    sys.stdin.readline()
    with store, store.open(f"{name} {os.getpid()}") as kept:
        kept.record(0, said("here"))
    tell("made")


def fork(store: Conversations, name: str) -> None:
    """Go on in a child: what the parent has open is not the child's, the store is."""
    with store.open(name) as kept:
        kept.record(0, said("parent"))
        child = os.fork()
        if not child:
            try:
                kept.record(1, said("child"))
            except AgentKitError as error:
                tell(type(error).__name__)
            with store.open("of the child") as own:
                own.record(0, said("child"))
            tell(len(store.load_sync(name)))
            os._exit(0)
        os.waitpid(child, 0)
        kept.record(1, said("parent"))
    tell(len(store.load_sync(name)))


def work(what: str, url: str, name: str, lease_s: float) -> None:
    """Do one of the above."""
    globals()[what](Conversations(url, lease_s=lease_s), name)
