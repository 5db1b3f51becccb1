"""`python -m agentkit.evals`."""

from __future__ import annotations

import sys

from agentkit.evals.command import main

if __name__ == "__main__":
    sys.exit(main())
