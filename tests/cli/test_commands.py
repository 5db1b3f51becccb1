"""The commands that show something, and the command itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit import Agent, ChatModel, tool
from agentkit.cli.app import app
from agentkit.local.fetching import DEFAULT
from agentkit.looks.parameters import parameters_of, type_of
from agentkit.testing import ScriptedModel

ROOT = Path(__file__).parent.parent.parent
COMMANDS = [
    ["chat"],
    ["run"],
    ["conversations"],
    ["serve"],
    ["tools"],
    ["models"],
    ["show"],
    ["local", "pull"],
    ["local", "path"],
    ["local", "run"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_has_an_example(command, words):
    ran = command(*words, "--help")
    assert ran.exit_code == 0
    assert "Example" in ran.stdout
    assert f"agentkit {' '.join(words)}" in ran.stdout.partition("Example")[2]


def test_every_command_is_listed_here():
    names = [[command.name or command.callback.__name__] for command in app.registered_commands]
    (group,) = app.registered_groups
    names += [["local", command.name] for command in group.typer_instance.registered_commands]
    assert sorted(names) == sorted(COMMANDS)


def test_the_version(command):
    assert command("--version").stdout.startswith("agentkit ")


def test_no_command_is_help(command):
    assert "Commands" in command().output


def test_tools(command):
    ran = command("tools", "bots:agent")
    assert ran.exit_code == 0
    assert "title: string" in ran.stdout
    assert "[exact: boolean]" in ran.stdout
    assert "Tell on which shelf a book stands." in ran.stdout
    assert "about 255 tokens of each request" in ran.stderr
    assert "wait_for: " in ran.stdout
    assert command("tools", "bots:agent", "--strict").exit_code == 1


def test_no_tools(command, folder):
    (folder / "bare.py").write_text("from agentkit import Agent\nagent = Agent('local')\n")
    ran = command("tools", "bare")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "no tools" in ran.stderr


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer | null"),
        ({"enum": ["a", "b"]}, "'a' | 'b'"),
        ({"enum": list(range(9))}, "0 | 1 | 2 | 3 | 4 | …"),
        ({"type": "array", "items": {"$ref": "#/$defs/Book"}}, "array of Book"),
        ({}, "anything"),
        (True, "anything"),
    ],
)
def test_types(schema, shown):
    assert type_of(schema) == shown


def test_parameters():
    @tool
    def book(title: str, pages: list[int] | None = None) -> str:
        """A book."""
        return title

    agent = Agent(ScriptedModel([]), tools=[book])
    shown = list(parameters_of(agent.tools["book"].parameters))
    assert shown[0] == "title: string"
    assert shown[1].startswith("[pages: array of integer")


def test_the_local_models_path(command, folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(sys, "platform", "linux")
    ran = command("local", "path")
    path = folder / "agentkit" / DEFAULT.file
    assert (ran.exit_code, ran.stdout) == (1, f"{path}\n")
    assert "agentkit local pull" in ran.stderr
    model = folder / "other.gguf"
    model.write_bytes(b"GGUF")
    monkeypatch.setenv("AGENTKIT_LOCAL_MODEL", str(model))
    assert command("local", "path").stdout == f"{model}\n"
    assert command("local", "pull").stdout == f"{model}\n"
    monkeypatch.setenv("AGENTKIT_LOCAL_MODEL", "no.gguf")
    assert command("local", "path").exit_code == 2


def test_a_local_model_that_is_not_there(command):
    ran = command("local", "run", "no.gguf")
    assert ran.exit_code == 2
    assert "there is no file 'no.gguf': give the path of a .gguf file" in ran.stderr


def test_a_reader_that_leaves(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(Path(__file__).parent)))}
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "agentkit.cli", "run", "hello", "-a", "bots:agent"],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, b"")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing):
    script = f"import sys; sys.modules[{missing!r}] = None; from agentkit.cli import main; main()"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == f"agentkit: the command needs {missing}: pip install 'agentkit[cli]'\n"


def test_serving(tmp_path):
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(Path(__file__).parent)))}
    command = [sys.executable, "-m", "agentkit.cli", "serve", "bots:agent", "--port", str(port), "--key", "sk-served"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            while "running on" not in (line := server.stderr.readline()):
                assert line, "it ended"
            model = ChatModel("librarian", base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-served")
            assert model.reply_sync("hello").text == "You said 'hello'."
            model.endpoint.close()
            taken = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        finally:
            server.send_signal(signal.SIGINT)
        logged = server.stderr.read()
    assert server.returncode == 0
    assert '"path":"/v1/chat/completions","key":"key 1","model":"librarian"' in logged
    assert taken.returncode == 2
    assert f"agentkit: nothing can be served at 127.0.0.1:{port}: give another port" in taken.stderr


def test_serving_to_other_machines_needs_a_key(command):
    pytest.importorskip("starlette")
    ran = command("serve", "bots:agent", "--host", "0.0.0.0")
    assert ran.exit_code == 2
    assert "--host 0.0.0.0 can be reached from other machines: give --key" in ran.stderr
