"""Checksums over what is stored, so that a byte that changed on the disk is noticed and not believed.

Each entry has a seal over its content and its place. A conversation's digest is the sum of its entries' seals, kept up
with each write without reading the others; its own seal is over its row, the digest included. So a row that changed, is
missing, or is from an earlier time than its neighbours does not add up.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD: Final = 1 << 64


def signed(number: int) -> int:
    """A number modulo 2**64, as the signed 64-bit one that a database can keep."""
    number %= _WORD
    return number - _WORD if number >= _WORD >> 1 else number


def seal_of(*values: Any) -> int:
    """The seal over some JSON values."""
    return _hashed(dumps(values))


def entry_seal(conversation: int, position: int, layout: int, content: str) -> int:
    """The seal of an entry: over its content and where it belongs."""
    return _hashed(b"%d %d %d " % (conversation, position, layout) + content.encode())


def _hashed(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)


def digest_of(seals: Iterable[int]) -> int:
    """The digest of a conversation whose entries have these seals."""
    return signed(sum(seals))


def digest_after(digest: int, *, added: int, removed: int = 0) -> int:
    """The digest once an entry came, or took another's place."""
    return signed(digest + added - removed)
