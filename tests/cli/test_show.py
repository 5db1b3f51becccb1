from __future__ import annotations

import json

import pytest

from agentkit import Transcript
from tests.looks.test_html import checked


def test_the_command_writes_it(command, folder):
    messages = [{"role": "user", "content": "<i>hello</i>"}, {"role": "assistant", "content": "hi"}]
    (folder / "talk.json").write_text(json.dumps(messages))
    ran = command("show", "talk.json", "--html", "talk.html")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "<i>hello</i>" in checked((folder / "talk.html").read_text("utf-8")).text()
    assert command("show", "talk.json", "--html", "-").stdout == (folder / "talk.html").read_text("utf-8")
    assert command("show", "talk.json", "--html", "no/such.html").exit_code == 2


@pytest.mark.parametrize("form", ["list", "body", "dump", "stdin"])
def test_the_command_shows_what_there_is(command, folder, form):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    kept = {
        "body": json.dumps({"model": "m", "messages": messages}),
        "dump": Transcript.load(messages).dump(),
    }.get(form, json.dumps(messages))
    (folder / "talk.json").write_text(kept)
    ran = command("show", "-", stdin=kept) if form == "stdin" else command("show", "talk.json")
    assert ran.exit_code == 0
    assert ran.stdout == "user\n│ hello\n\nmodel\n│ hi\n\n1 reply · 0 tool calls\n"


@pytest.mark.parametrize(
    ("content", "told"), [("{", "loaded from JSON"), ("[1]", "'talk.json': "), (None, "cannot be read")]
)
def test_the_command_tells_what_is_wrong(command, folder, content, told):
    if content is not None:
        (folder / "talk.json").write_text(content)
    ran = command("show", "talk.json")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert told in ran.stderr
