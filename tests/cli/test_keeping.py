"""Conversations in a store: `agentkit chat --conversation`, and the list of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentkit.conversations import Conversations
from tests.conversations.entries import fill, run_sql, said

if sys.platform != "win32":
    from tests.cli.terminal import Terminal

needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals there")


def ask(terminal, text):
    terminal.enter(text)
    return terminal.ready()


@needs_terminal
def test_a_conversation_goes_on_in_another_chat(tmp_path, command):
    def chat():
        return Terminal("chat", "bots:agent", "-c", "ann/library", folder=tmp_path, XDG_DATA_HOME=str(tmp_path))

    with chat() as terminal:
        terminal.ready()
        ask(terminal, "hello")
        shown = ask(terminal, "/undo")
        assert "conversation 'ann/library' is kept as it was, and only goes on" in " ".join(shown.split())
        terminal.enter("wait")
        terminal.expect("→ wait_for(minutes=10)")
        terminal.process.kill()
    database = tmp_path / "agentkit" / "conversations.db"
    assert oct(database.parent.stat().st_mode & 0o777) == "0o700"
    refused = command("chat", "bots:agent", "-c", "ann/library", "--store", f"sqlite:///{database}", stdin="hello\n")
    assert refused.exit_code == 2
    assert "conversation 'ann/library' is open in process" in refused.stderr
    run_sql(f"sqlite:///{database}", "UPDATE agentkit_conversations SET expires_at = 0")
    with chat() as terminal:
        shown = terminal.ready()
        assert "going on after 4 messages" in shown
        assert "it was started before, and what came of it is not known" in " ".join(shown.split())
        assert "It says: This call was denied: enough." in ask(terminal, "n enough")
        assert "You said 3 things." in ask(terminal, "how many")
        terminal.enter("/quit")
        assert terminal.end() == 0
    with Conversations(f"sqlite:///{database}") as store:
        assert len(store.load_sync("ann/library")) == 7


@needs_terminal
@pytest.mark.slow
def test_a_conversation_that_is_open_elsewhere(tmp_path):
    url = f"sqlite:///{tmp_path}/bot.db"
    with Terminal("chat", "bots:agent", "-c", "a", "--store", url, folder=tmp_path) as terminal:
        terminal.ready()
        with Conversations(url) as store, store.open("a"):
            shown = " ".join(ask(terminal, "hello").split())
            assert "conversation 'a' is open in process" in shown
        assert "You said 'hello'." in ask(terminal, "hello")


def test_the_list(command, folder, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert command("conversations").stderr == "there are none\n"
    url = f"sqlite:///{folder}/bot.db"
    with Conversations(url) as store:
        for name in ("ann/1", "bob/[bold]1", "ann/2"):
            fill(store, name, [said("hello"), said("hi", "assistant")])
        with store.open("ann/1"):
            lines = command("conversations", "--store", url).stdout.splitlines()
        assert [line.split("  ", 1)[1].strip() for line in lines] == [
            "2  ann/2",
            "2  bob/[bold]1",
            f"2  ann/1  open in {lines[-1].partition('open in ')[2]}",
        ]
        assert "process " in lines[-1]
        assert [line[-5:] for line in command("conversations", "ann/", "--store", url).stdout.splitlines()] == [
            "ann/2",
            "ann/1",
        ]
        assert "whose names begin with 'eve'" in command("conversations", "eve", "--store", url).stderr
        for number in range(55):
            fill(store, f"many/{number}", [said("hello")])
    shown = command("conversations", "many", "--store", url)
    assert len(shown.stdout.splitlines()) == 50
    assert "and more" in shown.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--conversation", "a", "--transcript", "talk.json"], "exclude each other"),
        (["--conversation", "a", "--store", "mysql://x/y"], "agentkit: "),
        (["--conversation", "a\x00", "--store", "sqlite:///bot.db"], "no control characters"),
    ],
)
def test_what_cannot_work(command, args, words):
    ran = command("chat", "bots:agent", *args, stdin="hello\n")
    assert ran.exit_code == 2
    assert words in ran.stderr


def test_where_nothing_can_be_kept(command, folder, monkeypatch):
    Path(folder, "data").write_text("a file")
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "data"))
    monkeypatch.setenv("HOME", str(folder / "data"))
    ran = command("conversations")
    assert ran.exit_code == 2
    assert "name another place with --store" in ran.stderr
