"""Frozen dataclasses to plain JSON values and back; unknown fields are errors."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, cast

from unvanish.errors import RecordError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """The value as dicts, lists and scalars, for `json.dumps`; fields that take no part in comparison are left out.

    Example:
        >>> from unvanish.record.structure import Location
        >>> to_plain(Location("train.py", 7))
        {'file': 'train.py', 'line': 7, 'text': ''}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in cast(Sequence[Any], value)]
    return value


def from_plain(kind: type[T], plain: Any) -> T:
    """The inverse of `to_plain` for a dataclass type.

    Raises RecordError where the plain value does not have the fields of `kind`.

    Example:
        >>> from unvanish.record.structure import Location
        >>> from_plain(Location, {"file": "train.py", "line": 7})
        Location(file='train.py', line=7, text='')
    """
    try:
        return _build(kind, plain)
    except (TypeError, ValueError, KeyError, AttributeError) as fault:
        raise RecordError(
            f"the record holds a {kind.__name__} that cannot be read ({fault}); was it written by another version?"
        ) from fault


def _build(kind: Any, plain: Any) -> Any:
    origin = typing.get_origin(kind)
    if plain is None or kind is Any:
        return plain
    if origin in (typing.Union, types.UnionType):
        return _build(next(k for k in typing.get_args(kind) if k is not type(None)), plain)
    if origin is tuple:
        kinds = typing.get_args(kind)
        each = [kinds[0]] * len(plain) if kinds[-1] is Ellipsis else kinds
        return tuple(_build(k, item) for k, item in zip(each, plain, strict=True))
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = cast(Mapping[str, Any], plain)
        return cast(Any, kind)(**{name: _build(hints[name], item) for name, item in fields.items()})
    return kind(plain)
