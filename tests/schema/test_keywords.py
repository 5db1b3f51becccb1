"""Schemas without what an endpoint does not know."""

from __future__ import annotations

import pytest

from agentkit.schema.keywords import keywords_in, without_keywords

PERSON = {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "keywords", "expected"),
    [
        ({"type": "string"}, {"format"}, {"type": "string"}),
        (
            PERSON,
            {"additionalProperties", "minLength"},
            {"type": "object", "properties": {"name": {"type": "string"}}},
        ),
        # what is data, or a property's name, is no keyword
        (
            {"properties": {"format": {"type": "string"}}, "default": {"format": 1}, "enum": [{"format": 2}]},
            {"format"},
            {"properties": {"format": {"type": "string"}}, "default": {"format": 1}, "enum": [{"format": 2}]},
        ),
        ({"const": "a", "description": "d"}, {"const"}, {"enum": ["a"], "description": "d"}),
        ({"anyOf": [{"title": "T", "type": "null"}]}, {"title"}, {"anyOf": [{"type": "null"}]}),
        (
            {"properties": {"a": {"$ref": "#/$defs/P", "description": "who"}}, "$defs": {"P": PERSON}},
            {"$ref"},
            {"properties": {"a": {**PERSON, "description": "who"}}},
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/P"}}, "$defs": {"P": PERSON}},
            {"$defs"},
            {"properties": {"a": PERSON}},
        ),
        (
            {"$ref": "#/$defs/N", "$defs": {"N": {"properties": {"next": {"$ref": "#/$defs/N"}}}}},
            {"$ref"},
            {"properties": {"next": {}}},
        ),
        ({"$ref": "http://elsewhere"}, {"$ref"}, {}),
        (True, {"format"}, True),
    ],
    ids=lambda value: None,
)
def test_without(schema, keywords, expected):
    assert without_keywords(schema, keywords) == expected


def test_the_keywords_of_a_schema():
    schema = {
        "$defs": {"P": PERSON},
        "type": "object",
        "properties": {"pattern": {"$ref": "#/$defs/P"}, "b": {"items": {"format": "date"}, "default": {"x": 1}}},
        "required": ["b"],
    }
    assert keywords_in(schema) == {"$defs", "$ref", "additionalProperties", "minLength", "format", "default"}
    assert keywords_in(None) == keywords_in(True) == set()
