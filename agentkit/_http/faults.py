"""What goes wrong on the line, in agentkit's own errors."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from agentkit.errors import AgentKitError, ConnectionFailed, ProtocolError, UsageError

if TYPE_CHECKING:
    from agentkit._http.allowance import Allowance, Phase

# By name, so that one table serves httpx, httpcore and their forks.
_TIMEOUTS: Final[dict[str, Phase]] = {
    "ConnectTimeout": "connect",
    "PoolTimeout": "connect",
    "WriteTimeout": "first_byte",
    "ReadTimeout": "read",
}
_BROKEN: Final = frozenset({"NetworkError", "TimeoutException", "BrokenResourceError", "ClosedResourceError"})


def translate(error: Exception, host: str, allowance: Allowance, *, answered: bool) -> AgentKitError | None:
    """The error to raise in place of a library's or the system's; None for one that is none of theirs.

    `answered` says whether the head of the answer had come.
    """
    if isinstance(error, AgentKitError):
        return error
    names = {cls.__name__ for cls in type(error).__mro__}
    for name, phase in _TIMEOUTS.items():
        if name in names:
            return allowance.timed_out("first_byte" if phase == "read" and not answered else phase)
    if "ConnectError" in names:
        return connect_failed(system_error(error), host)
    if "ProxyError" in names:
        return _proxy_failed(host, error)
    if "LocalProtocolError" in names or "UnsupportedProtocol" in names or "InvalidURL" in names:
        # Without the library's words, which quote the header.
        return UsageError(f"the request to {host} can't be sent as HTTP: check its URL and headers")
    if "ProtocolError" in names:
        return garbled(error, host, answered=answered)
    if names & _BROKEN or isinstance(error, OSError):
        return cut(error, host, answered=answered)
    if "TransportError" in names or "DecodingError" in names:
        return ConnectionFailed(f"the request to {host} failed ({type(error).__name__})", retryable=True)
    return None


def _proxy_failed(host: str, reason: object) -> ConnectionFailed:
    return ConnectionFailed(
        f"the proxy before {host} refused ({reason}); check HTTPS_PROXY and NO_PROXY", retryable=True
    )


def connect_failed(error: BaseException, host: str) -> ConnectionFailed:
    """No connection came about."""
    import ssl  # 7 ms, which plain http does not need

    match error:
        case ssl.SSLCertVerificationError():
            return ConnectionFailed(
                f"the certificate of {host} is not trusted ({error.verify_message}): name the file of its authority in "
                "SSL_CERT_FILE, or check the host",
                retryable=False,
            )
        case ssl.SSLError():
            return ConnectionFailed(
                f"no TLS with {host} ({getattr(error, 'reason', None) or error}): check that base_url should be https://",
                retryable=True,
            )
        case socket.gaierror():
            return ConnectionFailed(f"there is no host {host}: check base_url and the network", retryable=True)
        case ConnectionRefusedError():
            return ConnectionFailed(
                f"{host} refused the connection: is it running, and is base_url right?", retryable=True
            )
        case OSError() if error.strerror:
            reason = error.strerror
        case _:
            reason = str(error) or type(error).__name__
    return ConnectionFailed(f"no connection to {host} ({reason}): check base_url and the network", retryable=True)


def cut(error: BaseException | None, host: str, *, answered: bool) -> ConnectionFailed:
    """A connection broke."""
    origin = system_error(error) if error is not None else None
    reason = f" ({origin.strerror})" if isinstance(origin, OSError) and origin.strerror else ""
    when = "before its answer was whole" if answered else "without an answer"
    return ConnectionFailed(f"{host} closed the connection {when}{reason}; ask again", retryable=True)


def garbled(error: object, host: str, *, answered: bool) -> ConnectionFailed | ProtocolError:
    """What came is not HTTP, or HTTP that ends too early."""
    text = " ".join(str(error).split())
    if text.startswith(("peer closed", "Server disconnected")):
        return cut(None, host, answered=answered)
    return ProtocolError(f"what {host} sent is not HTTP ({text[:200]}): check base_url", retryable=True)


def system_error(error: BaseException) -> BaseException:
    """The system's error behind a library's, which is the one with a reason in it."""
    seen: BaseException | None = error
    for _ in range(8):
        # anyio joins what came of several addresses.
        seen = next(iter(getattr(seen, "exceptions", ())), seen)
        if seen is None or (isinstance(seen, OSError) and seen.strerror):
            break
        seen = seen.__cause__ or seen.__context__
    return seen if isinstance(seen, OSError) else error
