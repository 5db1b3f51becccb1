"""The most that a request can cost, before it is sent.

A tokenizer on bytes makes no token of less than a byte, so that the length of a body bounds its tokens. What it does
not bound is what the endpoint adds by itself (searches, files by their id, or compressed), and an answer without limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_array, is_object, loads
from agentkit.prices import MILLION, cache_written, dollars

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agentkit.chat.request import Body
    from agentkit.messages import Usage
    from agentkit.prices import Price

ADDED_TOKENS: Final = 512
"""What an endpoint may put before a conversation of its own, beyond what the JSON around it takes in bytes.
Source: the system prompts that Anthropic lists for tool use, of up to 530 tokens."""
AUDIO_BYTES_A_TOKEN: Final = 16
"""A token of sound is at least so many characters of base64: 32 tokens a second (Google) at 6 kbit/s are 31 of them."""


class Most:
    """The most that a request can cost, in USD, and what it is made of.

    `output_tokens` is None where nothing bounds the answer; then `usd` is that of the input alone.
    """

    __slots__ = ("input_tokens", "output_tokens", "usd")

    def __init__(self, usd: float, input_tokens: int, output_tokens: int | None) -> None:
        self.usd = usd
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens

    def __str__(self) -> str:
        answer = "its answer not counted: no max_tokens bounds it"
        if self.output_tokens is not None:
            answer = f"{self.output_tokens} of output"
        return f"up to {dollars(self.usd)} ({self.input_tokens} tokens of input, {answer})"


def most_of(body: Body, price: Price, known: tuple[Body, Usage] | None = None) -> Most:
    """The most that a request can cost.

    No byte is more than a token, so that the length of the body bounds its tokens. `known` is an earlier request of the
    conversation with the usage that its reply told: what was sent then takes no more tokens than that, and only the
    bytes that are new count. Images and sound count by what models take for them, not by their bytes.
    """
    new, told = None, ADDED_TOKENS
    if known is not None and body.fields.get("model") == known[0].fields.get("model"):
        new = body.since(known[0])
        told = input_most(known[1]) if new is not None else told
    tokens, heard, images = _sent(*(new or body.since() or (b"", b"")))
    tokens += told + images * price.image_tokens
    input_usd, output_usd, heard_usd, said_usd = price.most(tokens + heard)
    usd = price.request_usd + (tokens * input_usd + heard * heard_usd) / MILLION
    output = output_most(body.fields)
    if output is not None:
        usd += output * (said_usd if "audio" in (body.fields.get("modalities") or ()) else output_usd) / MILLION
    return Most(usd, tokens + heard, output)


def input_most(usage: Usage) -> int:
    """The tokens that a request took, told by an endpoint that may leave out what its cache had or took."""
    beside = usage.cached_tokens + cache_written(usage) if "cache_read_input_tokens" in usage.extra else 0
    return usage.prompt_tokens + usage.completion_audio_tokens + beside


def output_most(fields: Mapping[str, Any]) -> int | None:
    """The most tokens that the answers to a request with these fields may have, all together; None without a bound."""
    counts = [value for name in ("max_completion_tokens", "max_tokens") if (value := fields.get(name)) is not None]
    n = fields.get("n") or 1
    if not counts or not all(type(count) is int for count in (*counts, n)):
        return None
    return int(max(counts)) * int(n)


def _sent(head: bytes, messages: bytes) -> tuple[int, int, int]:
    """The most tokens in these pieces of a body: of text, of sound; and how many images there are."""
    tokens, heard, images = len(head) + len(messages), 0, 0
    if b'"image_url"' not in messages and b'"input_audio"' not in messages:
        return tokens, 0, 0
    for part in _parts(loads(b"[" + messages.strip(b",") + b"]")):
        if (image := part.get("image_url")) is not None:
            images += 1
            url = image.get("url") if is_object(image) else image
            tokens -= len(url) if isinstance(url, str) and url.startswith("data:") else 0
        elif is_object(sound := part.get("input_audio")) and isinstance(data := sound.get("data"), str):
            heard += len(data) // AUDIO_BYTES_A_TOKEN + 1
            tokens -= len(data)
    return tokens, heard, images


def _parts(messages: list[Any]) -> Iterator[dict[str, Any]]:
    for message in messages:
        content: Any = message.get("content") if is_object(message) else None
        for part in content if is_array(content) else ():
            if is_object(part):
                yield part
