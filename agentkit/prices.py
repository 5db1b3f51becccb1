"""What requests cost.

Prices are in USD for a million tokens. Those of well-known endpoints come from genai-prices (the extra `prices`), which
ships its data and asks no network; any other is said where the model is made.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from agentkit._json import is_object
from agentkit.chat.settings import check_number
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agentkit.messages import Usage
    from agentkit.transcript import Entry

MILLION: Final = 1e6
LOCAL: Final = "local"
"""The source of the model that runs in this process."""
IMAGE_TOKENS: Final = 16_384
"""The most input tokens that an image takes with nearly all models. Source: Qwen-VL's default max_pixels; those of
OpenAI, Anthropic and Google take fewer."""
_SAME_S: Final = 900  # prices change on the half hour
_IMAGE_TOKENS: Final = {"gpt-4o-mini": 50_000}  # 2833 and 5667 for each of up to 8 tiles


class Price:
    """What a model costs, in USD for a million tokens. Never changed.

    Args:
        input_usd: Of tokens that are sent.
        output_usd: Of tokens that come back, those of reasoning too.
        cached_usd: Of sent tokens that the endpoint had in its cache; as `input_usd` without it.
        cache_write_usd: Of sent tokens that go into a cache, where that costs extra.
        audio_input_usd: Of tokens of sound that are sent; as other tokens without it.
        audio_output_usd: Of tokens of sound that come back.
        request_usd: Of each request, in USD.
        image_tokens: The most input tokens that one image can take, for the bound before a request.
        above: Prices that hold for the whole of a request with more input tokens than so many.

    Raises:
        UsageError: a price is no number of at least 0.
    """

    __slots__ = (
        "above",
        "audio_input_usd",
        "audio_output_usd",
        "cache_write_usd",
        "cached_usd",
        "image_tokens",
        "input_usd",
        "output_usd",
        "request_usd",
    )

    def __init__(
        self,
        input_usd: float,
        output_usd: float,
        cached_usd: float | None = None,
        *,
        cache_write_usd: float | None = None,
        audio_input_usd: float | None = None,
        audio_output_usd: float | None = None,
        request_usd: float = 0.0,
        image_tokens: int = IMAGE_TOKENS,
        above: Iterable[tuple[int, Price]] = (),
    ) -> None:
        self.input_usd = input_usd
        self.output_usd = output_usd
        self.cached_usd = cached_usd
        self.cache_write_usd = cache_write_usd
        self.audio_input_usd = audio_input_usd
        self.audio_output_usd = audio_output_usd
        self.request_usd = request_usd
        self.image_tokens = image_tokens
        self.above = tuple(sorted(above, key=_first))
        for name in ("input_usd", "output_usd", "request_usd", "image_tokens"):
            check_number(f"Price.{name}", getattr(self, name), low=0, whole=name == "image_tokens")
        for name in ("cached_usd", "cache_write_usd", "audio_input_usd", "audio_output_usd"):
            if (value := getattr(self, name)) is not None:
                check_number(f"Price.{name}", value, low=0)

    def at(self, tokens: int) -> Price:
        """The prices of a request with so many input tokens."""
        return next((price for more_than, price in reversed(self.above) if tokens > more_than), self)

    def most(self, tokens: int) -> tuple[float, float, float, float]:
        """The highest prices of a request with at most so many input tokens: of input, output, and sound both ways."""
        prices = [self, *(price for more_than, price in self.above if tokens > more_than)]
        inputs = max(max(p.input_usd, p.cached_usd or 0.0, p.cache_write_usd or 0.0) for p in prices)
        outputs = max(p.output_usd for p in prices)
        heard = max(inputs, *(p.audio_input_usd or 0.0 for p in prices))
        said = max(outputs, *(p.audio_output_usd or 0.0 for p in prices))
        return inputs, outputs, heard, said

    def _key(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__slots__])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Price) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        more = {n: v for n in self.__slots__ if (v := getattr(self, n)) not in (None, (), 0.0, IMAGE_TOKENS)}
        given = "".join(f", {n}={v!r}" for n, v in more.items() if n not in ("input_usd", "output_usd"))
        return f"Price({self.input_usd!r}, {self.output_usd!r}{given})"


def _first(pair: tuple[int, Price]) -> int:
    return pair[0]


def price_of(
    model: str | None, base_url: str | None, *, at: float | None = None, service_tier: str | None = None
) -> Price | None:
    """The list price of a model at an endpoint, or None if it is not known, or genai-prices not installed.

    It goes by the address that is asked, so that a gateway has no known price. `at` is Unix time, for prices that
    change with the date or the hour; `service_tier` the one of the request.
    """
    if base_url == LOCAL:
        return Price(0, 0)
    if not model or not base_url or find_spec("genai_prices") is None:
        return None
    from datetime import UTC, datetime

    import genai_prices  # 0.2 s, and who counts no money needs none of it

    when = None if at is None else datetime.fromtimestamp(at, UTC)
    context = None if service_tier is None else {"service_tier": service_tier}
    try:
        listed: Any = genai_prices.calc_price(
            genai_prices.Usage(),
            model,
            provider_api_url=base_url,
            genai_request_timestamp=when,
            price_context=context,
        ).model_price
    except LookupError:
        return None
    return _listed(listed, next((n for name, n in _IMAGE_TOKENS.items() if name in model), IMAGE_TOKENS))


def _listed(listed: Any, image_tokens: int) -> Price | None:
    """The Price in genai-prices' own form; None for a model that is not paid by the token."""
    if listed.input_mtok is None or listed.output_mtok is None:
        return None
    names = {
        "input_usd": listed.input_mtok,
        "output_usd": listed.output_mtok,
        "cached_usd": listed.cache_read_mtok,
        "cache_write_usd": listed.cache_write_mtok,
        "audio_input_usd": listed.input_audio_mtok,
        "audio_output_usd": listed.output_audio_mtok,
    }
    each = float(getattr(listed.requests_kcount, "base", listed.requests_kcount) or 0) / 1000
    starts = {tier.start for value in names.values() for tier in getattr(value, "tiers", ())}
    above: list[tuple[int, Price]] = []
    for start in (*sorted(starts), -1):
        values: dict[str, Any] = {name: _at(value, start) for name, value in names.items()}
        price = Price(**values, request_usd=each, image_tokens=image_tokens, above=() if start >= 0 else above)
        if start < 0:
            return price
        above.append((start, price))
    return None


def _at(value: Any, start: int) -> float | None:
    """A price in the tier that begins at `start`; -1 is before all tiers."""
    if value is None:
        return None
    tiers = [tier.price for tier in getattr(value, "tiers", ()) if tier.start <= start]
    return float(tiers[-1] if tiers else getattr(value, "base", value))


def unknown_price(model: str, base_url: str) -> UsageError:
    """The error for a limit in money and a model without a price."""
    remedy = "say it where the model is made: ChatModel(…, price=Price(input_usd, output_usd)), per million tokens"
    if find_spec("genai_prices") is None:
        remedy += "; or `pip install 'agentkit[prices]'` for the prices of well-known endpoints"
    return UsageError(f"a limit in USD needs the price of {model} at {base_url}, which is not known: {remedy}")


def cost_of(usage: Usage, price: Price) -> float:
    """What a reply cost, in USD.

    Reasoning counts as output; endpoints that leave it out of completion_tokens (xAI, Google) have it in total_tokens.
    """
    price = price.at(usage.prompt_tokens)
    cached, written, heard = usage.cached_tokens, 0, 0
    if price.cache_write_usd is not None:
        written = cache_written(usage)
    if price.audio_input_usd is not None:
        heard = usage.prompt_audio_tokens
    output = max(usage.completion_tokens, usage.total_tokens - max(usage.prompt_tokens, cached + written))
    said = min(usage.completion_audio_tokens, output) if price.audio_output_usd is not None else 0
    millionths = (
        max(usage.prompt_tokens - cached - written - heard, 0) * price.input_usd
        + cached * (price.input_usd if price.cached_usd is None else price.cached_usd)
        + written * (price.cache_write_usd or 0.0)
        + heard * (price.audio_input_usd or 0.0)
        + (output - said) * price.output_usd
        + said * (price.audio_output_usd or 0.0)
    )
    return millionths / MILLION + price.request_usd


def cache_written(usage: Usage) -> int:
    """The tokens that went into a cache, by the names that endpoints give them."""
    details = usage.extra.get("prompt_tokens_details")
    for fields in (usage.extra, details if is_object(details) else {}):
        for name in ("cache_creation_input_tokens", "cache_write_tokens", "cache_creation_tokens"):
            if isinstance(count := fields.get(name), int) and count > 0:
                return count
    return 0


def cost_of_entries(entries: Iterable[Entry]) -> float | None:
    """What the replies among the entries cost, those of sub-agents included, in USD; None if a price is not known.

    A cost that was recorded counts as it is; any other is computed from the usage at the list price of its day.
    """
    costs = [cost for _, cost in _costs(entries)]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def unpriced(entries: Iterable[Entry]) -> set[str]:
    """The models for whose replies no cost can be told: no price is known, or the endpoint gave no usage."""
    return {_name(entry) for entry, cost in _costs(entries) if cost is None}


def spent_on(entries: Iterable[Entry]) -> tuple[float, set[str]]:
    """What requests to endpoints have cost, and the models of which that is not known."""
    asked = [(entry, cost) for entry, cost in _costs(entries) if entry.source is not None or cost is not None]
    return sum(cost or 0.0 for _, cost in asked), {_name(entry) for entry, cost in asked if cost is None}


def _name(entry: Entry) -> str:
    return entry.model or "a model without a name"


def _costs(entries: Iterable[Entry]) -> Iterator[tuple[Entry, float | None]]:
    """Each reply, the summaries among them, and its cost."""
    prices: dict[tuple[str | None, str | None, float], Price | None] = {}
    for entry in entries:
        for record in entry.calls:
            if (inner := record.transcript) is not None:
                yield from _costs(inner.entries)
        if entry.author != "model" and not entry.covers:
            continue
        cost = entry.cost
        if cost is None and entry.usage is not None:
            key = entry.model, entry.source, entry.at // _SAME_S
            if key not in prices:
                prices[key] = price_of(entry.model, entry.source, at=entry.at or None)
            price = prices[key]
            cost = None if price is None else cost_of(entry.usage, price)
        yield entry, cost


def dollars(usd: float) -> str:
    """An amount as it is told: cents at least, and as many places as say something."""
    text = f"{usd:.6f}".rstrip("0")
    whole, _, places = text.partition(".")
    return f"${whole}.{places.ljust(2, '0')}" if float(text) or not usd else f"${usd:.2g}"
