"""What is asked for, made ready to be sent: addresses and headers, checked before anything is."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from agentkit.errors import UsageError

if TYPE_CHECKING:
    import httpx

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST: Final = re.compile(r"[^\s%\[\]]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# The sender's own business: the length of the body, the connection, and the one encoding that needs no decoding.
_OURS: Final = frozenset({"accept-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"})


class RawHeaders(list[tuple[bytes, bytes]]):
    """Headers that are checked and encoded; made by `raw_headers`, once for many requests."""

    def __repr__(self) -> str:
        # A value may be a key.
        return f"RawHeaders({', '.join(name.decode('ascii') for name, _ in self)})"


Headers = RawHeaders | Mapping[str, str] | list[tuple[str, str]]


class HttpRequest:
    """One POST to an endpoint."""

    __slots__ = ("body", "headers", "method", "url")

    def __init__(self, url: str, headers: Headers, body: bytes, method: str = "POST") -> None:
        self.url = url
        self.headers = headers
        self.body = body
        self.method = method

    def __repr__(self) -> str:
        # Headers hold the key.
        return f"HttpRequest({self.method} {_without_secrets(self.url)!r}, {len(self.body)} bytes)"


def raw_headers(headers: Headers) -> RawHeaders:
    """Checks and encodes headers. `accept-encoding` is always identity; lengths and connection are left to the sender.

    Raises:
        UsageError: A name or value can't be sent. It names the header, never the value, which may be a key.
    """
    if isinstance(headers, RawHeaders):
        return headers
    raw = RawHeaders()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of an HTTP header: letters, digits and '-' only")
        text = value.strip(" \t\r\n")
        if _CONTROL.search(text):
            raise UsageError(f"the value of header {name!r} holds a line break or control character: remove it")
        try:
            encoded = text.encode("ascii")
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the value of header {name!r} holds a character outside ASCII at position {error.start}: "
                "encode it, or see whether it was pasted wrongly"
            ) from None
        if name.lower() not in _OURS:
            raw.append((name.lower().encode("ascii"), encoded))
    raw.append((b"accept-encoding", b"identity"))
    return raw


class Address:
    """Where a URL leads. `origin` tells connections apart that may not be shared."""

    __slots__ = ("authorization", "host", "host_header", "origin", "path", "port", "secure", "url")

    def __init__(self, url: httpx.URL) -> None:
        self.url = url
        self.secure = url.scheme == "https"
        self.host = url.raw_host.decode("ascii")
        self.port = url.port or (443 if self.secure else 80)
        self.origin = (self.secure, self.host, self.port)
        self.host_header = url.netloc
        self.path = url.raw_path
        login = url.userinfo
        self.authorization = b"Basic " + b64encode(f"{url.username}:{url.password}".encode()) if login else None


def parse_url(url: str) -> Address:
    """Reads an http or https URL.

    Raises:
        UsageError: It is none.
    """
    import httpx

    if re.search(r"\s", url):
        raise UsageError(f"{_without_secrets(url)!r} holds a space or line break: a URL is like https://host/v1")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"{_without_secrets(url)!r} is no URL ({error}): give one like https://host/v1") from None
    if parsed.scheme not in {"http", "https"} or not _HOST.fullmatch(parsed.host):
        raise UsageError(
            f"{_without_secrets(url)!r} is no http:// or https:// URL with a host: give one like https://host/v1"
        )
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise UsageError(f"{_without_secrets(url)!r} has a port outside 1 to 65535")
    return Address(parsed)


def _without_secrets(url: object) -> str:
    """A URL as it may stand in a message: without login and query, where keys are."""
    return re.sub(r"(?<=//)[^/?#]*@", "", str(url).partition("?")[0])
