"""Which proxy the environment names for a URL, by the same rules as httpx."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from agentkit.errors import UsageError

if TYPE_CHECKING:
    import httpx


def environment_proxy(url: httpx.URL) -> httpx.Proxy | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY name (in capitals or not), unless NO_PROXY names the host.

    Raises:
        UsageError: The variable holds no URL of a proxy.
    """
    from urllib.request import getproxies

    named = getproxies()
    proxy = named.get(url.scheme) or named.get("all")
    if not proxy:
        return None
    for entry in named.get("no", "").split(","):
        if _spares(entry.strip(), url):
            return None
    return _read(proxy)


def _read(proxy: str) -> httpx.Proxy:
    import httpx

    try:
        read = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
        if read.url.host:
            return read
    except (httpx.InvalidURL, ValueError):
        pass
    # Not the value: a proxy's URL may hold its password.
    raise UsageError("HTTP_PROXY, HTTPS_PROXY or ALL_PROXY holds no URL of a proxy: give http://host:port, or unset it")


def _spares(entry: str, url: httpx.URL) -> bool:
    """Whether an entry of NO_PROXY is about this URL.

    "*" is about all, a name about itself and what is below it, ".name" about what is below it only. An IP address and
    "localhost" are about themselves. As in httpx a range of addresses is about its first one alone, and "*.name" about
    nothing without a scheme before it.
    """
    import httpx

    if entry in {"", "*"}:
        return bool(entry)
    if entry.startswith("*"):
        return False
    literal = entry.partition("/")[0]
    with_scheme = "://" in entry
    is_address = not with_scheme and _is_address(literal)
    text = entry if with_scheme else f"all://[{literal}]" if is_address and ":" in literal else f"all://{literal}"
    try:
        pattern = httpx.URL(text.replace("://*", "://", 1).replace("://.", "://", 1))
    except httpx.InvalidURL:
        return False
    if pattern.scheme not in {"all", url.scheme} or pattern.port not in {None, url.port}:
        return False
    exact = with_scheme or is_address or literal.lower() == "localhost"
    if exact and "://*" not in text:
        return pattern.host == url.host
    below = url.host.endswith(f".{pattern.host}")
    only_below = "://." in text or "://*." in text
    return below if only_below else below or url.host == pattern.host


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
