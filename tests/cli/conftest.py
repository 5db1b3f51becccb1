from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentkit.cli.app import app

HERE = Path(__file__).parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, empty, with nothing of the user's own in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("AGENTKIT_MODEL", "AGENTKIT_DEBUG", "AGENTKIT_LOCAL_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", [str(HERE), *sys.path])
    yield tmp_path
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None) or ""
        if name == "bots" or path.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def command(folder):
    """Runs the command with these arguments: `command("run", "hello")`."""
    runner = CliRunner()

    def run(*args, stdin=None):
        return runner.invoke(app, args, input=stdin, env={"COLUMNS": "120", "NO_COLOR": "1"})

    return run
