"""The endpoints that agentkit knows by name, and the models that one of them has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from agentkit._http import HttpRequest, SyncHttp
from agentkit._json import is_array, is_object, loads
from agentkit.calling import LoopThread
from agentkit.chat.dialects import DIALECTS
from agentkit.chat.faults import fault
from agentkit.chat.settings import nearest
from agentkit.cli.console import for_tables, say
from agentkit.endpoint import Endpoint
from agentkit.errors import ProtocolError, UsageError
from agentkit.plain import plain
from agentkit.policy import Timeouts

if TYPE_CHECKING:
    from agentkit.chat.dialects import Dialect

_PATH = "/chat/completions"


def print_endpoints() -> None:
    """A table of the prefixes: address, the variables that hold the key, and whether one is set."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("prefix", "address", "key"):
        table.add_column(name, overflow="fold")
    table.add_row(Text("local", "bold"), Text("this process"), Text("needs none", "dim"))
    for dialect in DIALECTS.values():
        if dialect.name != "generic":
            table.add_row(Text(dialect.name, "bold"), _address(dialect), _key(dialect))
    for_tables().print(table)
    say("For any other endpoint set OPENAI_BASE_URL and give the model's bare name.")


def _address(dialect: Dialect) -> Text:
    url = dialect.find_base_url(os.environ)
    if url is None:
        return Text(f"set {' or '.join(dialect.base_url_env)}", "dim")
    shown = Text(plain(Endpoint(url, dialect).source))
    return shown if url == dialect.base_url else shown.append(" (from the environment)", "dim")


def _key(dialect: Dialect) -> Text:
    if found := [name for name in dialect.key_env if os.environ.get(name, "").strip()]:
        return Text(f"{found[0]} is set", "green")
    names = " or ".join(dialect.key_env)
    return Text(f"{names} is not set", "red") if dialect.key_required else Text(f"{names}, if it wants one", "dim")


def prefixes() -> list[str]:
    """The prefixes that a model's name may have."""
    return sorted({*DIALECTS, "local"} - {"generic"})


def endpoint_of(prefix: str) -> Endpoint:
    """The endpoint of a prefix, or of a base URL. Raises UsageError."""
    prefix = prefix.removesuffix(":")
    if "://" in prefix:
        return Endpoint(prefix, DIALECTS["generic"])
    dialect = DIALECTS.get(prefix)
    if dialect is None:
        known = prefixes()
        near = nearest(prefix, known)
        hint = f"did you mean {near!r}?" if near else f"the known ones are {', '.join(known)}, or give a base URL"
        raise UsageError(f"there is no prefix {prefix!r}: {hint}")
    url = dialect.find_base_url(os.environ)
    if url is None:
        raise UsageError(f"{prefix} has no address of its own: set {' or '.join(dialect.base_url_env)}")
    return Endpoint(url, dialect)


def models_of(endpoint: Endpoint) -> list[str]:
    """The names of the models that an endpoint says it has. Raises EndpointError."""
    loop = LoopThread()
    try:
        address = endpoint.address_sync(loop)
    finally:
        loop.close()
    url = f"{address.url.removesuffix(_PATH)}/models"
    http = SyncHttp()
    try:
        request = HttpRequest(url, address.plain, b"", "GET")
        with http.open(request, Timeouts(first_byte_s=30, read_s=30, total_s=60)) as response:
            status, headers = response.status, response.headers
            body = b"".join(response.pieces())
    finally:
        http.close()
    if status != 200:
        raise fault(status, headers, body)
    return sorted(_names(body, endpoint.source))


def _names(body: bytes, source: str) -> list[str]:
    try:
        value: Any = loads(body)
    except ValueError:
        value = None
    listed = value.get("data", value.get("models")) if is_object(value) else value
    if not is_array(listed):
        raise ProtocolError(f"{source} gave no list of models at /models")
    found = [entry.get("id") or entry.get("name") for entry in listed if is_object(entry)]
    return [name for name in found if isinstance(name, str)]
