"""`agentkit chat` at a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager

import pytest

from agentkit import Transcript

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals there")
slow = pytest.mark.slow  # each starts the command anew

if sys.platform != "win32":
    from tests.cli.terminal import Terminal


class Chats:
    """Chats with agents of bots.py, each at its prompt; one that a test has done with serves the next, for to begin one
    takes a second."""

    def __init__(self, folder):
        self.folder = folder
        self._free = None

    def begin(self, agent="bots:agent", *args, folder=None):
        terminal = Terminal("chat", agent, *args, folder=folder or self.folder)
        terminal.ready()
        return terminal

    @contextmanager
    def lent(self):
        terminal, self._free = self._free or self.begin(), None
        try:
            yield terminal
            assert "a new conversation" in ask(terminal, "/clear")
        except BaseException:
            terminal.__exit__()
            raise
        self._free = terminal

    def close(self):
        if self._free is not None:
            self._free.enter("/quit")
            assert self._free.end() == 0
            self._free.__exit__()


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    made = Chats(tmp_path_factory.mktemp("chats"))
    yield made
    made.close()


@pytest.fixture
def terminal(chats):
    """A chat with bots:agent, at its prompt."""
    with chats.lent() as terminal:
        yield terminal


def ask(terminal, text):
    """Ask, and wait for the next prompt; what was shown meanwhile."""
    terminal.enter(text)
    return terminal.ready()


def test_a_conversation(terminal):
    shown = ask(terminal, "Which shelf?")
    assert "(A book is asked for.)" in shown
    assert '→ shelf_of(title="Dune")' in shown
    assert "← shelf_of: A3 has Dune (0.0 s)" in shown
    assert "It says: A3 has Dune." in shown
    assert "2 steps" in shown
    assert "You said 2 things." in ask(terminal, "how many")


def test_ctrl_c_stops_an_answer_and_keeps_the_conversation(terminal):
    ask(terminal, "hello")
    terminal.enter("wait")
    terminal.expect("→ wait_for(minutes=10)")
    terminal.type("\x03")
    assert "stopped" in terminal.ready()
    assert "You said 3 things." in ask(terminal, "how many")


def test_ctrl_c_clears_a_line_first(terminal):
    terminal.type("half a line")
    terminal.expect("half a line")
    terminal.type("\x03")
    assert "You said 'whole'." in ask(terminal, "whole")


@pytest.mark.parametrize(
    "typed", ["one\\\rtwo", "one\x1b\rtwo", "\x1b[200~one\ntwo\x1b[201~"], ids=["\\", "alt", "paste"]
)
def test_several_lines(terminal, typed):
    assert "You said 'one\\ntwo'." in ask(terminal, typed)


def test_commands(terminal, chats):
    assert "/save FILE" in ask(terminal, "/help")
    assert "about 255 tokens of each request" in ask(terminal, "/tools")
    ask(terminal, "hello")
    assert "saved 2 messages to talk.json" in ask(terminal, "/save talk.json")
    assert "You said 'hello'." in ask(terminal, "/retry")
    assert "1 reply · 0 tool calls · 10 tokens in, 5 out" in ask(terminal, "/usage")
    assert "│ You said 'hello'." in ask(terminal, "/show")
    assert "taken back: hello" in ask(terminal, "/undo")
    assert "nothing to take back" in ask(terminal, "/undo")
    assert "loaded 2 messages from talk.json" in ask(terminal, "/load talk.json")
    assert "You said 2 things." in ask(terminal, "how many")
    assert "a new conversation" in ask(terminal, "/clear")
    assert "You said 1 things." in ask(terminal, "how many")
    assert "instructions: Be brief." in ask(terminal, "/system")
    assert "instructions: Be kind." in ask(terminal, "/system Be kind.")
    assert "model: scripted" in ask(terminal, "/model")
    assert "unknown prefix 'nowhere'" in ask(terminal, "/model nowhere:x")
    assert "there is no /nothing; the commands are /help" in ask(terminal, "/nothing")
    assert "You said '/usr/bin is a path'." in ask(terminal, "/usr/bin is a path")
    assert len(Transcript.load((chats.folder / "talk.json").read_text())) == 2


@slow
def test_an_error_ends_an_answer_and_not_the_chat(chats):
    with chats.begin("bots:broken") as terminal:
        for _ in range(2):
            shown = ask(terminal, "hello")
            assert "agentkit: HTTP 500: the disk is full" in shown
            assert "Traceback" not in shown


@slow
def test_what_is_kept_and_what_was_typed_is_there_again(chats, tmp_path):
    with chats.begin("bots:agent", "--transcript", "talk.json", folder=tmp_path) as first:
        ask(first, "remember me")
        kept = tmp_path / "talk.json"
        assert len(Transcript.load(kept.read_text())) == 2
        assert [oct(path.stat().st_mode & 0o777) for path in (kept, tmp_path / "history")] == ["0o600"] * 2
        first.type("\x04")
        assert first.end() == 0
    with chats.begin("bots:agent", "--transcript", "talk.json", folder=tmp_path) as again:
        assert "You said 2 things." in ask(again, "how many")
        again.type("\x1b[A")  # the arrow up: how many
        again.type("\x1b[A\r")
        assert "You said 'remember me'." in again.ready()
        again.type("\x03")
        assert again.end() == 0


def test_a_watched_run_streams(tmp_path):
    with Terminal("run", "Which shelf?", "--agent", "bots:agent", folder=tmp_path) as terminal:
        terminal.expect('→ shelf_of(title="Dune")')
        terminal.expect("It says: A3 has Dune.")
        assert terminal.end() == 0


@pytest.mark.parametrize(
    ("more", "shown"), [((), "→ wait_for(minutes=10)"), (("--output", "json", "--deps", "bots:announced"), "it waits")]
)
def test_ctrl_c_ends_a_run(tmp_path, more, shown):
    args = ("wait", "--agent", "bots:agent", "--transcript", "talk.json", *more)
    with Terminal("run", *args, folder=tmp_path) as terminal:
        terminal.expect(shown)
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Traceback" not in terminal.seen
    kept = Transcript.load((tmp_path / "talk.json").read_text())
    assert kept.last.calls[0].result.status == "cancelled"


def test_lines_from_a_pipe(command):
    ran = command("chat", "bots:agent", stdin="hello\none\\\ntwo\n\n/usage\nhow many")
    assert ran.exit_code == 0
    assert "You said 'hello'." in ran.stdout
    assert "You said 'one\\ntwo'." in ran.stdout
    assert "You said 3 things." in ran.stdout
    assert "2 replies" in ran.stderr


def test_calls_are_approved_in_their_place(terminal, chats):
    shown = ask(terminal, "burn them")
    assert "? burn  call_" in shown
    assert '"title": "Emma"' in shown
    assert "n WHY: don't, and tell the model why" in ask(terminal, "what?")
    assert '"title": "Dune"' in ask(terminal, "y")
    shown = ask(terminal, "n not this one")
    assert "It says: burnt 1 of Emma and This call was denied: not this one." in shown
    assert "? ask_owner" in ask(terminal, "ask the owner")
    assert "It says: Of course." in ask(terminal, "Of course")
    assert "You said 3 things." in ask(terminal, "how many")
    typed = (chats.folder / "history").read_text()
    assert "burn them" in typed
    assert "not this one" not in typed


def test_arguments_are_changed_at_the_terminal(terminal):
    ask(terminal, "burn them")
    terminal.enter("e")
    terminal.expect("arguments:")
    terminal.expect('"title": "Emma"')
    terminal.type("\x7f" * 40)  # all of them away
    ask(terminal, '{"title": "Ulysses", "copies": 3}')
    assert "burnt 3 of Ulysses and This call was denied." in ask(terminal, "n")


@slow
def test_calls_that_wait_are_asked_about_when_the_chat_goes_on(chats, tmp_path):
    with chats.begin("bots:agent", "--transcript", "talk.json", folder=tmp_path) as first:
        ask(first, "burn them")
        first.type("\x04")
        assert first.end() == 0
    with Terminal("chat", "bots:agent", "--transcript", "talk.json", folder=tmp_path) as again:
        assert "? burn  call_1" in again.ready()
        assert "burnt 1 of Emma and burnt 1 of Dune" in ask(again, "a")
