"""The application: its routes, and what is said of it to whoever serves it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route

from agentkit._json import dumps
from agentkit.agent import Agent
from agentkit.chat.settings import check_number
from agentkit.clock import clock
from agentkit.errors import UsageError
from agentkit.serve.access import Caller, Keys
from agentkit.serve.chat import ChatCompletions
from agentkit.serve.faults import SERVER, Refused, refused
from agentkit.serve.limits import ServeLimits
from agentkit.serve.openapi import document
from agentkit.serve.page import page_routes
from agentkit.serve.seal import Sealer
from agentkit.serve.service import Line, Served, Service, SystemMode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from agentkit.serve.showing import ShowSteps

_CORS_HEADERS: Final = ("x-request-id", "retry-after", "x-should-retry")


def create_app(
    agents: Mapping[str, Agent[Any, Any]],
    *,
    api_keys: Iterable[str] | Mapping[str, str] | None = None,
    secret: str | bytes | Sequence[str | bytes] | None = None,
    system: SystemMode = "add",
    show_steps: ShowSteps | Literal["never"] = None,
    page: bool | None = None,
    max_tokens_cap: int | None = None,
    limits: ServeLimits | None = None,
    cors: Iterable[str] = (),
    deps: Callable[[Caller], Any] | None = None,
) -> Starlette:
    """An ASGI application that offers agents as a Chat Completions endpoint, to be served or mounted.

    Args:
        agents: The agents, each by the name that clients give as `model`.
        api_keys: The keys that open it, or a mapping from keys to the names of their holders. Without one it answers
            this machine alone.
        secret: What the agents' own steps are sealed with, which travel with the client; at least 16 bytes, the same in
            every process. Of several the first seals and all open. Without one it ends with the process.
        system: What becomes of the client's system and developer messages: they go behind the agent's instructions
            ("add"), in their place ("replace"), or are refused ("refuse").
        show_steps: Whether the client sees which tools the agent runs: in the answer's text ("text"), in its reasoning
            ("reasoning"), in `agentkit_steps` if it asks for it ("asked"), or not at all ("never"). Where it is not
            said, it is "asked" with the page and "never" without.
        page: Whether there is a chat page at `/`; where it is not said, without API keys alone.
        max_tokens_cap: The most tokens that a client may ask of each reply of the model.
        limits: How much a client may ask.
        cors: The origins whose pages may ask, or "*" for all.
        deps: Gives the `deps` of a run, from who asks.

    Raises:
        UsageError: there is no agent, or an argument that cannot work.
    """
    if not agents:
        raise UsageError('create_app needs at least one agent: create_app({"name": agent})')
    for name, agent in agents.items():
        if not isinstance(agent, Agent):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may not be checked
            raise UsageError(f"what is served as {name!r} is no Agent, but {type(agent).__name__}")
    _one_of("system", system, ("add", "replace", "refuse"))
    _one_of("show_steps", show_steps, ("text", "reasoning", "asked", "never", None))
    _one_of("page", page, (True, False, None))
    if max_tokens_cap is not None:
        check_number("max_tokens_cap", max_tokens_cap, low=1, whole=True)
    keys = Keys(api_keys)
    has_page = not keys if page is None else page
    service = Service(
        {name: Served.of(name, agent) for name, agent in agents.items()},
        keys,
        Sealer(secret),
        system,
        None if show_steps == "never" else "asked" if show_steps is None and has_page else show_steps,
        max_tokens_cap,
        limits or ServeLimits(),
        deps,
    )
    page_at = page_routes(service) if has_page else []
    return _application(service, [cors] if isinstance(cors, str) else list(cors), page_at)


def _application(service: Service, origins: list[str], page: list[Route]) -> Starlette:
    described = dumps(document(service.limits, needs_key=bool(service.keys)))
    models = [served.data for served in service.agents.values()]

    def listed(_: Request) -> Any:
        return {"object": "list", "data": models}

    def one(request: Request) -> Any:
        return service.find(request.path_params["id"]).data

    def ready(_: Request) -> Any:
        if service.is_draining:
            raise Refused(503, "The server is about to end.", code="draining", kind=SERVER)
        return {"status": "ok"}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        service.drain()

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", ChatCompletions(service), methods=["POST"]),
            Route("/v1/models", _Get(service, listed), methods=["GET"]),
            Route("/v1/models/{id:path}", _Get(service, one), methods=["GET"]),
            Route("/health", _Get(service, lambda _: {"status": "ok"}, is_open=True), methods=["GET"]),
            Route("/ready", _Get(service, ready, is_open=True), methods=["GET"]),
            Route("/openapi.json", _Get(service, lambda _: described, is_open=True), methods=["GET"]),
            *page,
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=_CORS_HEADERS,
            )
        ]
        if origins
        else [],
        exception_handlers={HTTPException: _wrong_path},
        lifespan=lifespan,
    )
    app.state.agentkit = service
    return app


class _Get:
    """What is answered to a GET, as an ASGI application."""

    def __init__(self, service: Service, answer: Callable[[Request], Any], *, is_open: bool = False) -> None:
        self.service = service
        self.answer = answer
        self.is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.requests import Request

        request_id = f"req_{clock.get().new_id()}"
        line = Line(scope["method"], scope["path"], request_id)
        try:
            if not self.is_open:
                self.service.admit(scope, line)
            answer, status, headers = self.answer(Request(scope, receive)), 200, {}
        except Exception as error:
            problem = error if isinstance(error, Refused) else refused(error)
            line.fail(problem)
            answer, status, headers = problem.body, problem.status, dict(problem.headers)
        line.say(status=status)
        line.write()
        body = answer if isinstance(answer, bytes) else dumps(answer)
        response = Response(body, status, {**headers, "x-request-id": request_id}, "application/json")
        await response(scope, receive, send)


async def _wrong_path(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    told = {404: ("There is nothing at this path.", "not_found"), 405: ("Not with this method.", "method_not_allowed")}
    message, code = told.get(status, ("The request cannot be answered.", "invalid_request"))
    problem = Refused(status, message, code=code)
    line = Line(request.method, request.url.path, "")
    line.say(status=status, code=code)
    line.write()
    return Response(dumps(problem.body), status, headers, "application/json")


def _one_of(name: str, value: object, known: Sequence[object]) -> None:
    if value not in known:
        raise UsageError(f"{name}={value!r} is not one of {', '.join(map(repr, known))}")
