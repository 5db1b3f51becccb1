"""Kept conversations: a store in SQLite or Postgres that each entry is written to as it lands (extra `store`)."""

from __future__ import annotations

try:
    import sqlalchemy as _  # noqa: F401  # its absence is told here, in words that help
except ImportError as error:
    raise ImportError("conversations are kept with SQLAlchemy: pip install 'agentkit[store]'") from error

from agentkit.conversations.faults import ConversationBusy, LeaseLost, StoreDamaged, StoreError
from agentkit.conversations.kept import Kept
from agentkit.conversations.listing import Conversation, Found
from agentkit.conversations.store import Conversations

__all__ = [
    "Conversation",
    "ConversationBusy",
    "Conversations",
    "Found",
    "Kept",
    "LeaseLost",
    "StoreDamaged",
    "StoreError",
]
