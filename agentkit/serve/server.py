"""Serving an application with uvicorn, and ending without breaking off what goes on."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any, Final

from agentkit.errors import UsageError
from agentkit.serve.access import is_loopback
from agentkit.serve.service import Service

if TYPE_CHECKING:
    from types import FrameType

    from starlette.applications import Starlette

DRAIN_S: Final = 25.0
CUT_S: Final = 3.0
"""How long runs that are ended have to tell their clients; both are less than the 30 s that Kubernetes gives."""


def serve(app: Starlette, host: str = "127.0.0.1", port: int = 8000, *, drain_s: float = DRAIN_S) -> None:
    """Serve an application of create_app until SIGTERM or SIGINT.

    Then no run begins any more, and no step of those that go on: new requests are answered with 503 and Retry-After,
    and `/ready` says so. A reply that is being given and calls that run have `drain_s` seconds to end; what goes on
    then is ended where it stands. The client of a run that is not done is told so, and gets what was done, to go on
    from. A second signal ends at once.

    Raises:
        UsageError: the host is not this machine's own, and there are no API keys; or the port is taken.
    """
    import uvicorn

    service = _service_of(app)
    if not service.keys and not is_loopback(host):
        raise UsageError(f"host={host!r} can be reached from other machines: set api_keys= in create_app() first")

    class Draining(uvicorn.Server):
        until: float | None = None

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.until is not None:
                return super().handle_exit(sig, frame)
            self.until = time.monotonic() + drain_s
            service.drain()
            return None

        async def on_tick(self, counter: int) -> bool:
            left = 0.0 if self.until is None else self.until - time.monotonic()
            if left < 0 and not service.cuts.is_over:
                service.cuts.cut()
            is_over = self.until is not None and (not service.runs or left < -CUT_S)
            return await super().on_tick(counter) or is_over

    # What is loaded by now stays: looking through it again and again held all streams up, for 0.1 s each time.
    gc.collect()
    gc.freeze()
    options: dict[str, Any] = {"access_log": False, "server_header": False, "timeout_graceful_shutdown": 1}
    try:
        Draining(uvicorn.Config(app, host=host, port=port, ws="none", lifespan="off", **options)).run()
    except SystemExit:  # uvicorn has said why
        raise UsageError(f"nothing can be served at {host}:{port}: give another port, or end what is there") from None


def _service_of(app: Starlette) -> Service:
    service = getattr(app.state, "agentkit", None)
    if not isinstance(service, Service):
        raise UsageError("serve() takes what create_app() made; serve an application of your own with uvicorn itself")
    return service
