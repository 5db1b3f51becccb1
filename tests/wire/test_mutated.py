"""The wire cases with values swapped, left out and doubled: a reply or a named error, the same however it is cut."""

from __future__ import annotations

import copy
import json
import random

import pytest

from agentkit.errors import EndpointError
from agentkit.events import TextDelta
from agentkit.messages import calls_of
from tests.wire import replay
from tests.wire.test_one_call import CASES, comparable, cut, joined, read

ODD = [
    *(None, True, False, 0, 1, -1, 1.5, "", "x", "0", "{}", '{"a":1}', "error", "\ud800", "\x00", 10**30, float("nan")),
    *(
        [],
        {},
        [None],
        [{}],
        [[]],
        {"a": 1},
        {"index": 0},
        [{"index": 0, "type": "text", "text": "a"}],
        {"message": "m"},
    ),
]
NAMES = "content tool_calls index id error reasoning message usage function_call audio name arguments".split()


def places(document):
    """Each container in a document with each of its keys."""
    if isinstance(document, dict | list):
        for key in document if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from places(document[key])


def mutated(text, chance):
    try:
        document = json.loads(text)
    except ValueError:
        return text
    for _ in range(chance.randint(1, 3)):
        found = list(places(document))
        if not found:
            break
        holder, key = chance.choice(found)
        match chance.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(holder[key]))
            case 1:
                holder[chance.choice(NAMES)] = copy.deepcopy(holder[key])
            case _:
                holder[key] = copy.deepcopy(chance.choice(ODD))
    return json.dumps(document)


def body_of(case, chance):
    text = replay.body_bytes(case).decode("utf-8", "replace")
    if "data:" not in text:
        return mutated(text, chance).encode()
    events = []
    for event in text.split("\n\n"):
        if chance.random() < 0.5:
            field, colon, value = event.partition("data: ")
            event = field + colon + mutated(value, chance)  # noqa: PLW2901  # the event as it is sent
        events += [event] * chance.choice([0, 1, 1, 1, 1, 1, 1, 1, 1, 2])
    raw = "\n\n".join(events).encode()
    if chance.random() < 0.1:
        raw = raw.replace(chance.choice([b'"', b"{", b"\n", b":"]), bytes([chance.randrange(256)]), 1)
    return raw


@pytest.mark.sampled(8)
@pytest.mark.parametrize("seed", range(60))
def test_mutated(seed):
    chance = random.Random(seed)
    for case in CASES:
        raw = body_of(case, chance)
        head = case["status"], replay.headers_of(case)
        outcome, deltas = read(head, [raw])
        again, others = read(head, cut(raw, chance.sample(range(len(raw) + 1), min(len(raw), 5))))
        # NaN is equal to nothing, itself included
        assert repr(comparable(again)) == repr(comparable(outcome)), raw
        assert joined(others) == joined(deltas), raw
        if isinstance(outcome, EndpointError):
            continue
        ids = [call.id for call in outcome.tool_calls]
        assert all(ids) and len(set(ids)) == len(ids), raw
        assert all(len(calls_of(choice.message.data)) == len(choice.tool_calls) for choice in outcome.choices), raw
        first = outcome.choices[0].index
        text = "".join(d.text for d in deltas if isinstance(d, TextDelta) and d.choice == first)
        assert text == outcome.text, raw
