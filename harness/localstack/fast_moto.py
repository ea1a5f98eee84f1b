"""The inner loops of moto's DynamoDB, written anew for speed; what they return and raise is moto's.

moto measures all attributes of an item again for every one that is set, copies items with `copy.deepcopy`, and projects
them by way of Python values and back; LocalStack looks for ten possible types in each attribute value. With a ledger of
thousands of mails that is most of the time that a run takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localstack.aws.protocol.parser import JSONRequestParser
from moto.dynamodb.exceptions import ItemSizeTooLarge
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.utilities import bytesize

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ITEM_BYTES = 405_000  # moto's own limit, between DynamoDB's 400 KB and what its estimate makes of them


def install() -> None:
    """Put these in the place of moto's and LocalStack's own."""
    _patch(DynamoType, __init__=_init_value, __deepcopy__=_copy_value, size=_size)
    _patch(Item, __init__=_init_item, __deepcopy__=_copy_item, project=_project)
    _patch(JSONRequestParser, _parse_structure=_parse_structure)


def _patch(cls: Any, **methods: Any) -> None:
    for name, method in methods.items():
        setattr(cls, name, method)


def _init_value(self: DynamoType, given: DynamoType | Mapping[str, Any]) -> None:
    kind: str
    value: Any
    if isinstance(given, DynamoType):
        kind, value = given.type, given.value
    else:
        kind, value = next(iter(given.items()))
    if kind == "M":
        value = {key: DynamoType(inner) for key, inner in value.items()}
    elif kind == "L":
        value = [DynamoType(inner) for inner in value]
    self.type, self.value = kind, value


def _copy_value(self: DynamoType, _memo: object) -> DynamoType:
    clone = DynamoType.__new__(DynamoType)
    clone.type, clone.value = self.type, _copy(self.value)
    return clone


def _copy(value: Any) -> Any:
    match value:
        case DynamoType():
            return _copy_value(value, None)
        case dict():
            return {key: _copy(inner) for key, inner in value.items()}
        case list():
            return [_copy(inner) for inner in value]
        case set():
            return set(value)
    return value


def _size(self: DynamoType) -> int:
    """Bytes, about; moto's estimate."""
    kind, value = self.type, self.value
    if kind == "M":
        return sum(bytesize(key) + inner.size() for key, inner in value.items())
    if kind == "L":
        return sum(inner.size() for inner in value)
    if kind in {"SS", "NS", "BS"}:
        return sum(bytesize(str(inner)) for inner in value)
    if kind == "N":
        return len(str(value))
    return 1 if isinstance(value, bool) else bytesize(value)


def _init_item(self: Item, hash_key: DynamoType, range_key: DynamoType | None, attrs: Mapping[str, Any]) -> None:
    values = {key: DynamoType(value) for key, value in attrs.items()}
    if sum(bytesize(key) + value.size() for key, value in values.items()) > MAX_ITEM_BYTES:
        raise ItemSizeTooLarge
    self.hash_key, self.range_key, self.attrs = hash_key, range_key, LimitedSizeDict(values)


def _copy_item(self: Item, _memo: object) -> Item:
    clone = Item.__new__(Item)
    clone.hash_key, clone.range_key = self.hash_key, self.range_key  # never changed in their place
    clone.attrs = LimitedSizeDict(_copy(self.attrs))
    return clone


_project_by_path = Item.project


def _project(self: Item, expressions: list[list[str]]) -> Item:
    if any(len(path) > 1 or path[0].endswith("]") for path in expressions):
        return _project_by_path(self, expressions)
    wanted = {path[0] for path in expressions}
    return Item(self.hash_key, self.range_key, {key: value for key, value in self.attrs.items() if key in wanted})


_parse_structure_by_shape = JSONRequestParser._parse_structure  # noqa: SLF001 - it is replaced, hence needed


def _parse_structure(self: JSONRequestParser, request: Any, shape: Any, value: Any, uri_params: Any = None) -> Any:
    if shape.name == "AttributeValue":  # moto reads the body itself
        return value
    return _parse_structure_by_shape(self, request, shape, value, uri_params)
