"""How numbers and places are said in messages: plain, short, the same everywhere."""

from __future__ import annotations

import math

from adaptlr.records import Reading


def number(x: float) -> str:
    """Two significant digits, as a person would write them.

    >>> number(0.0000031), number(0.42), number(36.4), number(1234567.0), number(float("nan"))
    ('3.1e-06', '0.42', '36', '1.2e+06', 'nan')
    """
    if not math.isfinite(x):
        return str(x)
    return f"{x:.0f}" if 10 <= abs(x) < 100_000 else f"{x:.2g}"


def times(factor: float) -> str:
    """A multiplier as a person says it.

    >>> times(1000.0), times(0.0025), times(1.0)
    ('x1000', 'x1/400', 'x1')
    """
    if factor >= 1 or factor <= 0:
        return f"x{number(factor)}"
    return f"x1/{number(1 / factor)}"


def plural(count: int, noun: str) -> str:
    """
    >>> plural(1, "rollback"), plural(8, "rollback")
    ('1 rollback', '8 rollbacks')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def place(reading: Reading) -> str:
    """Where in the run a message was born."""
    return f"step {reading.step}"


def group_name(reading: Reading, index: int) -> str:
    """ "group 0 (conv1, conv2_x)", or "group 0" where no stage is known; "the net" where there is only one group."""
    group = next((g for g in reading.groups if g.index == index), None)
    if len(reading.groups) == 1:
        return "the net"
    stages = f" ({', '.join(group.stages)})" if group is not None and group.stages else ""
    return f"group {index}{stages}"


def sentence_groups(reading: Reading, indices: tuple[int, ...]) -> str:
    """The groups as the subject of a sentence, with its verb."""
    if len(indices) > 1 and len(indices) == len([g for g in reading.groups if not g.frozen]):
        return "every group is"
    names = [group_name(reading, i) for i in indices]
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"
