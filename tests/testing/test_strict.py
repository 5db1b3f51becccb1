"""What the strictest endpoint refuses, and that it takes all that is right."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.testing.strict import parse, refusals

USER = {"role": "user", "content": "hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": SCHEMA}}


def request(*messages, **fields):
    return copy.deepcopy({"model": "m", "messages": list(messages) or [USER], **fields})


def calling(**changes):
    return {**CALLING, "tool_calls": [{**CALL, **changes}]}


def function(**changes):
    return calling(function={**CALL["function"], **changes})


def tool(**changes):
    return {"type": "function", "function": {**TOOL["function"], **changes}}


def schema(inner, *, strict=False, **root):
    parameters = {**SCHEMA, "properties": {"a": inner}, **root}
    return request(tools=[tool(parameters=parameters, strict=strict)])


def part(kind, inner):
    return request({"role": "user", "content": [{"type": kind, kind: inner}]})


def output(described):
    return request(response_format={"type": "json_schema", "json_schema": described})


RIGHT = {
    "plain": request(),
    "every role": request(
        {"role": "system", "content": "s"}, {"role": "developer", "content": [{"type": "text", "text": "d"}]}, USER
    ),
    "a round trip": request(USER, CALLING, RESULT, {"role": "assistant", "content": "3"}, USER),
    "two calls, answered in another order": request(
        USER, {**CALLING, "tool_calls": [CALL, {**CALL, "id": "b"}]}, {**RESULT, "tool_call_id": "b"}, RESULT
    ),
    "a refusal": request(USER, {"role": "assistant", "content": None, "refusal": "no"}, USER),
    "reasoning sent back": request(USER, {**CALLING, "reasoning_content": "hm", "reasoning_details": []}, RESULT),
    "parts": request(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "t"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f"}},
            ],
        }
    ),
    "tools": request(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "add"}}),
    "a strict tool": request(tools=[tool(strict=True)], tool_choice="required", parallel_tool_calls=False),
    "a tool without parameters": request(tools=[{"type": "function", "function": {"name": "ping"}}]),
    "references": schema({"$ref": "#/$defs/A~1b"}, strict=True, **{"$defs": {"A/b": {"type": "string"}}}),
    "a schema of all": schema({"anyOf": [{"type": "array", "items": {}}, True, {"enum": [1]}], "default": None}),
    "extra properties": schema({"type": "string"}, additionalProperties={"type": "string"}),
    "every field": request(
        temperature=0, top_p=1.0, n=1, stream=True, stream_options={"include_usage": True}, stop=["a"], max_tokens=1,
        presence_penalty=-2, frequency_penalty=2, logit_bias={"1": 1}, user="u", seed=-1, reasoning_effort="low",
        modalities=["text"], audio={"voice": "v", "format": "wav"}, response_format={"type": "text"},
    ),
    "json_object": request({"role": "user", "content": "as JSON"}, response_format={"type": "json_object"}),
    "json_schema": output({"name": "a", "schema": SCHEMA, "strict": True}),
    "json_schema of any root": output({"name": "a", "schema": {"anyOf": [SCHEMA]}}),
}  # fmt: skip

WRONG = {
    "no object": ([], "Invalid type for 'body'"),
    "no model": ({"messages": [USER]}, "must provide a model"),
    "no messages": ({"model": "m"}, "Missing required parameter: 'messages'"),
    "empty messages": ({"model": "m", "messages": []}, "Invalid 'messages': empty array"),
    "unknown field": (request(top_k=1), "Unrecognized request argument supplied: top_k"),
    "null field": (request(seed=None), "Invalid type for 'seed': expected an integer, but got null instead"),
    "stream as text": (request(stream="true"), "Invalid type for 'stream': expected a boolean, but got a string"),
    "temperature": (request(temperature=2.5), "decimal above maximum value. Expected a value <= 2, but got 2.5"),
    "penalty": (request(presence_penalty=-3), "decimal below minimum value. Expected a value >= -2, but got -3"),
    "n": (request(n=0), "integer below minimum value"),
    "n as bool": (request(n=True), "Invalid type for 'n': expected an integer, but got a boolean"),
    "max_tokens as decimal": (request(max_tokens=1.5), "expected an integer, but got a decimal"),
    "both limits": (request(max_tokens=1, max_completion_tokens=1), "at the same time is not supported"),
    "stream_options alone": (request(stream_options={}), "only allowed when 'stream' is enabled"),
    "top_logprobs alone": (request(top_logprobs=1), "'logprobs' parameter must be enabled"),
    "message no object": (request("hi"), "Invalid type for 'messages[0]': expected an object, but got a string"),
    "role": (request({"role": "bot", "content": ""}), "Invalid value: 'bot'. Supported values are: 'system'"),
    "no role": (request({"content": ""}), "Missing required parameter: 'messages[0].role'"),
    "content null": (request({"role": "user", "content": None}), "expected a string, got null"),
    "content missing": (request({"role": "assistant"}), "expected a string, got null"),
    "content number": (
        request({"role": "user", "content": 1}),
        "one of a string or array of objects, but got an integer",
    ),
    "content empty list": (request({"role": "user", "content": []}), "Invalid 'messages[0].content': empty array"),
    "name": (request({**USER, "name": "a b"}), "Invalid 'messages[0].name'"),
    "call not answered": (request(USER, CALLING, USER), "did not have response messages: call_1"),
    "call not answered at the end": (request(USER, CALLING), "did not have response messages: call_1"),
    "answered later": (request(USER, CALLING, USER, RESULT), "did not have response messages: call_1"),
    "orphan": (request(USER, RESULT), "must be a response to a preceeding message with 'tool_calls'"),
    "answered twice": (request(USER, CALLING, RESULT, RESULT), "must be a response to a preceeding message"),
    "no tool_call_id": (request(USER, CALLING, {"role": "tool", "content": ""}), "'messages[2].tool_call_id'"),
    "tool_call_id number": (request(USER, CALLING, {**RESULT, "tool_call_id": 1}), "expected a string, but got an int"),
    "image in a result": (
        request(USER, CALLING, {**RESULT, "content": [{"type": "image_url", "image_url": {"url": "https://a"}}]}),
        "Invalid value: 'image_url'. Supported values are: 'text'",
    ),
    "id twice in a message": (
        request(USER, {**CALLING, "tool_calls": [CALL, CALL]}, RESULT, RESULT),
        "Duplicate value",
    ),
    "id again later": (
        request(USER, CALLING, RESULT, CALLING, RESULT),
        "Duplicate value for 'tool_call_id' of 'call_1'",
    ),
    "id null": (request(USER, calling(id=None)), "Missing required parameter: 'messages[1].tool_calls[0].id'"),
    "id empty": (request(USER, calling(id="")), "Invalid 'messages[1].tool_calls[0].id': empty string"),
    "id number": (
        request(USER, calling(id=1)),
        "'messages[1].tool_calls[0].id': expected a string, but got an integer",
    ),
    "call type": (request(USER, calling(type=None), RESULT), "Supported values are: 'function'"),
    "no function": (request(USER, calling(function=None), RESULT), "'messages[1].tool_calls[0].function'"),
    "call no object": (request(USER, {**CALLING, "tool_calls": [1]}), "expected an object, but got an integer"),
    "tool_calls empty": (request(USER, {**CALLING, "content": "", "tool_calls": []}), "tool_calls': empty array"),
    "tool_calls null": (request(USER, {**CALLING, "content": "", "tool_calls": None}), "but got null instead"),
    "call name": (request(USER, function(name="a b"), RESULT), "string does not match pattern"),
    "call name too long": (
        request(USER, function(name="a" * 65), RESULT),
        "maximum length 64, but got a string with leng",
    ),
    "call name missing": (request(USER, function(name=None), RESULT), "Missing required parameter"),
    "call name number": (request(USER, function(name=7), RESULT), "expected a string, but got an integer"),
    "arguments object": (request(USER, function(arguments={}), RESULT), "expected a string, but got an object instead"),
    "arguments missing": (request(USER, function(arguments=None), RESULT), "Missing required parameter"),
    "arguments empty": (request(USER, function(arguments=""), RESULT), "a string that holds a JSON object"),
    "arguments array": (request(USER, function(arguments="[]"), RESULT), "a string that holds a JSON object"),
    "arguments NaN": (request(USER, function(arguments='{"a": NaN}'), RESULT), "a string that holds a JSON object"),
    "arguments deep": (request(USER, function(arguments="[" * 100_000), RESULT), "a string that holds a JSON object"),
    "part type": (part("video", {}), "Invalid value: 'video'"),
    "part no object": (request({"role": "user", "content": ["hi"]}), "expected an object, but got a string"),
    "text part": (part("text", 1), "'messages[0].content[0].text': expected a string, but got an integer"),
    "text part missing": (part("text", None), "Missing required parameter: 'messages[0].content[0].text'"),
    "image as text": (part("image_url", "https://a"), "image_url': expected an object, but got a string"),
    "image missing": (part("image_url", None), "Missing required parameter"),
    "image path": (part("image_url", {"url": "a.png"}), "Expected a valid URL"),
    "audio format": (part("input_audio", {"data": "", "format": "flac"}), "Supported values are: 'wav', 'mp3'"),
    "file": (part("file", {}), "Missing required parameter: 'messages[0].content[0].file.file_id'"),
    "tools empty": (request(tools=[]), "Invalid 'tools': empty array"),
    "tools many": (request(tools=[tool(name=f"t{i}") for i in range(129)]), "maximum length 128"),
    "tool no object": (request(tools=["add"]), "Invalid type for 'tools[0]'"),
    "tool type": (request(tools=[{**TOOL, "type": "x"}]), "Invalid value: 'x'"),
    "tool without function": (request(tools=[{"type": "function"}]), "Missing required parameter: 'tools[0].function'"),
    "tool name": (request(tools=[tool(name="a.b")]), "Invalid 'tools[0].function.name': string does not match pattern"),
    "tool name twice": (request(tools=[TOOL, TOOL]), "tool names must be unique, 'add' is used twice"),
    "tool field": (request(tools=[tool(timeout_s=1)]), "Unknown parameter: 'tools[0].function.timeout_s'"),
    "tool strict": (request(tools=[tool(strict=1)]), "expected a boolean, but got an integer"),
    "tool description": (request(tools=[tool(description=None)]), "expected a string, but got null"),
    "tool description long": (request(tools=[tool(description="a" * 1025)]), "maximum length 1024"),
    "tool_choice without tools": (request(tool_choice="auto"), "'tool_choice' is only allowed when 'tools'"),
    "parallel without tools": (request(parallel_tool_calls=True), "'parallel_tool_calls' is only allowed when"),
    "tool_choice word": (request(tools=[TOOL], tool_choice="add"), "Supported values are: 'none', 'auto', 'required'"),
    "tool_choice type": (request(tools=[TOOL], tool_choice={"type": "x"}), "Invalid value: 'x'"),
    "tool_choice no name": (request(tools=[TOOL], tool_choice={"type": "function"}), "tool_choice.function.name"),
    "tool_choice unknown": (
        request(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "sub"}}),
        "Tool choice 'sub' not found",
    ),
    "response_format": (request(response_format={"type": "xml"}), "Invalid value: 'xml'"),
    "json_object unsaid": (request(response_format={"type": "json_object"}), "must contain the word 'json'"),
    "json_schema missing": (output(None), "Missing required parameter: 'response_format.json_schema'"),
    "json_schema name": (output({"name": "a b", "schema": SCHEMA}), "response_format.json_schema.name"),
    "json_schema strict root": (output({"name": "a", "schema": {"anyOf": []}, "strict": True}), "got 'type: \"None\"'"),
    "json_schema wrong": (output({"name": "a", "schema": {"anyOf": []}}), "Invalid schema for response_format 'a'"),
    "schema no object": (request(tools=[tool(parameters=None)]), "None is not of type 'object'"),
    "schema root": (request(tools=[tool(parameters={})]), "schema must be a JSON Schema of 'type: \"object\"'"),
    "schema type": (schema({"type": "str"}), "In context=('properties', 'a'), 'str' is not valid"),
    "schema array": (schema({"type": "array"}), "array schema missing items"),
    "schema nested": (schema({"items": {"anyOf": [{"type": "x"}]}}), "('properties', 'a', 'items', 'anyOf', '0'), 'x'"),
    "schema inner": (schema("string"), "In context=('properties', 'a'), 'string' is not of type 'object', 'boolean'"),
    "schema properties": (request(tools=[tool(parameters={**SCHEMA, "properties": []})]), "[] is not of type 'object'"),
    "schema required": (schema({}, required="a"), "'a' is not of type 'array' of strings in 'required'"),
    "schema required twice": (schema({}, required=["a", "a"]), "has non-unique elements"),
    "schema enum": (schema({"enum": []}), "[] is not a non-empty array in 'enum'"),
    "schema ref": (schema({"$ref": "#/$defs/A"}), "reference to component '#/$defs/A' which was not found"),
    "schema ref through text": (schema({"$ref": "#/type/x"}), "which was not found"),
    "schema ref outside": (schema({"$ref": "https://a/b"}), "which was not found"),
    "schema title": (schema({"title": 1}), "1 is not of type 'string' in 'title'"),
    "strict: additional": (schema({"type": "object"}, strict=True), "'additionalProperties' is required"),
    "strict: optional": (schema({"type": "string"}, strict=True, required=[]), "Missing 'a'"),
    "strict: extra": (schema({"type": "string"}, strict=True, required=["a", "b"]), "Extra required key 'b'"),
    "strict: default": (schema({"type": "string", "default": ""}, strict=True), "'default' is not permitted"),
    "strict: oneOf": (schema({"oneOf": [{"type": "string"}]}, strict=True), "'oneOf' is not permitted"),
    "strict: no type": (schema({}, strict=True), "schema must have a 'type' key"),
    "strict: bool": (schema(True, strict=True), "True is not of type 'object', 'boolean'"),
    "strict: format": (schema({"type": "string", "format": "path"}, strict=True), "'path' is not a valid format"),
    "strict: ref": (
        schema({"$ref": "#/$defs/A", "description": "d"}, strict=True, **{"$defs": {"A": {"type": "string"}}}),
        "$ref cannot have keywords ['description']",
    ),
}


@pytest.mark.parametrize("body", RIGHT.values(), ids=RIGHT)
def test_right(body):
    assert list(refusals(body)) == []


@pytest.mark.parametrize(("body", "words"), WRONG.values(), ids=WRONG)
def test_wrong(body, words):
    assert words in next(refusals(body)).message


def test_extra_fields():
    assert list(refusals(request(top_k=1), extra_fields=["top_k"])) == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def _places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _places(each, (*path, key))


@given(st.sampled_from(list(RIGHT.values())), st.data(), VALUES)
def test_no_body_makes_it_fail(body, data, value):
    body = copy.deepcopy(body)
    *path, last = data.draw(st.sampled_from([place for place in _places(body) if place]))
    inner = body
    for key in path:
        inner = inner[key]
    inner[last] = value
    next(refusals(body), None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "Expecting value"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": "\xff"}', "utf-8"),
        (rb'{"a": "\ud83d"}', "surrogates"),
        (rb'{"\uDC00": 1}', "surrogates"),
    ],
)
def test_what_is_no_json(text, words):
    with pytest.raises(ValueError, match=words):
        parse(text)


@given(VALUES)
def test_what_is_json(value):
    assert parse(json.dumps(value).encode()) == value
    assert parse(b'"\\ud83d\\ude00"') == "😀"
