"""What can go wrong with a store, and whose fault each is.

```
AgentKitError
├── UsageError
│   ├── StoreError              the database cannot be used: newer, foreign, full, out of reach
│   │   └── StoreDamaged            what stands there is not what was written
│   └── ConversationBusy        somebody else has the conversation open
└── LeaseLost               somebody else took the conversation over, or deleted it
```
"""

from __future__ import annotations

from agentkit.errors import AgentKitError, UsageError


class StoreError(UsageError):
    """The database cannot be used as it is; the message says why. What was written before is still there."""


class StoreDamaged(StoreError):
    """What the database holds is not what was written: a file that was cut, a byte that changed."""


class ConversationBusy(UsageError):
    """The conversation is open elsewhere, and the caller did not want to wait, or not longer."""


class LeaseLost(AgentKitError):
    """The conversation belongs to somebody else by now: nothing more is written to it from here."""
