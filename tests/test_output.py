"""Typed answers: the schema of each kind of type, and what is read from texts and calls."""

from __future__ import annotations

import dataclasses
import re
from datetime import date
from typing import Literal

import pytest

from agentkit import tool
from agentkit.errors import UsageError
from agentkit.output import MISSING, Output, WrongAnswer
from tests.answers import KINDS, Cat, Colour, Dog, Invoice, Item, Pet, Point, Row, Tree

kinds = pytest.mark.parametrize(("of", "wrapped", "text", "value"), KINDS.values(), ids=KINDS)


@kinds
def test_the_schema_is_of_an_object_without_made_up_titles(of, wrapped, text, value):
    schema = Output(of).schema
    assert schema["type"] == "object"
    assert ([*schema["properties"]] == ["value"] and schema["required"] == ["value"]) is wrapped if wrapped else True
    assert ("value" in schema.get("properties", {}) and of is not Tree) is wrapped
    assert '"title"' not in str(schema).replace("'", '"')


@kinds
def test_texts_and_calls_are_read_alike(of, wrapped, text, value):
    output = Output(of)
    (spec,) = output.specs
    assert output.handles(spec.name)
    assert output.read_text(text) == value
    assert output.read_call(spec.name, text) == value
    assert output.read_text(f"Here you are:\n```json\n{text}\n```\nDone.") == value
    assert output.read_text(output.to_json(value)) == value
    assert type(output.read_text(output.to_json(value))) is type(value)


@kinds
def test_json_in_words_is_found_where_the_model_may_have_been_asked_in_words(of, wrapped, text, value):
    assert Output(of, mode="prompted").read_text(f"It is {text}, I think.") == value


WRONG = {
    "a field": (
        Invoice,
        '{"vendor": 3, "total": "x"}',
        ["`vendor` should be a string, not 3", '`total` should be a number, not "x"'],
    ),
    "missing": (Point, "{}", ["`x` is missing: it should be an integer"]),
    "deep": (
        Invoice,
        '{"vendor": "a", "total": 1, "items": [{}]}',
        ["`items[0].name` is missing: it should be a string"],
    ),
    "an item": (list[int], '{"value": [1, "x"]}', ['`value[1]` should be an integer, not "x"']),
    "a bare item": (list[int], '[1, "x"]', ['`value[1]` should be an integer, not "x"']),
    "a rule": (
        Invoice,
        'It is {"vendor": "a", "total": -3}.',
        ["`total` should be greater than or equal to 0, not -3"],
    ),
    "a tag": (Pet, '{"kind": "cow"}', ['`value.kind` should be "cat" or "dog", not "cow"']),
    "cut off": (Point, '{"x": 1', ["the answer is cut off: its JSON ends too early"]),
    "no JSON": (
        Point,
        "{'x': 1}",
        ["the answer is not JSON: Expecting property name enclosed in double quotes at character 1, in \"{'x': 1}\""],
    ),
    "a list": (Point, "[1]", ["the answer should be an object with `x`, `y` and `label`, not [1]"]),
    "text or an object": (str | Point, '{"y": 1}', None),
}


@pytest.mark.parametrize(("of", "text", "problems"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_to_the_model(of, text, problems):
    with pytest.raises(WrongAnswer) as caught:
        Output(of).read_text(text)
    error = caught.value
    assert problems is None or list(error.problems) == problems
    assert str(error) == "\n".join(
        ["The answer is wrong:", *[f"- {p}" for p in error.problems], "Give the whole answer again, corrected."]
    )
    assert "http" not in str(error)


UNUSABLE = {
    "words": (Point, "I do not know.", "an object with `x`, `y` and `label`"),
    "empty": (Point, " \n", "The answer is empty: it should be one JSON object"),
    "a number for an object": (Point, "5", "an object with `x`, `y` and `label`"),
    "words with a number": (int, "In 2024 there were 5.", 'an integer, as JSON: {"value": …}'),
    "no choice": (Colour, "green", 'one of "red", "blue"'),
    "no list": (list[int], "1, 2", "an array"),
    "a map": (dict[str, int], "none", "one JSON object."),
}


@pytest.mark.parametrize(("of", "text", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_text_without_an_answer_is_told_what_is_expected(of, text, said):
    with pytest.raises(WrongAnswer) as caught:
        Output(of).read_text(text)
    assert said in str(caught.value)


BARE = {
    "a number": (int, " 42\n", 42),
    "a choice": (Literal["yes", "no"], "yes", "yes"),
    "a choice in bold": (Literal["yes", "no"], "**Yes**.", "yes"),
    "an enum": (Colour, "Red.", Colour.RED),
    "a date": (date, "2024-05-31", date(2024, 5, 31)),
    "text": (str, " as it is ", " as it is "),
    "text that is JSON": (str, '{"a": 1}', '{"a": 1}'),
    "text or a number": (str | int, "five", "five"),
    "a number or text": (str | int, "5", 5),
    "text or an object": (str | Point, "Where?", "Where?"),
    "an object or text": (str | Point, '{"x": 1}', Point(1)),
    "a list": (list[int], "[1, 2]", [1, 2]),
    "a list in words": (list[int], "They are [1, 2].", [1, 2]),
    "the second of two": (Point, 'Not {"z": 1} but {"x": 1}.', Point(1)),
    "a fence without its end": (Point, '```json\n{"x": 1}', Point(1)),
    "encoded twice": (Point, '"{\\"x\\": 1}"', Point(1)),
    "said twice": (Point, '{"x": 1}{"x": 1}', Point(1)),
    "null for a default": (Point, '{"x": 1, "y": null, "label": null}', Point(1)),
    "a lone half": (str, '{"value": "\\ud83d"}', "\ufffd"),
}


@pytest.mark.parametrize(("of", "text", "value"), BARE.values(), ids=BARE)
def test_texts_that_are_not_quite_what_was_asked_for(of, text, value):
    assert Output(of).read_text(text) == value


@pytest.mark.parametrize("mode", ["native", "tool"])
def test_words_around_json_are_not_searched_where_none_were_asked_for(mode):
    with pytest.raises(WrongAnswer):
        Output(Point, mode=mode).read_text('It is {"x": 1}.')


def test_arguments_of_the_output_tool_are_mended_as_any_tool_s():
    output = Output(Invoice, name="bill")
    assert output.read_call("bill", '{"vendor": "a", "total": "3", "items": "[{\\"name\\": \\"b\\"}]"}').items == [
        Item(name="b")
    ]
    with pytest.raises(WrongAnswer, match="bill was not accepted, its arguments are wrong:\n- `total` is missing"):
        output.read_call("bill", '{"vendor": "a"}')
    assert Output(Cat | Dog).read_call("final_answer", '{"kind": "cat", "lives": 1}') == Cat(kind="cat", lives=1)


def pay(amount: float) -> str:
    """Pay a bill.

    Args:
        amount: In euros.
    """
    return f"paid {amount}"


@tool(name="ask")
async def ask_back(question: str) -> str:
    """Ask the user."""
    return question


def test_functions_are_output_tools():
    output = Output([pay, ask_back])
    assert [(spec.name, spec.description) for spec in output.specs] == [
        ("pay", "Pay a bill."),
        ("ask", "Ask the user."),
    ]
    assert output.mode == "tool"
    assert output.tools["pay"].call_sync('{"amount": 3}') == "paid 3.0"
    assert [output.handles(name) for name in ("pay", "ask", "functions.pay", "final_answer")] == [
        True,
        True,
        True,
        False,
    ]
    assert output.function("functions.pay") is output.tools["pay"]
    assert output.function("final_answer") is None
    assert output.partial('{"amount": 3, "note": "a', "pay") == {"amount": 3, "note": "a"}
    assert output.partial('{"amount": 3') is MISSING
    assert output.to_json({"a": Point(1)}) == '{"a":{"x":1,"y":0,"label":""}}'
    with pytest.raises(WrongAnswer, match="Call one of the functions: pay, ask"):
        output.read_text("Done.")
    with pytest.raises(UsageError, match="pay is a function"):
        output.read_call("pay", "{}")


def test_one_function_may_be_described():
    assert Output(pay, description="Settle it.").specs[0].description == "Settle it."
    assert [spec.strict for spec in Output(pay).specs_for(strict=True)] == [True]


def test_what_an_agent_is_given_is_made_an_output():
    output = Output(int)
    assert Output.of(output) is output
    assert Output.of(str) is None
    made = Output.of(list[int])
    assert made is not None
    assert made.read_text("[1]") == [1]


def test_names_that_are_local_are_found():
    @dataclasses.dataclass
    class Inner:
        a: int

    @dataclasses.dataclass
    class Outer:
        inner: Inner

    assert Output(Outer).read_text('{"inner": {"a": 1}}') == Outer(Inner(1))


class Opaque:
    pass


BAD = {
    "a class of no shape": (Opaque, {}, "an answer of type Opaque cannot be asked for"),
    "one inside": (list[Opaque], {}, "cannot be asked for"),
    "a value": (5, {}, "an output is a type or a function, not 5"),
    "a name": ("Invoice", {}, "not 'Invoice'"),
    "None": (None, {}, "not None"),
    "a list of types": ([int, str], {}, "write types as a union"),
    "an empty list": ([], {}, "write types as a union"),
    "two functions of one name": ([pay, pay], {}, "two tools are named 'pay'"),
    "functions by response_format": (pay, {"mode": "native"}, "a function is called"),
    "two functions described": ([pay, ask_back], {"description": "x"}, "each of several functions"),
    "a mode": (int, {"mode": "json"}, "mode='json' is not known"),
    "a tool's name": (int, {"name": "a b"}, "'a b' cannot be a tool's name"),
    "retries": (int, {"retries": -1}, "retries=-1"),
    "no strict form": (dict[str, int], {"strict": True}, "has no strict form"),
}


@pytest.mark.parametrize(("of", "options", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_an_output_is_refused_at_once(of, options, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        Output(of, **options)


def test_the_schema_keeps_what_docstrings_say():
    schema = Output(Invoice).schema
    assert schema["description"] == "What a shop asks for."
    assert schema["properties"]["total"] == {"type": "number", "minimum": 0, "description": "With tax."}
    assert Output(Point).schema["description"] == "A place on the map."
    assert Output(Row).schema["description"] == "A line of a table."
    (spec,) = Output(Invoice, description="The bill.").specs
    assert spec.description.startswith("The bill.\n\n")
    assert "description" not in spec.parameters


def test_the_strict_form_is_there_unless_it_is_not_wanted():
    assert Output(Invoice).strict_schema["required"] == ["vendor", "total", "due", "items", "state"]
    assert [spec.strict for spec in Output(Invoice).specs_for(strict=True)] == [True]
    assert Output(Invoice, strict=False).strict_schema is None
    assert Output(dict[str, int]).strict_schema is None
    assert [spec.strict for spec in Output(dict[str, int]).specs_for(strict=True)] == [False]
