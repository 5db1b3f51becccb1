"""The Chat Completions protocol, pure: bytes to values and back."""
