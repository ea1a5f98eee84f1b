"""docs/contract.schema.json and docs/contract.md against the parser: what one of them says the others say too."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from ion.errors import RequestError
from ion.request import HEADER_PREFIXES_REFUSED, HEADERS_REFUSED, parse
from tests.unit.ion.documents import documents, mutated
from tests.unit.ion.test_request import LEAST, attachment

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = json.loads((DOCS / "contract.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def parser_takes(document: Any) -> bool:
    try:
        parse(json.dumps(document))
    except RequestError:
        return False
    return True


def test_the_schema_is_one():
    """The schema is a valid JSON Schema of draft 2020-12."""
    Draft202012Validator.check_schema(SCHEMA)


@given(documents)
def test_both_take_what_is_valid(document: dict[str, Any]):
    """A valid document is taken by the parser and by the schema."""
    assert parser_takes(document)
    VALIDATOR.validate(document)


@given(mutated())
def test_the_parser_is_the_stricter_one(document: dict[str, Any]):
    """What the schema refuses the parser refuses too."""
    assert VALIDATOR.is_valid(document) or not parser_takes(document)


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "destroy"},
        {"action": None},
        {"recipient": []},
        {"recipient": 1},
        {"recipient": "ann"},
        {"cc": ["ann"]},
        {"sender": ["a@example.com"]},
        {"subject": "a\nb"},
        {"subject": "x" * 999},
        {"body_text": None},
        {"unknown": 1},
        {"headers": {"": "a"}},
        {"headers": {"X A": "a"}},
        {"headers": {"X": "a\nb"}},
        {"headers": {"X": "a" * 2_001}},
        {"headers": {"X" * 77: "a"}},
        {"headers": {f"X-{n}": "" for n in range(51)}},
        {"attachments": [attachment()] * 51},
        {"attachments": [{"filename": "a"}]},
        {"attachments": [attachment(x=1)]},
        {"attachments": [attachment(filename="a/b")]},
        {"attachments": [attachment(filename="..")]},
        {"attachments": [attachment(filename="a ")]},
        {"attachments": [attachment(filename="x" * 256)]},
        {"attachments": [attachment(content_type="pdf")]},
        {"attachments": [attachment(content_type="Multipart/mixed")]},
        {"attachments": [attachment(content_base64="QQ")]},
        {"attachments": [attachment(content_id="<a>")]},
        {"id": ""},
        {"id": "x" * 257},
        {"id": "ion:x"},
        {"expires_at": "2030-01-31T12:00:00"},
        {"tags": {"a": 1}},
        {"tags": {"": "a"}},
        {"tags": {"a": "x" * 257}},
        {"tags": {str(n): "" for n in range(21)}},
        {"max": 1},
    ],
)
def test_the_schema_refuses(fields: dict[str, Any]):
    """The schema sees by itself what is wrong with a value's type, form or length."""
    assert not VALIDATOR.is_valid(LEAST | fields)


@pytest.mark.parametrize(
    "fields", [{"reason": ""}, {"ids": []}, {"ids": ["ion:x"]}, {"max": 0}, {"max": 1_000_001}, {"subject": "x"}]
)
def test_the_schema_refuses_redrives(fields: dict[str, Any]):
    """The schema sees by itself what is wrong with a redrive."""
    assert not VALIDATOR.is_valid({"action": "redrive", **fields})


def test_a_body_is_needed():
    """The schema asks for one of both bodies."""
    assert not VALIDATOR.is_valid({key: value for key, value in LEAST.items() if key != "body_text"})


@pytest.mark.parametrize("name", [*sorted(HEADERS_REFUSED), *(f"{prefix}x" for prefix in HEADER_PREFIXES_REFUSED)])
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_the_schema_refuses_reserved_headers(name: str, change: Any):
    """The schema knows every header that a publisher may not write, in any case."""
    assert not VALIDATOR.is_valid(LEAST | {"headers": {change(name): "x"}})


def test_the_page_names_every_field():
    """docs/contract.md has a line for every field that the schema has."""
    page = (DOCS / "contract.md").read_text("utf-8")

    for part in ("send", "redrive", "attachment"):
        for name in SCHEMA["$defs"][part]["properties"]:
            assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE), name


def test_the_page_names_every_reserved_header():
    """docs/contract.md lists the headers that are refused."""
    page = (DOCS / "contract.md").read_text("utf-8").lower()

    assert [name for name in (*HEADERS_REFUSED, *HEADER_PREFIXES_REFUSED) if f"`{name}" not in page] == []


def test_the_examples_are_valid():
    """Every example in docs/contract.md is taken by the parser and by the schema."""
    examples = re.findall(r"^```json\n(.*?)^```", (DOCS / "contract.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)

    assert len(examples) >= 3
    for example in examples:
        parse(example)
        VALIDATOR.validate(json.loads(example))
