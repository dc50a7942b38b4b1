"""Arguments of calls, held against the schema of their tool."""

from __future__ import annotations

import pytest

from morl.conversation.schema import parameters_of, problem_with, typed


def schema(**properties):
    return {"type": "object", "properties": properties, "required": []}


@pytest.mark.parametrize(
    ("value", "of", "problem"),
    [
        (1, {"type": "integer"}, ""),
        (1.0, {"type": "integer"}, ""),
        (1.5, {"type": "integer"}, "must be an integer; it is a number"),
        (True, {"type": "integer"}, "must be an integer; it is a boolean"),
        (1, {"type": "number"}, ""),
        (1, {"type": "boolean"}, "must be a boolean; it is an integer"),
        ("1", {"type": "number"}, "must be a number; it is a string"),
        (None, {"type": "string"}, "must be a string; it is null"),
        (None, {"type": "string", "nullable": True}, ""),
        (None, {"type": ["string", "null"]}, ""),
        (1, {"type": ["string", "null"]}, "must be a string or null; it is an integer"),
        ("a", {"enum": ["a", "b"]}, ""),
        ("c", {"type": "string", "enum": ["a", "b"]}, 'must be one of ["a", "b"]'),
        ([1, "2"], {"type": "array", "items": {"type": "integer"}}, "'v', item 1 must be an integer; it is a string"),
        ([1, "a"], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, ""),
        (
            [1],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
            "must have 2 items; it has 1",
        ),
        ([1, 2], {"type": "array", "prefixItems": [{}, {"type": "string"}]}, "'v', item 1 must be a string"),
        ({"a": 1}, {"type": "object", "additionalProperties": {"type": "integer"}}, ""),
        ({"a": "1"}, {"type": "object", "additionalProperties": {"type": "integer"}}, "'v', 'a' must be an integer"),
        ({}, {"type": "array"}, "must be an array; it is an object"),
        ({"a": 1}, schema(a={"type": "string"}), "'v', 'a' must be a string; it is an integer"),
        ({"b": 1}, schema(a={}), "'v', 'b' is not known; known: a"),
        ({"b": 1}, {**schema(a={}), "additionalProperties": True}, ""),
        ({"b": 1}, {"type": "object"}, ""),
        ({}, {**schema(a={}), "required": ["a"]}, "'v', 'a' is missing"),
        ("x", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, ""),
        ([], {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "must be an integer; it is an array"),
        ("x", {"type": "any"}, ""),
        ("x", {}, ""),
        ("x", {"type": "integer", "anyOf": []}, "must be an integer"),
    ],
)
def test_types_are_those_of_json_schema(value, of, problem):
    said = problem_with({"v": value}, schema(v=of))
    assert problem in said
    assert bool(said) == bool(problem)


def test_names_are_those_of_the_schema():
    parameters = {**schema(city={"type": "string"}, days={"type": "integer"}), "required": ["city"]}
    assert problem_with({"city": "Paris"}, parameters) == ""
    assert problem_with({}, parameters) == "the argument 'city' is missing"
    said = problem_with({"city": "Paris", "dayz": 1}, parameters)
    assert said == "the argument 'dayz' is not known; did you mean 'days'?; known: city, days"
    assert problem_with({"x": 1}, schema()) == "the argument 'x' is not known; known: none"
    assert problem_with({"x": 1}, {}) == ""


@pytest.mark.parametrize(
    ("text", "of", "value"),
    [
        ("3", {"type": "integer"}, 3),
        (" 3\n", {"type": "integer"}, 3),
        ("3", {"type": "string"}, "3"),
        ("3", {"type": ["string", "integer"]}, "3"),
        ("null", {"type": ["string", "null"]}, None),
        ("None", {"type": "string", "nullable": True}, None),
        ("null", {"type": "string"}, "null"),
        ("True", {"type": "boolean"}, True),
        ("false", {"type": "boolean"}, False),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ('{"a": 1}', {"anyOf": [{"type": "object"}, {"type": "null"}]}, {"a": 1}),
        ("three", {"type": "integer"}, "three"),
        ("NaN", {"type": "number"}, "NaN"),
        ("9" * 5000, {"type": "integer"}, "9" * 5000),
        ("3", {}, 3),
    ],
)
def test_texts_become_what_the_schema_wants(text, of, value):
    assert typed({"v": text}, schema(v=of)) == {"v": value}


def test_parameters_are_found_in_both_forms_of_a_tool():
    flat = {"name": "f", "parameters": {"type": "object"}}
    assert parameters_of(flat) == parameters_of({"type": "function", "function": flat}) == {"type": "object"}
    assert parameters_of({"name": "f"}) == {}
