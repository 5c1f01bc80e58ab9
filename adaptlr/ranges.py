"""Numbers that have to lie in a range and that mean something, both of which is said where they are declared.

``hot_ratio: Annotated[float, Over(0, upto=1)] = default(0.1, "update ratio from which a step is hot")``: what is refused quotes it,
and :func:`explained` puts it into the class's help.
"""

from __future__ import annotations

import functools
import inspect
import textwrap
from dataclasses import dataclass, field, fields
from numbers import Real
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

_T = TypeVar("_T")
_WIDTH = 100  # of a line of help
_LAST = "Raises:"  # the part of a docstring that comes after what explains the fields


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
def _annotated(kind: type) -> dict[str, Any]:
    """The annotations of a class that hold more than a type, with what they hold."""
    return {name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if hasattr(hint, "__metadata__")}


@functools.cache
def ranges_of(kind: type) -> dict[str, Over | Least]:
    """The range of each annotated field of a class."""
    return {name: r for name, hint in _annotated(kind).items() for r in hint.__metadata__ if isinstance(r, Over | Least)}


def default(value: _T, meaning: str, *, section: str = "") -> _T:
    """A field's default, and what the field means.

    Args:
        value: the default.
        meaning: a sentence that stands alone, without its full stop: an error quotes it.
        section: what this field and those after it are about, where something else begins.
    """
    return field(default=value, metadata={"meaning": meaning, "section": section})


def required(meaning: str) -> Any:
    """A field without a default, and what it means, as :func:`default` has it."""
    return field(metadata={"meaning": meaning, "section": ""})


def meanings_of(kind: type) -> dict[str, str]:
    """What each field of a dataclass means. Raises KeyError if one does not say."""
    return {f.name: f.metadata["meaning"] for f in fields(kind)}


def explained(kind: type[_T]) -> type[_T]:
    """Put what each field is into the docstring of a dataclass, section by section, before what it raises. A class decorator.

    Raises:
        KeyError: a field has no range or no meaning.

    >>> @explained
    ... @dataclass(frozen=True)
    ... class Limits:
    ...     '''What counts as too hot.'''
    ...     hot_ratio: Share = default(0.1, "update ratio from which a step is hot", section="large updates")
    >>> print(Limits.__doc__)
    What counts as too hot.
    <BLANKLINE>
    Args:
    <BLANKLINE>
        ---- large updates
    <BLANKLINE>
        hot_ratio = 0.1, of (0, 1]: update ratio from which a step is hot.
    """
    first, raises, last = inspect.cleandoc(kind.__doc__ or "").partition(_LAST)
    ranges, lines = ranges_of(kind), list[str]()
    for f in fields(kind):  # type: ignore[arg-type]  # no protocol says dataclass
        if f.metadata["section"]:
            lines += ["", f"    ---- {f.metadata['section']}", ""]
        text = f"{f.name} = {_short(f.default)}, of {ranges[f.name]}: {f.metadata['meaning']}."
        lines += textwrap.wrap(text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)
    kind.__doc__ = "\n".join([first.rstrip(), "", "Args:", *lines, *(["", raises + last] if raises else [])])
    return kind


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


def check(numbers: Any) -> None:
    """Each field. One that may be None is left out then; in one that is an int, 100.0 becomes 100.

    Raises:
        TypeError: a field is no number, or no whole one where it is to be an int; the message quotes it, and says what it means.
        ValueError: a field is outside its range; likewise.
    """
    hints, meanings = _annotated(type(numbers)), meanings_of(type(numbers))
    for name, within in ranges_of(type(numbers)).items():
        value, kind = getattr(numbers, name), hints[name].__origin__
        if value is None and NoneType in get_args(kind):
            continue
        if value is None or not _is_number(value):
            raise TypeError(f"{name} must be a number, got {value!r}: {meanings[name]}")
        if not within.holds(value):
            raise ValueError(f"{name} must lie in {within}, got {value!r}: {meanings[name]}")
        if kind is int:
            object.__setattr__(numbers, name, whole(name, value, see=meanings[name]))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
