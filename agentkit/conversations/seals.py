"""Checksums over what is stored, so that a byte that changed on the disk is noticed and not believed.

Each entry has a seal over its content and its place, and beside it the XOR of the seals before it. A conversation's
digest is that of all its entries, kept up with each write without reading the others; its own seal is over its row, the
digest included. So a row that changed, is missing, or is from an earlier time than its neighbours does not add up, also
where only a conversation's end is read.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from agentkit._json import dumps


def seal_of(*values: Any) -> int:
    """The seal over some JSON values."""
    return _hashed(dumps(values))


def entry_seal(conversation: int, position: int, layout: int, content: str) -> int:
    """The seal of an entry: over its content and where it belongs."""
    return _hashed(b"%d %d %d " % (conversation, position, layout) + content.encode())


def _hashed(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
