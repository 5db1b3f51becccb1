"""A typed answer in a request: which way for which endpoint, and what is sent then."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from agentkit import ChatModel, Settings, ToolCall, ToolResult, ToolSpec, Transcript
from agentkit.chat.dialects import DIALECTS, Dialect
from agentkit.chat.jsonmode import lowered
from agentkit.chat.lacking import without
from agentkit.chat.request import Request, encode
from agentkit.chat.shaping import shaped
from agentkit.errors import UsageError
from agentkit.flow import Steps
from agentkit.messages import Reply, assistant, user
from agentkit.model import Model
from agentkit.output import Output
from agentkit.testing import FakeEndpoint, call, say, status
from agentkit.testing.strict import refusals
from agentkit.transcript import Entry
from tests.answers import KINDS, Invoice, Point
from tests.bodies import model_said

LOOK = ToolSpec("look", "Look at it.", {"type": "object", "properties": {"at": {"type": "string"}}})
OPENAI, LLAMACPP, DEEPSEEK = DIALECTS["openai"], DIALECTS["llamacpp"], DIALECTS["deepseek"]
IN_JSON = replace(LLAMACPP, tools="json", quoted=True)


def pay(amount: float) -> None:
    """Pay a bill."""


def asked(output: Output[Any], *tools: ToolSpec, question: str = "Now?", **request: Any) -> Request:
    return Request(Transcript([Entry(user(question))]), tools, output=output, **request)


def way(request: Request) -> str:
    """The way that a shaped request goes."""
    form = (request.settings.response_format or {}).get("type")
    told = "JSON Schema" in request.instructions
    tools = [spec.name for spec in request.tools]
    return " ".join(
        word
        for word in (
            "native" if form == "json_schema" else "",
            "tool" if "final_answer" in tools or "pay" in tools else "",
            "prompted" if told else "",
            "json_object" if form == "json_object" else "",
        )
        if word
    )


NO_SCHEMA = without(OPENAI, "response_format:json_schema")
NO_FORMAT = without(OPENAI, "response_format")
WAYS: dict[str, tuple[Dialect, Any, str, str, str]] = {
    # the dialect, the output, the mode; the way without tools, and with one
    "openai": (OPENAI, Point, "auto", "native", "native"),
    "llama.cpp": (LLAMACPP, Point, "auto", "native", "tool"),
    "deepseek": (DEEPSEEK, Point, "auto", "tool", "tool"),
    "in JSON": (IN_JSON, Point, "auto", "native", "tool"),
    "schemas refused": (NO_SCHEMA, Point, "auto", "tool", "tool"),
    "any format refused": (NO_FORMAT, Point, "auto", "tool", "tool"),
    "tools refused too": (without(NO_SCHEMA, "tools"), Point, "auto", "prompted json_object", "prompted json_object"),
    "in JSON, schemas refused": (
        without(IN_JSON, "response_format:json_schema"),
        Point,
        "auto",
        "prompted json_object",
        "tool",
    ),
    "a function": (OPENAI, pay, "auto", "tool", "tool"),
    "native": (OPENAI, Point, "native", "native", "native"),
    "native on llama.cpp": (LLAMACPP, Point, "native", "native", "prompted"),
    "native in JSON": (IN_JSON, Point, "native", "native", "native"),
    "native on deepseek": (DEEPSEEK, Point, "native", "prompted json_object", "prompted json_object"),
    "tool": (OPENAI, Point, "tool", "tool", "tool"),
    "prompted": (OPENAI, Point, "prompted", "prompted json_object", "prompted json_object"),
    "prompted on lmstudio": (DIALECTS["lmstudio"], Point, "prompted", "prompted", "prompted"),
    "prompted on llama.cpp": (LLAMACPP, Point, "prompted", "prompted json_object", "prompted"),
    "prompted, formats refused": (NO_FORMAT, Point, "prompted", "prompted", "prompted"),
}


@pytest.mark.parametrize(("dialect", "of", "mode", "alone", "beside"), WAYS.values(), ids=WAYS)
def test_the_way_of_an_endpoint(dialect, of, mode, alone, beside):
    output = Output(of, mode=mode)
    assert way(shaped(asked(output), dialect)) == alone
    assert way(shaped(asked(output, LOOK), dialect)) == beside
    for request in (shaped(asked(output), dialect), shaped(asked(output, LOOK), dialect)):
        assert request.output is None
        assert request.settings.tool_choice == ("required" if "tool" in way(request) else None)
    assert LOOK in shaped(asked(output, LOOK), dialect).tools


@pytest.mark.parametrize(("dialect", "of", "mode", "alone", "beside"), WAYS.values(), ids=WAYS)
def test_tools_that_may_not_be_called_do_not_count(dialect, of, mode, alone, beside):
    request = shaped(asked(Output(of, mode=mode), LOOK, settings=Settings(tool_choice="none")), dialect)
    assert way(request) == (alone if "prompted" not in alone else way(request))
    assert LOOK not in request.tools or request.settings.tool_choice == "none"


def test_a_model_s_own_word_stands_over_the_dialect_s():
    output = Output(Point)
    assert way(shaped(asked(output, LOOK), OPENAI, tools="json")) == "tool"
    assert way(shaped(asked(output), OPENAI, tools="json")) == "native"
    assert way(shaped(asked(output, LOOK), IN_JSON, tools="native")) == "tool"


def test_without_an_output_a_request_stays_as_it_is():
    request = Request(Transcript([Entry(user("x"))]), (LOOK,))
    assert shaped(request, OPENAI) is request


def test_the_native_form_is_named_for_the_type_and_strict_where_it_can_be():
    described = described_for(Output(Point), OPENAI)
    assert described == {
        "name": "Point",
        "description": "A place on the map.",
        "schema": Output(Point).strict_schema,
        "strict": True,
    }
    assert described_for(Output(Point), LLAMACPP) == {
        "name": "Point",
        "description": "A place on the map.",
        "schema": Output(Point).schema,
    }
    assert described_for(Output(dict[str, int]), OPENAI) == {
        "name": "final_answer",
        "schema": Output(dict[str, int]).schema,
    }
    assert described_for(Output(Point, strict=False, description="Where?"), OPENAI)["description"] == "Where?"


def described_for(output: Output[Any], dialect: Dialect) -> dict[str, Any]:
    form = shaped(asked(output), dialect).settings.response_format
    assert form is not None
    return form["json_schema"]


def test_the_output_tools_stand_after_the_others():
    request = shaped(asked(Output(Point, mode="tool"), LOOK), OPENAI)
    assert [spec.name for spec in request.tools] == ["look", "final_answer"]
    assert request.tools[1].strict
    assert request.settings.tool_choice == "required"
    assert not shaped(asked(Output(Point, mode="tool")), DEEPSEEK).tools[0].strict


@pytest.mark.parametrize("choice", ["auto", "look", {"type": "function", "function": {"name": "look"}}])
def test_a_choice_of_the_caller_s_stays(choice):
    settings = Settings(tool_choice=choice)
    assert shaped(asked(Output(Point, mode="tool"), LOOK, settings=settings), OPENAI).settings.tool_choice == choice


def test_what_is_told_in_words_is_the_schema():
    output = Output(Point, mode="prompted")
    alone = shaped(asked(output, instructions="Be brief."), OPENAI).instructions
    assert alone.startswith("Be brief.\n\nAnswer with one JSON object")
    assert json.loads(alone.rpartition("\n")[2]) == output.schema
    beside = shaped(asked(output, LOOK), OPENAI).instructions
    assert beside.startswith("Call the functions that you need first.")
    described = shaped(asked(Output(int, mode="prompted", description="The year.")), OPENAI).instructions
    assert described.startswith("The year.\nAnswer with")


REFUSED = {
    "a form": (asked(Output(int), settings=Settings(response_format={"type": "text"})), "response_format of their own"),
    "a form in extra_body": (
        asked(Output(int), settings=Settings(extra_body={"response_format": {"type": "text"}})),
        "the output is int",
    ),
    "a tool of its name": (asked(Output(int, mode="tool", name="look"), LOOK), "both named 'look'"),
}


@pytest.mark.parametrize(("request_", "said"), REFUSED.values(), ids=REFUSED)
def test_what_contradicts_the_output_is_the_caller_s_error(request_, said):
    with pytest.raises(UsageError, match=said):
        shaped(request_, OPENAI)


@pytest.mark.parametrize("of", [kind[0] for kind in KINDS.values()], ids=KINDS)
def test_every_kind_by_every_way_is_a_request_that_endpoints_take(of):
    dialects = [IN_JSON, *map(DIALECTS.__getitem__, ("openai", "deepseek", "llamacpp", "mistral", "gemini"))]
    for output in [Output(of, mode=mode) for mode in ("auto", "native", "tool", "prompted")]:
        for dialect, tools in product(dialects, [(), (LOOK,)]):
            request = shaped(asked(output, *tools), dialect)
            if request.tools and dialect is IN_JSON:
                request = lowered(request, answers=["final_answer"])
            body = json.loads(bytes(encode(request, "m", dialect, "here")))
            assert list(refusals(body)) == []


def test_keywords_that_an_endpoint_refuses_are_left_out():
    dialect = without(without(OPENAI, "schema.minimum"), "schema.$ref")
    for mode in ("native", "tool"):
        text = bytes(encode(shaped(asked(Output(Invoice, mode=mode)), dialect), "m", dialect, "here")).decode()
        assert "vendor" in text
        assert "minimum" not in text and "$ref" not in text


def test_digests_tell_outputs_apart():
    requests = [
        asked(Output(int)),
        asked(Output(Point)),
        asked(Output(int, mode="tool")),
        Request(asked(Output(int)).transcript),
    ]
    assert len({request.digest for request in requests}) == 4
    assert asked(Output(int)).digest == asked(Output(int)).digest


# Tools in JSON


def arms(request: Request, **options: Any) -> dict[str, Any]:
    form = lowered(request, answers=["final_answer"], **options).settings.response_format
    assert form is not None
    schema = form["json_schema"]["schema"]
    found = {}
    for arm in schema.get("anyOf", [schema]):
        parts = arm["properties"]
        found[parts["tool"]["const"] if "tool" in parts else "answer"] = parts.get("arguments", parts.get("answer"))
    return found


def test_in_json_an_answer_is_one_of_the_calls():
    request = shaped(asked(Output(Point, mode="tool"), LOOK, question="Where is Bo?"), IN_JSON)
    assert [*arms(request)] == ["look", "final_answer"]
    held = arms(request, quoted=True)
    assert "enum" in held["look"]["properties"]["at"]
    assert held["final_answer"]["properties"]["label"] == {"type": "string", "default": ""}  # not words of the question


def test_in_json_a_model_that_is_stuck_has_to_answer_by_its_type():
    request = shaped(asked(Output(Point, mode="tool"), LOOK), IN_JSON)
    for _ in range(2):
        said = assistant(tool_calls=[ToolCall("c", "look", "{}")])
        request.transcript.append(model_said(said.data, results=[ToolResult("nothing")]))
    assert [*arms(request)] == ["final_answer"]


# Over HTTP


class Asking(Model):
    """Asks another model for a typed answer."""

    def __init__(self, inner: Model, output: Output[Any]) -> None:
        self.inner = inner
        self.output = output

    def flow(self, request: Request) -> Steps[Reply]:
        return (yield from self.inner.flow(request.with_(output=self.output)))


def ask(model: ChatModel, output: Output[Any], *tools: ToolSpec) -> Reply:
    return Asking(model, output).reply_sync("Now?", tools=tools)


def refused(text: str) -> Any:
    return status(400, {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}})


def test_what_an_endpoint_refuses_makes_way_for_the_next():
    script = [
        refused("This response_format type is unavailable now: json_schema"),
        refused("tool_choice 'required' is not supported"),
        call("final_answer", x=1),
        say('{"x": 1}'),
    ]
    with FakeEndpoint(script) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, retries=0)
        assert ask(model, Output(Point), LOOK).tool_calls[0].name == "final_answer"
        first, second, third = (sent.json for sent in fake.requests)
        assert first["response_format"]["type"] == "json_schema"
        assert "response_format" not in second
        assert second["tool_choice"] == "required"
        assert [tool["function"]["name"] for tool in third["tools"]] == ["look", "final_answer"]
        assert "tool_choice" not in third
        assert model.endpoint.learnt["m"].learnt == ("response_format:json_schema", "tool_choice:required")
        ask(model, Output(Point, mode="native"))
        assert fake.requests[-1].json["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    "text",
    [
        "Invalid value for 'tool_choice': 'required'. Supported values are: 'none' and 'auto'.",
        "deepseek-reasoner does not support this tool_choice",
        '`tool_choice` = "required" is not supported.',
    ],
)
def test_a_forced_choice_that_is_refused_is_left_out(text):
    with FakeEndpoint([refused(text), call("final_answer", x=1)]) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, retries=0)
        assert ask(model, Output(Point, mode="tool")).tool_calls
        assert [sent.json.get("tool_choice") for sent in fake.requests] == ["required", None]


def test_tools_in_json_over_http():
    with FakeEndpoint(
        [say('{"question": "Now?", "tool": "final_answer", "arguments": {"x": 3}}'), say('{"x": 4}')]
    ) as fake:
        model = ChatModel("m", base_url=fake.base_url, api_key=fake.api_key, tools="json")
        output = Output(Point)
        (made,) = ask(model, output, LOOK).tool_calls
        assert output.read_call(made.name, made.arguments) == Point(3)
        assert "tools" not in fake.requests[0].json
        assert output.read_text(ask(model, output).text) == Point(4)
        assert fake.requests[1].json["response_format"]["json_schema"]["name"] == "Point"
