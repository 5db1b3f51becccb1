from __future__ import annotations

import json

import pytest

from agentkit.chat.faults import fault, fault_in_reply
from agentkit.chat.wording import CODES, WORDS, occurs
from agentkit.errors import (
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    ContextLengthError,
    EndpointError,
    NotFoundError,
    OverloadedError,
    QuotaError,
    RateLimitError,
    ServerError,
    TimedOut,
)


def answered(status: int, message: str) -> EndpointError:
    return fault(status, {}, json.dumps({"error": {"message": message}}).encode())


@pytest.mark.parametrize("kind", CODES)
def test_each_code_means_its_error(kind):
    for code in CODES[kind]:
        error = fault_in_reply({"message": "m", "code": code.upper()})
        assert type(error) is kind, code
        assert error.code == code.upper()


# Wordings as the endpoints write them, with whose they are.
WORDINGS = {
    ContextLengthError: """
        OpenAI: This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.
        vLLM: This model's maximum context length is 16384 tokens. However, you requested 122946 tokens.
        OpenRouter: This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens.
        OpenAI: Your input exceeds the context window of this model.
        Anthropic: input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000
        Groq: Please reduce the length of the messages or completion.
        llama.cpp: request (6030 tokens) exceeds the available context size (4096 tokens), try increasing it
        llama.cpp: Context size has been exceeded.
        Mistral: Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length
        Anthropic: prompt is too long: 213462 tokens > 200000 maximum
        Ollama: prompt too long; exceeded max context length by 5000 tokens
        Bedrock: Input is too long for requested model.
        xAI: This model's maximum prompt length is 131072 but the request contains 537812 tokens.
        Poolside: Input length 300000 exceeds the maximum allowed input length of 262144 tokens.
        LM Studio: The number of tokens to keep from the initial prompt is greater than the context length.
        MiniMax: invalid params, context window exceeds limit
        Kimi: Your request exceeded model token limit: 262144
        DashScope: Range of input length should be [1, 129024]
        any: context length exceeded
        vLLM: The decoder prompt (length 40000) is longer than the maximum model length of 32768.
        vLLM: max_tokens must be at least 1, got -186.
        Gemini: The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).
        Together: The input (150000 tokens) is longer than the model's context length (128000 tokens).
        Copilot: prompt token count of 130000 exceeds the limit of 128000
        TGI: `inputs` tokens + `max_new_tokens` must be <= 4096.
        Cohere: too many tokens: the total number of tokens in the prompt cannot exceed 4081""",
    ContentFilterError: """
        Azure: The response was filtered due to the prompt triggering Azure OpenAI's content management policy.
        OpenAI: Your request was rejected as a result of our safety system.
        OpenAI: your prompt was flagged as potentially violating our usage policy
        OpenRouter: openai/m requires moderation. Your input was flagged for "violence".
        xAI: Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO
        Anthropic: This request violates our usage policies.
        DashScope: Input data may contain inappropriate content.
        DeepSeek: Content Exists Risk
        Gemini: The response was blocked: prohibited content
        Portkey: violates the content policy
        LiteLLM: stopped by a content filter
        Zhipu: 系统检测到输入或生成内容可能包含不安全或敏感内容""",
    QuotaError: """
        OpenAI: You exceeded your current quota, please check your plan and billing details.
        DeepSeek: Insufficient Balance
        OpenRouter: Insufficient credits. Add more using the page of credits
        any: insufficient funds
        Anthropic: Your credit balance is too low to access the API.
        OpenRouter: This request requires more credits, or fewer max_tokens.
        any: You are out of credits
        xAI: Your team has used all available credits
        OpenAI: Billing hard limit has been reached
        xAI: or reached its monthly spending limit
        Kimi: Your account is suspended, please check your plan and billing details
        OpenRouter: Key limit exceeded (total limit).
        any: your quota has been exhausted
        Zhipu: 余额不足或无可用资源包""",
    AuthenticationError: """
        Gemini: API key not valid. Please pass a valid API key.
        Groq: Invalid API Key
        OpenAI: Incorrect API key provided
        Azure: Access denied due to invalid subscription key or wrong API endpoint.
        any: no api key given
        any: Missing API key
        OpenRouter: Missing Authentication header""",
    RateLimitError: """
        OpenAI: Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 30000, Requested 10.
        any: rate limit exceeded
        any: you are being rate limited
        any: Too Many Requests
        Bedrock: Too many tokens, please wait before trying again.
        AWS: ThrottlingException""",
    NotFoundError: """
        OpenAI: The model `x` does not exist or you do not have access to it.
        DeepSeek: Model Not Exist
        any: model not found
        Mistral: Invalid model: x
        any: no such model""",
    OverloadedError: """
        Anthropic: Overloaded
        Together: We are at capacity
        llama.cpp: Loading model
        Hugging Face: Model x is currently loading
        nginx: 503 Service Unavailable
        any: temporarily unavailable
        Envoy: no healthy upstream
        DeepSeek: the server is busy""",
    TimedOut: """
        Envoy: upstream request timeout
        vLLM: Request timed out.
        nginx: 504 Gateway Time-out
        Google: Deadline exceeded""",
    ServerError: """
        any: Internal Server Error
        OpenAI: The server had an error while processing your request. Sorry about that!
        any: upstream error
        nginx: 502 Bad Gateway
        any: connection reset by peer
        Envoy: upstream connect error or disconnect/reset before headers
        vLLM: CUDA error: an illegal memory access was encountered
        any: out of memory""",
    BadRequestError: """
        llama.cpp: Failed to parse tools: Expected 'tools' to be an array
        llama.cpp: Failed to parse messages: unsupported content
        llama.cpp: image input is not supported - hint: you may need to provide the mmproj
        any: unsupported value
        Mistral: Extra inputs are not permitted
        omlx: Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9
        any: invalid tool
        vLLM: jinja2.exceptions.TemplateError""",
}
LINES = [
    (kind, line.partition(": ")[2])
    for kind, text in WORDINGS.items()
    for line in text.strip().replace("        ", "").splitlines()
]


@pytest.mark.parametrize(("kind", "line"), LINES, ids=[line[:40] for _, line in LINES])
def test_each_wording_means_its_error(kind, line):
    assert type(answered(500 if kind is BadRequestError else 400, line)) is kind
    assert type(fault_in_reply({"message": line})) is kind


def test_each_wording_has_its_case():
    for kind, wording in WORDS.items():
        lines = [line.lower() for k, line in LINES if k is kind]
        for pieces in wording:
            assert any(occurs((pieces,), line) for line in lines), (kind, pieces)


def test_a_text_that_none_of_them_is():
    text = "the quick brown fox"
    assert not any(occurs(wording, text) for wording in WORDS.values())
    assert type(answered(400, text)) is BadRequestError
    assert type(answered(500, text)) is ServerError


def test_all_pieces_must_occur():
    assert occurs((("a", "b"),), "b a")
    assert not occurs((("a", "b"),), "a")
    assert not occurs((), "a")
