"""The files of the page: who gets them, and what a browser may do with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

import agentkit.serve
from agentkit.errors import UsageError
from agentkit.serve import create_app
from tests.serve.conftest import KEY
from tests.serve.test_answers import bot

STATIC = Path(agentkit.serve.__file__).parent / "static"
FILES = sorted(path.name for path in STATIC.iterdir())


def app(**options: Any) -> Any:
    return create_app({"bot": bot("x")}, **options)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, 200),
        ({"page": True}, 200),
        ({"page": False}, 404),
        ({"api_keys": [KEY]}, 404),
        ({"api_keys": [KEY], "page": True}, 200),
    ],
)
def test_where_it_is(show, options, status):
    url = show(app(**options))
    assert httpx.get(f"{url}/").status_code == status
    assert httpx.get(f"{url}/static/app.js").status_code == status


def test_an_option_that_is_none():
    with pytest.raises(UsageError, match="page='yes' is not one of True, False, None"):
        app(page="yes")


def test_every_file_is_there_and_guarded(show):
    url = show(app())
    page = httpx.get(f"{url}/")
    named = {*re.findall(r'(?:src|href)="static/([^"]+)"', page.text)}
    for script in (name for name in FILES if name.endswith(".js")):
        named |= set(re.findall(r'from "\./([^"]+)"', (STATIC / script).read_text("utf-8")))
    assert {*named, "index.html"} == set(FILES)
    for path in ("", *(f"static/{name}" for name in FILES)):
        headers = httpx.get(f"{url}/{path}").headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert (
            policy["default-src"]
            == policy["base-uri"]
            == policy["form-action"]
            == policy["frame-ancestors"]
            == "'none'"
        )
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_fetched_from_elsewhere(name):
    text = (STATIC / name).read_text("utf-8").replace("http://www.w3.org/", "")
    assert not re.search(r"https?://(?!`)[\w.]+\.\w", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|DOMParser", text)
    assert not re.search(r"\son\w+=|style=|<script>|javascript:", text)


def test_a_file_that_is_known_is_not_sent_again(show):
    url = show(app())
    first = httpx.get(f"{url}/static/app.js")
    again = httpx.get(f"{url}/static/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["none.js", "..%2fpage.py", "%2e%2e/page.py", "index.html%00"])
def test_nothing_else_is_there(show, name):
    assert httpx.get(f"{show(app())}/static/{name}").status_code == 404


@pytest.mark.parametrize("headers", [{"host": "elsewhere.example"}, {"x-forwarded-for": "10.0.0.1"}])
def test_without_keys_it_is_for_this_machine_alone(show, headers):
    response = httpx.get(f"{show(app())}/", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "no_api_keys")
