"""Which address of a host answers first (RFC 8305), on any loop of asyncio's: uvloop has no such option of its own."""

from __future__ import annotations

import socket
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import anyio

if TYPE_CHECKING:
    import asyncio

_NEXT_S: Final = 0.25
"""How long one address is tried before the next one is as well."""


async def connected(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket to the host. Raises OSError, that of the first address that failed, if none answers."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if len(found) == 1:
        return await _connect(loop, found[0])
    won: list[socket.socket] = []
    errors: list[OSError] = []
    try:
        async with anyio.create_task_group() as tasks:

            async def attempt(address: Any, failed: anyio.Event) -> None:
                try:
                    won.append(await _connect(loop, address))
                except OSError as error:
                    errors.append(error)
                    failed.set()
                else:
                    tasks.cancel_scope.cancel()

            for address in _by_turns(found):
                failed = anyio.Event()
                tasks.start_soon(attempt, address, failed)
                with anyio.move_on_after(_NEXT_S):
                    await failed.wait()
        if won:
            return won.pop(0)
    finally:
        for late in won:
            late.close()
    raise errors[0]


async def _connect(loop: asyncio.AbstractEventLoop, address: Any) -> socket.socket:
    family, kind, protocol, _, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)  # noqa: FBT003  # it takes no name
        await loop.sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def _by_turns(found: list[Any]) -> list[Any]:
    """The two families by turns: where one of them leads nowhere, the other is tried next."""
    first = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    return [address for pair in zip_longest(first, others) for address in pair if address is not None]
