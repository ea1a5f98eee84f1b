"""Strict reading of a JSON document: every trouble is a `RequestError` with the path of the field."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from ion.address import UNSAFE, shown
from ion.errors import RequestError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCUMENT_MAX_OCTETS = (
    1_048_576  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
)

_SURROGATE = re.compile("[\ud800-\udfff]")


def load(body: str) -> dict[str, Any]:
    """Read one JSON object (RFC 8259): no NaN, and no key twice, since nobody can know which one was meant.

    Raises:
        RequestError: It is too large, not JSON, or not an object.
    """
    if len(body) > DOCUMENT_MAX_OCTETS or len(body.encode("utf-8", "surrogatepass")) > DOCUMENT_MAX_OCTETS:
        raise RequestError(f"the document is larger than {DOCUMENT_MAX_OCTETS} octets", reason="too-large")
    try:
        document = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise RequestError("the document is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, and a number of more digits than Python takes
        raise RequestError(f"the document is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise RequestError(f'a JSON object such as {{"action": "send", ...}} is needed, not {kind(document)}')
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name, value in pairs:
        if name in names:
            raise RequestError(f"the key {shown(name)} stands twice in one object")
        names[name] = value
    return names


def _no_constant(name: str) -> NoReturn:
    raise RequestError(f"{name} is not JSON")


def known(document: Iterable[str], names: Iterable[str], path: str = "") -> None:
    """Refuse a field that is not among the names."""
    for name in document:
        if name not in names:
            raise RequestError(f"unknown field {shown(name)}{did_you_mean(name, names)}", field=path)


def kind(value: Any) -> str:
    """What JSON calls the value."""
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object", str: "a string"}
    return names.get(type(value), "null")


def text(value: Any, path: str) -> str:
    """A string of characters: no lone half of a surrogate pair, which has no UTF-8 form."""
    if not isinstance(value, str):
        hint = "; leave the field out instead" if value is None else ""
        raise RequestError(f"a string is needed, not {kind(value)}{hint}", field=path)
    if _SURROGATE.search(value):
        raise RequestError("half of a surrogate pair is not a character", field=path)
    return value


def line(value: Any, path: str, most: int, least: int = 0) -> str:
    """A string of `least` to `most` characters that may stand in a header."""
    string = text(value, path)
    if UNSAFE.search(string):
        raise RequestError("a line break or another control character may not stand here", field=path)
    if not least <= len(string) <= most:
        raise RequestError(f"{least} to {most} characters are needed, not {len(string)}", field=path)
    return string


def listed(value: Any, path: str, most: int, what: str) -> list[Any]:
    """A list of at most `most` things."""
    if not isinstance(value, list):
        raise RequestError(f"a list of {what} is needed, not {kind(value)}", field=path)
    if len(value) > most:
        raise RequestError(f"{len(value)} {what} are more than {most}", field=path)
    return value


def mapped(value: Any, path: str, most: int = 100) -> dict[str, Any]:
    """An object of at most `most` entries."""
    if not isinstance(value, dict):
        raise RequestError(f"an object is needed, not {kind(value)}", field=path)
    if len(value) > most:
        raise RequestError(f"{len(value)} entries are more than {most}", field=path)
    return value
