"""Numbers that have to lie in a range, which is said where they are declared: ``hot_ratio: Annotated[float, Over(0, upto=1)]``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints


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
def ranges_of(kind: type) -> dict[str, Over | Least]:
    """The range of each annotated field of a class."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: r for name, hint in hints.items() for r in getattr(hint, "__metadata__", ()) if isinstance(r, Over | Least)}


def check(numbers: Any, *, see: str) -> None:
    """A field that is None is left out.

    Raises:
        ValueError: a field is outside its range; the message quotes the value, and ends with ``see``.
    """
    for name, within in ranges_of(type(numbers)).items():
        value = getattr(numbers, name)
        if value is not None and not within.holds(value):
            raise ValueError(f"{name} must lie in {within}, got {value!r}: {see}")
