"""`agentkit models`."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from agentkit.chat.dialects import DIALECTS


@contextmanager
def server(status, body):
    """An endpoint that has a list of models; what it was asked for, and its base URL."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["authorization"]))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield asked, f"http://127.0.0.1:{httpd.server_port}/v1"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def test_the_table_never_shows_a_key(command, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk-very-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:password@127.0.0.1:9/v1")
    ran = command("models")
    assert ran.exit_code == 0
    rows = {line.split()[0]: line for line in ran.stdout.splitlines()}
    assert rows.keys() == {"prefix", "local", *DIALECTS} - {"generic"}
    assert "GROQ_API_KEY is set" in rows["groq"]
    assert "OPENAI_API_KEY is not set" in rows["openai"]
    assert "http://127.0.0.1:9/v1 (from the environment)" in rows["openai"]
    assert "set AZURE_OPENAI_BASE_URL or AZURE_OPENAI_ENDPOINT" in rows["azure"]
    assert "secret" not in ran.output
    assert "password" not in ran.output


@pytest.mark.parametrize(
    "body", [{"data": [{"id": "b"}, {"id": "a"}]}, [{"id": "b"}, {"id": "a"}], {"models": [{"name": "a"}, {"id": "b"}]}]
)
def test_an_endpoint_is_asked_for_its_models(command, monkeypatch, body):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    with server(200, json.dumps(body).encode()) as (asked, url):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        assert command("models", "openai").stdout == "openai:a\nopenai:b\n"
        assert command("models", url).stdout == "a\nb\n"
    assert asked == [("/v1/models", "Bearer sk-1")] * 2


@pytest.mark.parametrize(
    ("status", "body", "code", "told"),
    [
        (401, b'{"error": {"message": "bad key"}}', 1, "bad key"),
        (404, b"", 1, "404"),
        (200, b"<html>", 1, "gave no list of models at /models"),
        (200, b'{"data": []}', 0, "it has none"),
    ],
)
def test_what_an_endpoint_may_say(command, status, body, code, told):
    with server(status, body) as (_, url):
        ran = command("models", url)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert told in ran.stderr


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("opnai", 2, "there is no prefix 'opnai': did you mean 'openai'?"),
        ("azure", 2, "azure has no address of its own: set AZURE_OPENAI_BASE_URL"),
        ("openai", 1, "set OPENAI_API_KEY"),
        ("ftp://x", 2, "is no address"),
    ],
)
def test_what_cannot_be_asked(command, name, code, told):
    ran = command("models", name)
    assert ran.exit_code == code
    assert told in ran.stderr


def test_the_local_one(command):
    assert command("models", "local").stdout == "local\n"
