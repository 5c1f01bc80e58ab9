"""Decisions in a few words: for a mark in a picture, a title, a table."""

from __future__ import annotations

import math

from adaptlr.records import Action, Decision
from adaptlr.trace import Trace


def short(decision: Decision) -> str:
    """What was done, in a few words.

    >>> short(Decision(step=59, action=Action.ROLLBACK, scales_before=(1, 1), scales_after=(0.1, 0.1), message="", restored_step=0))
    'rolled back to 0, x1/10'
    """
    match decision.action:
        case Action.ROLLBACK:
            words = "rolled back" if decision.restored_step is None else f"rolled back to {decision.restored_step}"
            return ", ".join(filter(None, [words, factors(decision).removeprefix("all groups ")]))
        case Action.RESCALE:
            return factors(decision) or "rescaled, unchanged"
        case Action.HOLD:
            return "warned"
        case Action.STOP:
            return "stopped acting"


def headline(trace: Trace) -> str:
    """What happened in the run, as a title: its first decision, or else its first finding, or that nothing was wrong."""
    if trace.decisions:
        first, others = trace.decisions[0], len(trace.decisions) - 1
        why = f"{', '.join(first.findings)}: " if first.findings else ""
        more = f", and {others} more decision{'s' if others > 1 else ''}" if others else ""
        return f"Step {first.step}, {why}{short(first)}{more}"
    if trace.findings:
        first, others = trace.findings[0], len(trace.findings) - 1
        more = f", and {others} more finding{'s' if others > 1 else ''}" if others else ""
        return f"Step {first.step}, {first.kind}: nothing was changed{more}"
    return f"{len(trace.readings)} step{'' if len(trace.readings) == 1 else 's'}, no fault found"


def factors(decision: Decision) -> str:
    """By what each group's learning rate was multiplied; empty if none changed.

    >>> factors(Decision(step=1, action=Action.RESCALE, scales_before=(1, 1), scales_after=(1000, 1), message=""))
    'group 0 x1000'
    """
    pairs = list(zip(decision.scales_before, decision.scales_after, strict=True))
    changed = [(i, _factor(before, after)) for i, (before, after) in enumerate(pairs) if before != after]
    if len(changed) == len(pairs) and len({text for _, text in changed}) == 1:
        return f"{'all groups' if len(pairs) > 1 else 'group 0'} {changed[0][1]}"
    return ", ".join(f"group {i} {text}" for i, text in changed)


def _factor(before: float, after: float) -> str:
    ratio = after / before if before else math.inf
    return f"x{_round(ratio)}" if ratio >= 1 or ratio == 0 else f"x1/{_round(1 / ratio)}"


def _round(ratio: float) -> str:
    return f"{ratio:.0f}" if 100 <= ratio < 1e6 else f"{ratio:.3g}"
