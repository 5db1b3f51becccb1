"""`agentkit run`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agentkit import Transcript
from agentkit.cli.codes import CANCELLED, MEANINGS, code_of
from agentkit.errors import Cancelled, LimitReached, ModelError, TimedOut, ToolFailed, UsageError

PAGE = Path(__file__).parent.parent.parent / "docs" / "cli.md"


@pytest.mark.parametrize(
    ("args", "code", "out", "err"),
    [
        (["hello"], 0, "You said 'hello'.\n", ""),
        (["hello", "there"], 0, "You said 'hello there'.\n", ""),
        (["the shelf?"], 0, "It says: A3 has Dune.\n", ""),
        (["hello", "-a", "bots:broken"], 1, "", "agentkit: HTTP 500: the disk is full\n"),
        (["hello", "-a", "bots:mute"], 1, "", "agentkit: the model refuses: I will not.\n"),
        (["hello", "-a", "bots:nobody"], 2, "", "agentkit: bots has no 'nobody': "),
        (["hello", "-m", "nowhere:x"], 2, "", "agentkit: unknown prefix 'nowhere'"),
        (["the shelf?", "-a", "bots:short"], 3, "", "agentkit: the run has reached its limit steps=1"),
        ([], 2, "", "agentkit: there is nothing to ask"),
        (["hello", "--nonsense"], 2, "", "No such option"),
    ],
)
def test_exit_codes(command, args, code, out, err):
    if "-a" not in args:
        args = [*args, "-a", "bots:agent"]
    ran = command("run", *args)
    assert (ran.exit_code, ran.stdout) == (code, out)
    assert err in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (TimedOut("x"), 1),
        (ModelError("x"), 1),
        (ToolFailed("x"), 1),
        (LimitReached("x"), 3),
        (Cancelled("x"), 130),
        (KeyboardInterrupt(), CANCELLED),
        (ValueError("x"), 1),
    ],
)
def test_the_code_of_an_error(error, code):
    assert code_of(error) == code


def test_the_table_in_the_docs():
    rows = re.findall(r"^\| (\d+) \| (.+?) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {int(code): what for code, what in rows} == MEANINGS


def test_what_is_piped_in(command):
    assert command("run", "-a", "bots:agent", stdin="from a pipe\n").stdout == "You said 'from a pipe'.\n"
    both = command("run", "Translate:", "-a", "bots:agent", stdin="from a pipe\n")
    assert both.stdout == "You said 'Translate:\\n\\nfrom a pipe'.\n"


def test_json(command):
    ran = command("run", "the shelf?", "-a", "bots:agent", "--output", "json")
    assert json.loads(ran.stdout) == {
        "status": "done",
        "output": "It says: A3 has Dune.",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
        "tool_calls": [
            {
                "id": "call_1",
                "name": "shelf_of",
                "arguments": '{"title": "Dune"}',
                "status": "ok",
                "result": "A3 has Dune",
            }
        ],
    }


def test_an_error_as_json(command):
    ran = command("run", "hello", "-a", "bots:broken", "-o", "json")
    assert ran.exit_code == 1
    error = json.loads(ran.stdout)["error"]
    assert (error["type"], error["status"]) == ("ServerError", 500)
    assert "the disk is full" in error["message"]


def test_a_transcript_is_gone_on_from(command, folder):
    for number in (1, 2):
        ran = command("run", "how many", "-a", "bots:agent", "--transcript", "talk.json")
        assert ran.stdout == f"You said {number} things.\n"
    assert len(Transcript.load((folder / "talk.json").read_text())) == 4


def test_a_transcript_is_kept_when_the_run_fails(command, folder):
    assert command("run", "the shelf?", "-a", "bots:short", "--transcript", "talk.json").exit_code == 3
    assert command("run", "-a", "bots:agent", "--transcript", "talk.json").stdout == "It says: A3 has Dune.\n"


def test_a_plain_list_is_a_transcript(command, folder):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}]
    (folder / "talk.json").write_text(json.dumps(messages))
    assert command("run", "-a", "bots:agent", "--transcript", "talk.json").stdout == "You said 'hello'.\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "a transcript is loaded from JSON"), ("{}", "has its version"), ("[1]", "'talk.json': ")],
)
def test_a_damaged_transcript(command, folder, content, told):
    (folder / "talk.json").write_text(content)
    ran = command("run", "hello", "-a", "bots:agent", "--transcript", "talk.json")
    assert ran.exit_code == 2
    assert told in ran.stderr
    assert (folder / "talk.json").read_text() == content


def test_a_transcript_that_cannot_be_saved(command, folder):
    ran = command("run", "hello", "-a", "bots:agent", "--transcript", "no/such/talk.json")
    assert ran.exit_code == 2
    assert "cannot be saved to 'no/such/talk.json': No such file or directory" in ran.stderr
    assert command("run", "hello", "-a", "bots:agent", "--transcript", str(folder)).exit_code == 2


def test_options_over_the_agents_own(command):
    told = command("run", "the shelf?", "-a", "bots:agent", "--no-tools")
    assert "There is no tool 'shelf_of'" in told.stdout
    more = command("tools", "bots:agent")
    assert more.exit_code == 0
    assert "shelf_of" in more.stdout


def test_without_an_agent_the_named_model_answers(command, scripted_endpoint):
    assert command("run", "hello", "-m", "openai:gpt-5-mini").stdout == "As you say.\n"
    assert command("run", "hello", "-m", "openai:gpt-5-mini", "--tools", "bots:shelf_of").stdout == "As you say.\n"


def test_a_missing_key(command):
    ran = command("run", "hello", "-m", "openai:gpt-5-mini")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "set OPENAI_API_KEY" in ran.stderr


@pytest.mark.parametrize("place", ["first", "last"])
def test_debug_shows_the_traceback(command, place):
    args = ["run", "hello", "-a", "bots:broken"]
    ran = command(*(["--debug", *args] if place == "first" else [*args, "--debug"]))
    assert "Traceback" in ran.stderr
    assert ran.exit_code == 1
