"""Who may ask: keys, and without a key this machine alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from agentkit.errors import UsageError
from agentkit.serve.faults import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

# What a proxy in front adds: the client that it speaks for is not on this machine.
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name of the key, None where none is needed, and the request's headers in lower case.

    `user` is the request's own field of that name.
    """

    key: str | None
    headers: Mapping[str, str]
    user: str | None = None


class Keys:
    """The keys that open the server; by a mapping each has a name, which logs and `deps` are told."""

    def __init__(self, keys: Iterable[str] | Mapping[str, str] | None) -> None:
        """Raises UsageError for a key that is none."""
        if isinstance(keys, str):
            raise UsageError("api_keys is a list of keys, or a mapping from keys to names, not one string")
        named: dict[Any, Any] = {}
        if isinstance(keys, Mapping):
            named = {**keys}
        elif keys is not None:
            named = {key: f"key {number}" for number, key in enumerate(keys, 1)}
        for key, name in named.items():
            if not isinstance(key, str) or len(key) < 8 or not key.isascii() or key != key.strip():
                raise UsageError(f"the API key of {name!r} is no string of 8 or more letters without spaces around it")
        if keys is not None and not named:
            raise UsageError("api_keys is empty: give at least one key, or None for clients on this machine alone")
        self._named = tuple((sha256(key.encode()).digest(), str(name)) for key, name in named.items())

    def __bool__(self) -> bool:
        return bool(self._named)

    def find(self, headers: Mapping[str, str]) -> tuple[str, str]:
        """The name and the digest of the key that a request bears. Raises Refused."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found: list[str] = []
        for digest, name in self._named:  # all of them, so that the time tells nothing
            if compare_digest(digest, given):
                found.append(name)  # as it says
        if scheme.lower() != "bearer" or not found:
            what = "Incorrect API key provided." if token else "You didn't provide an API key."
            raise Refused(401, what, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
        return found[0], given.hex()


def headers_of(scope: MutableMapping[str, Any]) -> dict[str, str]:
    """The headers of a request."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def check_local(scope: MutableMapping[str, Any], headers: Mapping[str, str]) -> None:
    """Raise Refused unless a request comes from this machine, and is meant for it.

    The host is looked at as well: a page elsewhere may have its own name lead to this machine.
    """
    client = scope.get("client")
    host = headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    near = client is not None and is_loopback(client[0]) and is_loopback(name.strip("[]"))
    if not near or any(name in headers for name in _FORWARDED):
        raise Refused(
            403,
            "Without API keys this server answers requests from its own machine alone: set api_keys=.",
            code="no_api_keys",
            kind="permission_error",
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
