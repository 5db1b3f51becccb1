"""What each endpoint does differently, as data.

What stands here was read off the endpoint's own documentation or its refusals; what a single model does differently is
not here, it is learnt from the endpoint's answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from agentkit.chat.settings import nearest
from agentkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

Echo: TypeAlias = Literal["always", "turn", "never", "id"]
"""Whether a field of a reply's message is sent back to the endpoint that it came from: always; until the next user
message; never; or as {"id": …} alone."""


@dataclass(slots=True, kw_only=True)
class Dialect:
    """How to speak to one kind of endpoint. Never changed; `dataclasses.replace` makes another.

    `base_url` is None where it must be given. `base_url_env` maps variables to the path that their value lacks.
    `key_header` is "authorization" (as a Bearer token) or the header that takes the bare key.
    `tools` is "json" where calls are made by way of `response_format`; `quoted` then holds text in the arguments to
    words of the question, for a model too small to copy them by itself.
    `max_tokens` is the one name that the endpoint takes, or "either".
    `include_usage` says whether a stream must be asked for its usage; `system_role` where instructions go;
    `developer` whether developer messages are taken (else they go as system messages); `strict` and
    `parallel_tool_calls` whether those fields are taken; `response_format` which types of it are. `schema_wins` says
    that where one holds the reply to JSON, no tool is called.
    `tool_call_id` is the pattern that the whole of a call's id must match, and the length of one made to fit.
    `unsupported` are the request fields that the endpoint refuses; they are left out. What it ignores is sent.
    `response_format:…` among them is one type of it. `schema_without` are keywords of JSON Schema that it refuses.
    `learnt` names what was taken away from the dialect since the endpoint refused it.
    `renamed` are request fields that go by another name. `echo` and `echo_default` are for the fields of a message, and
    of its tool calls, that Chat Completions does not know, and that aren't null.
    """

    name: str
    base_url: str | None = None
    base_url_env: Mapping[str, str] = field(default_factory=dict[str, str])
    key_env: tuple[str, ...] = ()
    key_required: bool = True
    key_header: str = "authorization"
    tools: Literal["native", "json"] = "native"
    quoted: bool = False
    max_tokens: Literal["max_tokens", "max_completion_tokens", "either"] = "max_tokens"
    include_usage: bool = True
    system_role: Literal["system", "developer"] = "system"
    developer: bool = False
    strict: bool = True
    parallel_tool_calls: bool = True
    response_format: frozenset[str] = frozenset({"json_schema", "json_object"})
    schema_wins: bool = False
    tool_call_id: tuple[str, int] | None = None
    unsupported: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    echo: Mapping[str, Echo] = field(default_factory=dict[str, Echo])
    echo_default: Echo = "always"
    schema_without: frozenset[str] = frozenset()
    learnt: tuple[str, ...] = ()

    def takes_format(self, kind: str) -> bool:
        """Whether a type of response_format is taken."""
        refused = {"response_format", f"response_format:{kind}"} & self.unsupported
        return kind in self.response_format and not refused

    def find_base_url(self, environ: Mapping[str, str]) -> str | None:
        """The address to speak to: from the environment given, else the dialect's own, else None."""
        for name, path in self.base_url_env.items():
            if value := environ.get(name, "").strip():
                return _complete(value, path, self.base_url)
        return self.base_url

    def find_key(self, environ: Mapping[str, str]) -> str | None:
        """The key in the environment given, if there is one."""
        return next((key for name in self.key_env if (key := environ.get(name, "").strip())), None)

    def key_headers(self, key: str) -> dict[str, str]:
        """The header that carries a key."""
        return {self.key_header: f"Bearer {key}" if self.key_header == "authorization" else key}

    def echoes(self, name: str) -> Echo:
        """What to do with a field of a message that came from this endpoint."""
        return self.echo.get(name, self.echo_default)


def _complete(value: str, path: str, default: str | None) -> str:
    """An address from a variable, which may be a bare host (OLLAMA_HOST) or lack the path."""
    from urllib.parse import urlsplit  # 3 ms, and not needed before an endpoint is

    if "://" not in value:
        value = f"http://{value}"
        parts = urlsplit(value)
        if parts.port is None and default is not None and urlsplit(default).port:
            value = f"http://{parts.netloc.rstrip(':')}:{urlsplit(default).port}{parts.path}"
    # A server listens on these two, but cannot be reached by them everywhere; an empty host is this machine.
    parts = urlsplit(value)
    host = "127.0.0.1" if parts.hostname in (None, "0.0.0.0", "::") else None  # noqa: S104
    if host is not None:
        value = parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()
    value = value.rstrip("/")
    return value if value.endswith(path) else value + path


# OpenAI's newer fields, which an endpoint that refuses unknown ones has never heard of.
_NEWER: Final = frozenset(
    {"audio", "metadata", "modalities", "prediction", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"}
    | {"service_tier", "store", "verbosity", "web_search_options"}
)
_OPENAI_ECHO: Final[Mapping[str, Echo]] = {"refusal": "always", "annotations": "never", "audio": "id"}

DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            name="openai",
            base_url="https://api.openai.com/v1",
            base_url_env={"OPENAI_BASE_URL": ""},
            key_env=("OPENAI_API_KEY",),
            max_tokens="max_completion_tokens",
            developer=True,
            # "string too long. Expected a string with maximum length 40" at messages[].tool_calls[].id
            tool_call_id=(r"[\s\S]{1,40}", 24),
            echo=_OPENAI_ECHO,
        ),
        Dialect(
            name="azure",
            base_url_env={"AZURE_OPENAI_BASE_URL": "", "AZURE_OPENAI_ENDPOINT": "/openai/v1"},
            key_env=("AZURE_OPENAI_API_KEY",),
            key_header="api-key",
            max_tokens="max_completion_tokens",
            developer=True,
            tool_call_id=(r"[\s\S]{1,40}", 24),
            echo=_OPENAI_ECHO,
        ),
        Dialect(
            name="tokenhub",
            base_url="https://us-api.tokenhub.com/v1",
            base_url_env={"TOKENHUB_BASE_URL": ""},
            key_env=("TOKENHUB_API_KEY",),
            max_tokens="either",
            echo={"reasoning_content": "always"},
        ),
        # In thinking mode a 400 if reasoning_content of an earlier message with calls is missing, in later turns too;
        # of messages without calls it is ignored. Source: api-docs.deepseek.com/guides/thinking_mode.
        Dialect(
            name="deepseek",
            base_url="https://api.deepseek.com/v1",
            base_url_env={"DEEPSEEK_BASE_URL": ""},
            key_env=("DEEPSEEK_API_KEY",),
            strict=False,
            parallel_tool_calls=False,
            response_format=frozenset({"json_object"}),
            echo={"reasoning_content": "always"},
        ),
        Dialect(
            name="openrouter",
            base_url="https://openrouter.ai/api/v1",
            base_url_env={"OPENROUTER_BASE_URL": ""},
            key_env=("OPENROUTER_API_KEY",),
            max_tokens="either",
            developer=True,
            echo={"reasoning_details": "always", "reasoning": "always", "refusal": "always", "annotations": "always"},
        ),
        # "property 'reasoning_content' is unsupported", and so for every field that it does not know.
        # Source: console.groq.com/docs/openai.
        Dialect(
            name="groq",
            base_url="https://api.groq.com/openai/v1",
            base_url_env={"GROQ_BASE_URL": ""},
            key_env=("GROQ_API_KEY",),
            max_tokens="either",
            unsupported=(_NEWER - {"service_tier"}) | {"logit_bias", "logprobs", "top_logprobs"},
            echo_default="never",
        ),
        # "Extra inputs are not permitted" for every unknown field, stream_options among them; usage comes unasked.
        Dialect(
            name="mistral",
            base_url="https://api.mistral.ai/v1",
            base_url_env={"MISTRAL_BASE_URL": ""},
            key_env=("MISTRAL_API_KEY",),
            include_usage=False,
            tool_call_id=(r"[a-zA-Z0-9]{9}", 9),
            unsupported=(_NEWER - {"metadata", "prediction"}) | {"logit_bias", "logprobs", "top_logprobs", "user"},
            renamed={"seed": "random_seed"},
            echo_default="never",
        ),
        # "Unknown name …: Cannot find field". extra_content has the thought signature; calls without it are refused.
        Dialect(
            name="gemini",
            base_url="https://generativelanguage.googleapis.com/v1beta/openai",
            base_url_env={"GEMINI_BASE_URL": ""},
            key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            strict=False,
            parallel_tool_calls=False,
            unsupported=(_NEWER - {"audio", "modalities"})
            | {"frequency_penalty", "presence_penalty", "seed", "logit_bias"},
            echo={"extra_content": "always"},
            echo_default="never",
        ),
        Dialect(
            name="xai",
            base_url="https://api.x.ai/v1",
            base_url_env={"XAI_BASE_URL": ""},
            key_env=("XAI_API_KEY",),
            max_tokens="either",
        ),
        Dialect(
            name="together",
            base_url="https://api.together.xyz/v1",
            base_url_env={"TOGETHER_BASE_URL": ""},
            key_env=("TOGETHER_API_KEY",),
            strict=False,
        ),
        Dialect(
            name="fireworks",
            base_url="https://api.fireworks.ai/inference/v1",
            base_url_env={"FIREWORKS_BASE_URL": ""},
            key_env=("FIREWORKS_API_KEY",),
            strict=False,
            echo={"reasoning_content": "always"},
        ),
        Dialect(
            name="ollama",
            base_url="http://localhost:11434/v1",
            base_url_env={"OLLAMA_BASE_URL": "/v1", "OLLAMA_HOST": "/v1"},
            key_env=("OLLAMA_API_KEY",),
            key_required=False,
            strict=False,
            parallel_tool_calls=False,
            echo={"reasoning": "always"},
        ),
        Dialect(
            name="lmstudio",
            base_url="http://localhost:1234/v1",
            base_url_env={"LMSTUDIO_BASE_URL": "/v1"},
            key_env=("LMSTUDIO_API_KEY", "LM_API_TOKEN"),
            key_required=False,
            strict=False,
            parallel_tool_calls=False,
            response_format=frozenset({"json_schema"}),
        ),
        Dialect(
            name="vllm",
            base_url="http://localhost:8000/v1",
            base_url_env={"VLLM_BASE_URL": "/v1"},
            key_env=("VLLM_API_KEY",),
            key_required=False,
            max_tokens="either",
            strict=False,
            echo={"reasoning": "always", "reasoning_content": "always"},
        ),
        Dialect(
            name="llamacpp",
            base_url="http://localhost:8080/v1",
            base_url_env={"LLAMACPP_BASE_URL": "/v1"},
            key_env=("LLAMA_API_KEY",),
            key_required=False,
            max_tokens="either",
            developer=True,
            strict=False,
            schema_wins=True,
            echo={"reasoning_content": "always"},
        ),
        Dialect(
            name="generic",
            base_url_env={"OPENAI_BASE_URL": ""},
            key_env=("OPENAI_API_KEY",),
            key_required=False,
            max_tokens="either",
        ),
    )
}

_AZURE_HOSTS: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


def split_model(name: str, *, has_base_url: bool) -> tuple[Dialect, str]:
    """The dialect and the model that a name like "openai:gpt-5-mini" stands for.

    A prefix counts only if it is a known one; without one, the whole is the model's name at the given base URL.
    Raises UsageError, which names the nearest prefix.
    """
    prefix, colon, model = name.partition(":")
    if colon and prefix in DIALECTS:
        if not model:
            raise UsageError(f"{name!r} names no model: write it after the colon, as in {prefix + ':some-model'!r}")
        return DIALECTS[prefix], model
    if has_base_url and name:
        return DIALECTS["generic"], name
    known = sorted({*DIALECTS, "local"} - {"generic"})
    if colon:
        near = nearest(prefix, known)
        what = f"unknown prefix {prefix!r} in {name!r}"
        hint = f"did you mean {near!r}?" if near else f"the known ones are {', '.join(known)}."
    else:
        what = f"model {name!r} names no endpoint"
        example = f"{name}:some-model" if name in known else f"openai:{name or 'some-model'}"
        hint = f"write both, as in {example!r}; the prefixes are {', '.join(known)}."
    raise UsageError(f"{what}: {hint} For an endpoint of your own give base_url, or set OPENAI_BASE_URL")


def dialect_of(base_url: str) -> Dialect:
    """The dialect of the endpoint at an address: a known one by its host, else the generic one."""
    from urllib.parse import urlsplit

    host = urlsplit(base_url).hostname or ""
    if host.endswith(_AZURE_HOSTS):
        return DIALECTS["azure"]
    # The local ones share a host, and any server may be behind its ports.
    known = (d for d in DIALECTS.values() if d.base_url and d.base_url.startswith("https:"))
    return next((d for d in known if urlsplit(d.base_url or "").hostname == host), DIALECTS["generic"])
