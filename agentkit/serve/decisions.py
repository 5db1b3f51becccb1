"""Decisions on an agent's calls, as a client makes them: by way of a tool that it lists."""

from __future__ import annotations

from typing import Any, Final

from agentkit._json import is_object, loads
from agentkit.approval import Answer, Approve, Decision, Deny

DECIDE: Final = "agentkit_decide"
"""The function tool that a client lists to be asked for decisions."""

NOBODY: Final = (
    "it needs a person's approval, which cannot be given here: go on without it, and say what could not be done"
)
_YES: Final = frozenset({"approve", "approved", "yes", "true", "ok", "allow"})
_NO: Final = frozenset({"deny", "denied", "no", "false", "reject", "rejected"})


def decision_of(text: str, hold: str = "approval") -> Decision:
    """What a client's tool message decides of a call that waits for what `hold` says.

    It is {"decision": "approve", "arguments"?: {…}}, {"decision": "deny", "reason"?: "…"},
    {"decision": "answer", "value": …}, or a word. What is no approval denies, with the text as the reason; but a call
    that waits for an answer is answered by it. The result of a call that could run here is taken from nobody.
    """
    try:
        value: Any = loads(text)
    except ValueError:
        value = text
    told = value if is_object(value) else {}
    word, arguments, reason = told.get("decision"), told.get("arguments"), told.get("reason")
    if word == "answer" and hold != "approval":
        return Answer(told.get("value"))
    if hold == "answer":
        return Deny(reason if isinstance(reason, str) else "") if word == "deny" else Answer(text)
    if told:
        if _is_yes(word) and (arguments is None or is_object(arguments)):
            return Approve(arguments)
        return Deny(reason if isinstance(reason, str) else "")
    if _is_yes(value):
        return Approve()
    said = str(value).strip()
    return Deny("" if value is None or said.lower().strip("\"'.! ") in _NO else said)


def _is_yes(word: object) -> bool:
    return word is True or (isinstance(word, str) and word.strip().lower().strip("\"'.! ") in _YES)
