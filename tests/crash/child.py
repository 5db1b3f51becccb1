"""What is done in a process that will be ended or stopped."""

from __future__ import annotations

import json
from typing import Any, cast

from agentkit.approval import Approve
from agentkit.conversations import Conversations
from agentkit.errors import AgentKitError
from tests.crash.scenes import PROMPT, Case, talk
from tests.crash.streaming import watch
from tests.crash.world import Diary, Fuse, World, watch_commits


def run(order: dict[str, Any]) -> None:
    """Have a conversation, coming by the fuse, and tell in a line what came of it."""
    fuse = Fuse(*order["fuse"])
    watch_commits(fuse)
    store = Conversations(order["url"], durability="process")
    if "base_url" in order:
        watch(store, order["name"], order["base_url"], fuse)
        return
    case = cast("Case", tuple(order["case"]))
    world = World(Diary(order["diary"]), fuse)
    told: dict[str, Any]
    try:
        results = list(talk(case, store, order["name"], world, order["prompt"], lambda _: Approve()))
    except AgentKitError as error:
        told = {"error": type(error).__name__, "message": str(error)}
    else:
        told = {"text": results[-1].text, "seen": fuse.seen, "pauses": len(results) - 1}
    print(json.dumps(told))  # noqa: T201  # it is what the test reads


def order_of(**order: Any) -> dict[str, Any]:
    """What `run` takes, with what is usual."""
    return {"fuse": (), "prompt": PROMPT, **order}
