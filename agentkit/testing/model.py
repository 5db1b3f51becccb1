"""A model that says what a script has it say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, TypeAlias

from agentkit.chat.reader import ReplyReader
from agentkit.errors import UsageError
from agentkit.flow import Say
from agentkit.messages import Reply
from agentkit.model import Model
from agentkit.testing import script as scripts
from agentkit.testing.script import Step, as_item

if TYPE_CHECKING:
    from agentkit.chat.request import Request
    from agentkit.flow import Steps

Answer: TypeAlias = Step | Reply
Script: TypeAlias = Iterable[Answer] | Callable[["Request"], Answer]


class ScriptedModel(Model):
    """Gives replies in order, or those that a function of the request chooses; no network is used.

    The script is made of the same items as FakeEndpoint's (`say`, `call`, `calls`, `status`, …) and read by the same
    code as a real answer; a Reply, of another model say, is given as it is. A function is called in the midst of the
    run and must not wait. `requests` has what the model was asked, each with the conversation as it was then.

    Raises:
        UsageError: the script is an async function.
    """

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self.requests: list[Request] = []
        if iscoroutinefunction(script):
            raise UsageError(
                f"the script {script.__name__} is an async function, and a flow cannot await: make it a plain one"
            )
        if callable(script):
            self._next: Callable[[Request], Answer] = script
            return
        steps = iter(script)

        def following(request: Request) -> Answer:  # noqa: ARG001
            try:
                return next(steps)
            except StopIteration:
                raise UsageError(
                    f"the script is over: the model was asked {len(self.requests)} times, once more than it has replies"
                ) from None

        self._next = following

    def flow(self, request: Request) -> Steps[Reply]:
        """The next reply of the script."""
        self.requests.append(request.with_(transcript=request.transcript.copy()))
        step = self._next(request)
        if isinstance(step, Reply):
            return step
        asked = scripts.Request(
            "POST",
            "/v1/chat/completions",
            json={
                "messages": request.messages,
                "stream": request.stream,
                "stream_options": {"include_usage": True},
            },
            number=len(self.requests),
        )
        answer = as_item(step).respond(asked)
        reader = ReplyReader()
        reader.start(answer.status or 200, answer.headers)
        for piece in answer.body:
            if isinstance(piece, bytes) and (deltas := reader.feed(piece)):
                yield Say(deltas)
        return reader.end()
