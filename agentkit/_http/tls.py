"""The one SSL context that all connections share: making one takes some 20 ms."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from agentkit.errors import UsageError

if TYPE_CHECKING:
    import ssl

_contexts: Final[dict[tuple[str | None, str | None], ssl.SSLContext]] = {}


def ready_context() -> ssl.SSLContext | None:
    """The shared context, if it is made already."""
    return _contexts.get(_trusted())


def shared_context() -> ssl.SSLContext:
    """The shared context, made at first use. It trusts what SSL_CERT_FILE or SSL_CERT_DIR name, else certifi's list.

    Raises:
        UsageError: What they name can't be read.
    """
    trusted = _trusted()
    context = _contexts.get(trusted)
    if context is None:
        import httpx

        try:
            context = httpx.create_ssl_context()
        except OSError as error:
            raise UsageError(
                f"no certificates can be read from {trusted[0] or trusted[1]!r} ({error.strerror or error}): "
                "correct SSL_CERT_FILE or SSL_CERT_DIR, or unset it"
            ) from error
        context.set_alpn_protocols(["http/1.1"])
        _contexts[trusted] = context
    return context


def _trusted() -> tuple[str | None, str | None]:
    return os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
