"""Answers that are heard and played again: in the same pieces."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from itertools import chain
from pathlib import Path

from agentkit import ChatModel
from agentkit.events import TextDelta
from agentkit.testing import FakeEndpoint, drip, record, replay, say
from agentkit.testing.script import Item, Pause, Request, Response
from agentkit.testing.tape import Cassette


class Noted(threading.Event):
    """Set while the tape has so many pieces of its first answer."""

    def __init__(self, tape: Cassette, count: int) -> None:
        super().__init__()
        self.tape, self.count = tape, count

    def is_set(self) -> bool:
        return len(self.tape.exchanges[0].pieces) == self.count


def one_at_a_time(item: Item, tape: Cassette) -> Item:
    """The same answer, each piece of it sent when the tape has those before: two that came would be read as one."""

    def respond(request: Request) -> Response:
        answer = item.respond(request)
        pieces = [piece for piece in answer.body if isinstance(piece, bytes)]
        waits = (Pause(until=Noted(tape, count)) for count in range(len(pieces)))
        return replace(answer, body=[*chain.from_iterable(zip(waits, pieces, strict=True))])

    return Item(item.label, respond)


def test_a_stream_is_kept_piece_by_piece_with_its_times(tmp_path: Path) -> None:
    path = tmp_path / "cassette.json"
    dripped = drip(say(["Grüße", ", ", "Ada"]), 0, size=7)
    with record(path) as tape, FakeEndpoint([one_at_a_time(dripped, tape)], api_key=None) as fake:
        model = ChatModel("any-model", base_url=fake.base_url)
        with model.stream_sync("x") as stream:
            before = [event.text for event in stream if isinstance(event, TextDelta)]
    (answer,) = (each["response"] for each in json.loads(path.read_text("utf-8"))["exchanges"])
    times = [at for at, _ in answer["chunks"]]
    assert len(times) > 20
    assert times == sorted(times)
    with replay(path) as tape, model.stream_sync("x") as stream:
        after = [event.text for event in stream if isinstance(event, TextDelta)]
    assert before == after == ["Grüße", ", ", "Ada"]
    pieces = [piece for _, piece in tape.exchanges[0].pieces]
    assert pieces[0] == b"data: {"
    assert max(map(len, pieces)) == 7
