"""The page at `/`: a chat with the agents, in a browser. It is a client of the endpoint like any other."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.responses import Response
from starlette.routing import Route

from agentkit._json import dumps
from agentkit.clock import clock
from agentkit.serve.access import check_local, headers_of
from agentkit.serve.faults import Refused
from agentkit.serve.service import Line

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from agentkit.serve.service import Service

_KINDS: Final = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "markdown.js": "text/javascript; charset=utf-8",
    "conversation.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-cache",
}


class _File(NamedTuple):
    data: bytes
    kind: str
    tag: str


def page_routes(service: Service) -> list[Route]:
    """The routes of the page: itself, and the files that it is made of."""
    page = _Page(service)
    return [Route("/", page, methods=["GET"]), Route("/static/{name}", page, methods=["GET"])]


class _Page:
    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for one of the files. They say nothing of the agents, so no key is asked for."""
        line = Line(scope["method"], scope["path"], f"req_{clock.get().new_id()}")
        headers = headers_of(scope)
        try:
            if not self.service.keys:
                check_local(scope, headers)
            response = _response(scope["path_params"].get("name", "index.html"), headers.get("if-none-match"))
        except Refused as error:
            line.fail(error)
            response = Response(dumps(error.body), error.status, dict(error.headers), "application/json")
        line.say(status=response.status_code)
        line.write()
        await response(scope, receive, send)


def _response(name: str, known: str | None) -> Response:
    if name not in _KINDS:
        raise Refused(404, "There is nothing at this path.", code="not_found")
    file = _read(name)
    headers = {**HEADERS, "etag": file.tag}
    if known == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.data, headers=headers, media_type=file.kind)


@cache
def _read(name: str) -> _File:
    data = (files("agentkit.serve") / "static" / name).read_bytes()
    return _File(data, _KINDS[name], f'"{sha256(data).hexdigest()[:24]}"')
