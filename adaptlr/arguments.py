"""What a Controller and the callbacks are given, looked at before anything begins: what is wrong is named, with its value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import torch.distributed as dist

from adaptlr.judge.control import Settings
from adaptlr.judge.outlook import Lesson
from adaptlr.judge.thresholds import Thresholds
from adaptlr.measure.named import labelled
from adaptlr.observer import Sampling

_OURS = {"thresholds": Thresholds, "settings": Settings, "sampling": Sampling, "lesson": Lesson}
_STATE_KEYS = frozenset({"version", "groups", "observer"})  # of every version
_SHOWN_KEYS = 5  # of a dict that is no state


def check(
    *,
    act: Any,
    stages: Any,
    also: Any,
    scaler: Any = None,
    announce: Any = None,
    process_group: Any = None,
    **ours: Any,
) -> None:
    """Arguments by their names, ``ours`` those that are of a class of adaptlr's. None stands for what was left out.

    Raises:
        TypeError: one is of a type that it cannot have.
    """
    if not is_flag(act):
        raise TypeError(f"act must be True or False, got {act!r}")
    for name, value in ours.items():
        _check_ours(name, value)
    if stages is not None and not isinstance(stages, Iterator):  # one that is read once is looked at when it is read
        labelled(stages)
    if not _can_go_back(scaler):
        raise TypeError(f"scaler must be the GradScaler, with state_dict and load_state_dict, or None, got {scaler!r}")
    things = also if isinstance(also, Sequence) and not isinstance(also, str) else [also]
    for thing in things:
        if not _can_go_back(thing):
            raise TypeError(f"also must be what has state_dict and load_state_dict, or a list of such things, got {thing!r}")
    if announce is not None and not callable(announce):
        raise TypeError(f"announce must be a function that takes a finding or a decision, or None, got {announce!r}")
    if process_group is not None and dist.is_available() and not isinstance(process_group, dist.ProcessGroup):
        raise TypeError(f"process_group must be a torch.distributed.ProcessGroup, as dist.new_group() gives, got {process_group!r}")


def is_flag(value: Any) -> bool:
    """True or False, or numpy's: these are no bool, but called so.

    >>> is_flag(True), is_flag(1), is_flag("no")
    (True, False, False)
    """
    return isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"))


def rates(name: str, given: Any) -> tuple[float, ...]:
    """Learning rates, alone or several, in a list, an array or a tensor.

    Raises:
        TypeError: they are no numbers.
        ValueError: one is below 0, infinite or NaN.

    >>> rates("peak_lrs", 0.1), rates("peak_lrs", [0, 1e-3])
    ((0.1,), (0.0, 0.001))
    """
    several = isinstance(given, Iterable) and not isinstance(given, str | Mapping) and getattr(given, "ndim", 1) > 0
    each: list[Any] = list(given) if several else [given]
    numbers: list[Any] = [x.item() if getattr(x, "ndim", None) == 0 else x for x in each]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, Real):
            raise TypeError(f"{name} must be numbers, one learning rate for each parameter group, got {given!r}")
        if not 0 <= float(number) < math.inf:
            raise ValueError(f"{name} must be learning rates, finite and not below 0, got {given!r}")
    return tuple(map(float, numbers))


def check_state(state: Any, giver: str) -> None:
    """A state is one that ``giver`` gave, of whatever version.

    Raises:
        ValueError: it is something else, or holds it under a key, which is named then.
    """
    if _is_state(state):
        return
    if not isinstance(state, Mapping):
        raise ValueError(f"this state is not what {giver} gave, but {type(state).__name__}: load what was saved of that")
    keys = [repr(key) for key in state]
    shown = ", ".join(keys[:_SHOWN_KEYS]) + (f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else "")
    within = [key for key, value in state.items() if _is_state(value)]
    hint = f"did you mean state[{within[0]!r}]?" if len(within) == 1 else "load what was saved of that"
    what = f"a dict with {shown}" if keys else "an empty dict"
    raise ValueError(f"this state is not what {giver} gave, but {what}: {hint}")


def _is_state(state: Any) -> bool:
    return isinstance(state, Mapping) and state.keys() >= _STATE_KEYS


def _check_ours(name: str, value: Any) -> None:
    kind = _OURS[name]
    if value is None or isinstance(value, kind):
        return
    got = "the class itself" if value is kind else type(value).__name__
    raise TypeError(f"{name} must be adaptlr.{kind.__name__}(...), got {got}")


def _can_go_back(thing: Any) -> bool:
    """It is a Stateful, or left out."""
    methods = ("state_dict", "load_state_dict")
    return thing is None or (not isinstance(thing, type) and all(callable(getattr(thing, name, None)) for name in methods))
