"""The command, as `python -m agentkit.cli`."""

from agentkit.cli import main

if __name__ == "__main__":
    main()
