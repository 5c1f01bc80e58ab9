"""How a rule puts what it has found, and the policy what it does about it; and what several rules ask of a loss. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from adaptlr.judge.control import Control
from adaptlr.judge.history import History
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.words import number, place
from adaptlr.records import Action, Decision, Finding, Kind, Reading, Trait

Rule = Callable[[History, Reading, Thresholds], Finding | None]


def finding(
    kind: Kind,
    reading: Reading,
    groups: tuple[int, ...],
    text: str,
    *,
    stages: tuple[str, ...] | None = None,
    traits: tuple[Trait, ...] = (),
    **evidence: float,
) -> Finding:
    named = stages if stages is not None else tuple(s for g in reading.groups if g.index in groups for s in g.stages)
    message = f"{place(reading)}: {text}"
    return Finding(step=reading.step, kind=kind, groups=groups, stages=named, message=message, evidence=evidence, traits=traits)


def also(finding: Finding, *traits: Trait, **evidence: float) -> Finding:
    """The same finding with more to it."""
    return dataclasses.replace(finding, traits=(*finding.traits, *traits), evidence={**finding.evidence, **evidence})


def decided(
    action: Action,
    before: Control,
    after: Control,
    finding: Finding,
    done: str,
    *,
    restored_step: int | None = None,
    advice: str = "",
) -> Decision:
    """What is done about a finding, with the finding's own words before it."""
    return Decision(
        step=finding.step,
        action=action,
        scales_before=before.scales,
        scales_after=after.scales,
        findings=(finding.kind,),
        restored_step=restored_step,
        message=f"{finding.message}; {done}",
        advice=advice,
    )


def said(history: History, loss: float) -> str:
    """A loss as the user knows it."""
    return number(history.shown(loss))


def plateau(history: History, steps: int = 12) -> float:
    """Where a net that answers the same whatever it is shown stands: the lowest of the last losses, if they hardly differ."""
    last = [x for x in history.losses[-steps:] if math.isfinite(x)]
    if len(last) < steps:
        return math.inf
    spread = max(last) - min(last)
    return min(last) if spread < 0.15 * abs(last[-1]) else math.inf
