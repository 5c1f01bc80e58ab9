"""A controller's memory as plain containers, and back: ``torch.load(..., weights_only=True)`` reads nothing else."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def pack(value: Any) -> Any:
    """Dataclasses as dicts of their fields, tuples as lists, enumerations by value; all else as it is.

    >>> from adaptlr.records import Kind
    >>> pack((Kind.TOO_HOT, 1, None))
    ['too hot', 1, None]
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: pack(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [pack(v) for v in value]
    if isinstance(value, Mapping):
        return {k: pack(v) for k, v in value.items()}
    return value


def unpack(kind: type[T], data: Any) -> T:
    """What :func:`pack` made of a ``kind``: a dataclass of dataclasses, tuples, enumerations, numbers and strings.

    A field that the data lacks, written by an older version, takes its default; one that is no longer known is left out.

    >>> from adaptlr.judge.history import History
    >>> before = History(losses=(2.3, 2.1), age=2)
    >>> unpack(History, pack(before)) == before
    True
    """
    return _unpack(kind, data)


def _unpack(kind: Any, data: Any) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _unpack(next(a for a in args if a is not type(None)), data)
    if origin is tuple:
        kinds = [args[0]] * len(data) if args[-1] is Ellipsis else args
        return tuple(_unpack(k, d) for k, d in zip(kinds, data, strict=True))
    if dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _unpack(hint, data[name]) for name, hint in hints.items() if name in data})  # type: ignore[operator]
    return kind(data) if isinstance(kind, type) and issubclass(kind, Enum) else data


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}
