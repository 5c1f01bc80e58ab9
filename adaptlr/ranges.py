"""Numbers that have to lie in a range, which is said where they are declared: ``hot_ratio: Annotated[float, Over(0, upto=1)]``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from numbers import Real
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints


@dataclass(frozen=True, slots=True)
class Over:
    """Above ``low``, and ``upto`` at most. NaN is outside.

    >>> Over(0, upto=1).holds(1.0), Over(0, upto=1).holds(0.0)
    (True, False)
    """

    low: float
    upto: float

    def holds(self, value: float) -> bool:
        return self.low < value <= self.upto

    def __str__(self) -> str:
        return f"({self.low:g}, {self.upto:g}]"


@dataclass(frozen=True, slots=True)
class Least:
    """``low`` at least, and ``upto`` at most. NaN is outside.

    >>> Least(0, upto=1).holds(0.0), Least(0, upto=1).holds(-0.1)
    (True, False)
    """

    low: float
    upto: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.upto

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.upto:g}]"


Share = Annotated[float, Over(0, upto=1)]


@functools.cache
def _types_of(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@functools.cache
def ranges_of(kind: type) -> dict[str, Over | Least]:
    """The range of each annotated field of a class."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: r for name, hint in hints.items() for r in getattr(hint, "__metadata__", ()) if isinstance(r, Over | Least)}


def whole(name: str, value: Any, *, see: str = "") -> int:
    """A whole number as an int, however it is written: numpy's too, and 100.0.

    Raises:
        TypeError: it is none; the message quotes it, and ends with ``see``.

    >>> whole("total_steps", 100.0)
    100
    """
    if not _is_number(value) or value % 1 != 0:
        raise TypeError(f"{name} must be a whole number, got {value!r}{see and f': {see}'}")
    return int(value)


def check(numbers: Any, *, see: str) -> None:
    """Each annotated field. One that may be None is left out then; in one that is an int, 100.0 becomes 100.

    Raises:
        TypeError: a field is no number, or no whole one where it is to be an int; the message quotes it, and ends with ``see``.
        ValueError: a field is outside its range; likewise.
    """
    types = _types_of(type(numbers))
    for name, within in ranges_of(type(numbers)).items():
        value: Any = getattr(numbers, name)
        if value is None and NoneType in get_args(types[name]):
            continue
        if value is None or not _is_number(value):
            raise TypeError(f"{name} must be a number, got {value!r}: {see}")
        if not within.holds(value):
            raise ValueError(f"{name} must lie in {within}, got {value!r}: {see}")
        if types[name] is int:
            object.__setattr__(numbers, name, whole(name, value, see=see))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
