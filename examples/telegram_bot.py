"""A bot on a chat platform: a conversation for each chat, long polling, and an end that leaves nobody unanswered.

With a bot's token in TELEGRAM_TOKEN it answers on Telegram until Ctrl-C or SIGTERM, and knows its chats again when it
is started anew. Without a token a stand-in plays the platform; without AGENTKIT_MODEL the model is scripted. Needs the
extra `store`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx
from anyio.abc import TaskStatus

from agentkit import Agent
from agentkit.chat.request import Request
from agentkit.conversations import Conversations
from agentkit.errors import AgentKitError
from agentkit.testing import ScriptedModel

LONGEST = 4096  # characters that one message may have
POLL_S = 50  # how long the platform holds a request while nobody writes
TYPING_S = 4  # after five seconds it stops showing that the bot is typing
PAUSE_S = 1  # before a call is made again; twice that before the next time
GRACE_S = 30  # how long it may take to answer what has come, once the bot is to end
log = logging.getLogger("bot")


class Refused(Exception):
    """The platform won't do it, however often it is asked."""


class Telegram:
    """The few methods of the platform's Bot API that a bot needs."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.offset = 0  # the first message that is still to come; asking for it says that those before have arrived

    async def call(self, method: str, **fields: Any) -> Any:
        """Call a method, again and again where the line or the platform fails. Raises Refused."""
        answer: dict[str, Any]
        pause_s = PAUSE_S
        while True:
            try:
                answer = (await self.client.post(method, json=fields)).json()
            except (httpx.TransportError, ValueError) as error:  # no answer, or a gateway's page
                answer = {"description": type(error).__name__}
            if answer.get("ok"):
                return answer["result"]
            code, why = answer.get("error_code", 500), answer.get("description")
            if code < 500 and code != 429:
                raise Refused(f"{method}: {code} {why}")
            wait_s = answer.get("parameters", {}).get("retry_after", pause_s)
            log.warning("%s failed: %s; again in %s s", method, why, wait_s)
            await anyio.sleep(wait_s)
            pause_s = min(2 * pause_s, 30)

    async def messages(self) -> AsyncIterator[tuple[int, str]]:
        """What is written to the bot, as it comes: the chat, and the text."""
        while True:
            for update in await self.call("getUpdates", offset=self.offset, timeout=POLL_S):
                self.offset = update["update_id"] + 1
                message = update.get("message", {})
                if "text" in message:
                    yield message["chat"]["id"], message["text"]

    async def show_typing(self, chat: int) -> None:
        """Show that an answer is on its way, until this is cancelled."""
        while True:
            await self.call("sendChatAction", chat_id=chat, action="typing")
            await anyio.sleep(TYPING_S)


def pieces(text: str) -> Iterator[str]:
    """A text in messages that are not too long, cut between lines, or else words, where it can be."""
    while len(text) > LONGEST:
        cut = text.rfind("\n", 0, LONGEST) + 1 or text.rfind(" ", 0, LONGEST) + 1 or LONGEST
        yield text[:cut]
        text = text[cut:]
    yield text


class Bot:
    """Answers all chats at once, and in each of them one message after the other."""

    def __init__(self, agent: Agent, telegram: Telegram) -> None:
        self.agent = agent
        self.telegram = telegram
        self.turns = defaultdict[int, anyio.Lock](anyio.Lock)  # asyncio starts tasks in order, and they get it in order

    async def answer(self, chat: int, text: str) -> None:
        """Answer a message."""
        try:
            async with self.turns[chat], anyio.create_task_group() as beside:
                beside.start_soon(self.telegram.show_typing, chat)
                for piece in pieces(await self.reply_to(chat, text)):
                    await self.telegram.call("sendMessage", chat_id=chat, text=piece)
                beside.cancel_scope.cancel()
        except* Refused as refused:  # the bot was blocked, say
            log.warning("chat %s has no answer: %s", chat, refused.exceptions[0])

    async def reply_to(self, chat: int, text: str) -> str:
        """What the agent says, or that it failed."""
        try:
            return (await self.agent.run(text, conversation=f"telegram/{chat}")).output
        except AgentKitError:
            log.exception("chat %s: the agent failed", chat)
            return "I am sorry, something went wrong. Please ask again."

    async def serve(self) -> None:
        """Answer until a signal comes; then take no more messages, and answer those that came."""
        async with anyio.create_task_group() as answers:
            with anyio.CancelScope() as polling:
                await answers.start(stop_at_signal, polling)
                async for chat, text in self.telegram.messages():
                    answers.start_soon(self.answer, chat, text)
            answers.cancel_scope.deadline = anyio.current_time() + GRACE_S
            await self.telegram.call("getUpdates", offset=self.telegram.offset, timeout=0)
        if answers.cancel_scope.cancelled_caught:
            log.warning("some answers took longer than %s s, and were given up", GRACE_S)


async def stop_at_signal(polling: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    """End the polling at the first signal. The second ends the program."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        await anext(signals)
    polling.cancel()


def respond(request: Request) -> str:
    """What the scripted model says. It knows what was said in this chat, and in no other."""
    said = [message["content"] for message in request.messages if message["role"] == "user"]
    match said[-1]:
        case "What is my name?":
            return f"You are {said[0].split()[-1]}"
        case "How is tea made?":
            return "\n".join(["Pour hot water over the leaves, and wait for three minutes."] * 100)
        case _:
            return "Hello!"


WRITTEN = [(1, "I am Ann."), (2, "How is tea made?"), (1, "What is my name?")]
sent: list[tuple[int, str]] = []


async def stand_in(request: httpx.Request) -> httpx.Response:
    """Plays the platform. Three messages have come; when the bot asks for more, it is told to stop."""
    result: Any = True
    match request.url.path.rpartition("/")[2], json.loads(request.content):
        case "getUpdates", {"offset": 0}:
            messages = [{"chat": {"id": chat}, "text": text} for chat, text in WRITTEN]
            result = [{"update_id": number, "message": message} for number, message in enumerate(messages, 1)]
        case "getUpdates", {"timeout": wait_s} if wait_s:
            signal.raise_signal(signal.SIGTERM)
            await anyio.sleep(wait_s)
        case "sendMessage", {"chat_id": chat, "text": text}:
            sent.append((chat, text))
        case _:
            pass
    return httpx.Response(200, json={"ok": True, "result": result})


async def main() -> None:
    """Answer on Telegram, or to the stand-in."""
    token = os.environ.get("TELEGRAM_TOKEN")
    client = httpx.AsyncClient(
        base_url=f"https://api.telegram.org/bot{token}/",
        timeout=POLL_S + 10,
        transport=None if token else httpx.MockTransport(stand_in),
    )
    async with client, Conversations("sqlite:///bot.db" if token else "sqlite:///:memory:") as store:
        agent = Agent(os.environ.get("AGENTKIT_MODEL") or ScriptedModel(respond), store=store)
        await Bot(agent, Telegram(client)).serve()
    for chat, text in sorted(sent, key=lambda each: each[0]):
        print(f"to chat {chat}: {text[:40]!r} ({len(text)} characters)")


if __name__ == "__main__":
    anyio.run(main)
