"""A run that is too hot: slowed down where it is, or rolled back and from then on held under ceilings. Pure."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from adaptlr.judge.advice import lr_advice
from adaptlr.judge.control import (
    WARMUP_LEAST,
    WARMUP_MOST,
    WORTH_IT,
    Control,
    GroupControl,
    Refuge,
    Settings,
    hold_under,
    loosened,
    newest_healthy,
    pace_of,
    with_followers,
)
from adaptlr.judge.doubt import slowed_by, suspicion_of, worth_a_try
from adaptlr.judge.history import LEARNED, History
from adaptlr.judge.verdict import decided
from adaptlr.judge.words import number, times
from adaptlr.records import Action, Decision, Finding, Kind, Reading, Trait

_WELL_STEPS = 24  # that a run had gone well, to have learned something that is worth keeping
_SPENT = 0.4  # share of a run of known length from which no more of it is given up than must be


def retreat(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History, refuges: tuple[Refuge, ...]
) -> tuple[Control, Decision]:
    """Slow the run down where it is, if that is worth a try; or else go back to one of ``refuges``, and hold it under ceilings."""
    verdict = _Verdict(
        slow=finding.kind is Kind.COLLAPSE or Trait.STALLED in finding.traits or Trait.LOST in finding.traits,
        learned=_had_learned(history),
        doubtful=Trait.STALLED in finding.traits,
        retreat=settings.retreat**control.rollbacks,
    )
    refuge = _refuge(settings, control, finding, reading, history, refuges, verdict)
    if worth_a_try(control, finding, refuge) and (slower := _slow_down(settings, control, finding, reading, history)):
        return slower
    return _roll_back(settings, control, finding, reading, history, refuge, verdict)


class _Verdict(NamedTuple):
    """What the cuts depend on, whichever group it is."""

    slow: bool  # the damage had been done for some time before it was seen
    learned: bool  # the run had gone well for some time before that
    doubtful: bool  # all that is held against the learning rate is a loss that does not fall
    retreat: float  # what ceilings are divided by, after as many rollbacks


def _roll_back(
    settings: Settings,
    control: Control,
    finding: Finding,
    reading: Reading,
    history: History,
    refuge: Refuge,
    verdict: _Verdict,
) -> tuple[Control, Decision]:
    broken = control if control.slowed is None else dataclasses.replace(control, groups=control.slowed.groups)
    accused, groups = _accused(control, finding), list[GroupControl]()
    side = settings.side_ceiling * history.caution(reading)
    for i, (g, now) in enumerate(zip(broken.groups, reading.groups, strict=True)):
        per_lr = _per_lr_at(refuge, i, g)
        if i not in accused:
            groups.append(_bystander(g, now.lr, verdict, ceiling=side, per_lr=per_lr))
            continue
        pace = pace_of(settings, history, reading, now)
        cut = _cut(settings, g, now.lr, verdict, pace=pace, hottest_lr=history.past(i).largest_lr, per_lr=per_lr)
        groups.append(_lowered(cut, g, control.raised.groups[i], now.lr) if control.raised else cut)
    held = with_followers(tuple(groups), reading)
    lately = control.acquitted is not None and reading.step - control.acquitted <= settings.quiet_steps
    doubt = None if lately else suspicion_of(broken, history, refuge, at_start=refuge.step == 0)
    rollbacks = control.rollbacks + 1
    new = dataclasses.replace(control, groups=held, rollbacks=rollbacks, acted=True, suspicion=doubt, raised=None, slowed=None)
    factor = min((a.scale / b.scale for a, b in zip(new.groups, control.groups, strict=True)), default=1.0)
    ceiling = min((g.ceiling for g in held if g.ceiling is not None), default=math.nan)
    done = (
        f"rolled back to step {refuge.step}, learning rate now {times(factor)}, "
        f"and no step above {number(ceiling)} of the weights from here on"
    )
    advice = lr_advice(reading, new, history)
    return new, decided(Action.ROLLBACK, control, new, finding, done, restored_step=refuge.step, advice=advice)


def _slow_down(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History
) -> tuple[Control, Decision] | None:
    """The accused groups at their pace where the run is; None if they are hardly above it."""
    groups = list(control.groups)
    for i in _accused(control, finding):
        g, pace = groups[i], pace_of(settings, history, reading, reading.groups[i])
        ceiling = pace if g.ceiling is None else min(pace, g.ceiling)
        ratio = history.past(i).ratio
        share = min(1.0, loosened(ceiling, g.progress) / ratio) if ratio > 0 else 1.0
        groups[i] = dataclasses.replace(g, scale=g.scale * share, ceiling=ceiling, warmup=1.0)
    held = with_followers(tuple(groups), reading)
    factor = min(a.scale / b.scale for a, b in zip(held, control.groups, strict=True))
    if factor * WORTH_IT > 1:
        return None
    slowed = slowed_by(finding, history, control.groups)
    new = dataclasses.replace(control, groups=held, acted=True, suspicion=None, slowed=slowed, slowed_once=True)
    done = f"slowed down where it is, to see whether that is enough: learning rate now {times(factor)}"
    return new, decided(Action.RESCALE, control, new, finding, done, advice=lr_advice(reading, new, history))


def _accused(control: Control, finding: Finding) -> tuple[int, ...]:
    return finding.groups or tuple(range(len(control.groups)))


def _had_learned(history: History) -> bool:
    """Since its start, or since it was last put back, the run has for some time gone well, down to half the loss at its start."""
    return history.best_age >= _WELL_STEPS and history.best < LEARNED * history.start_level


def _refuge(
    settings: Settings,
    control: Control,
    finding: Finding,
    reading: Reading,
    history: History,
    refuges: tuple[Refuge, ...],
    verdict: _Verdict,
) -> Refuge:
    """Where to go back to: a healthy snapshot, as long as the damage cannot be in it already; otherwise the run's start."""
    if Trait.STUCK in finding.traits and control.raised is None:  # in weights that all snapshots since have
        return refuges[0]
    certified = [r for r in refuges if r.certified]
    total = history.outlook.total_steps
    spent = total is not None and reading.step >= _SPENT * total
    if certified and (spent or verdict.learned):
        return certified[-1]
    if control.raised is not None:  # what broke it came after that
        before = [r for r in certified if r.step <= control.raised.step]
        if before:
            return before[-1]
    had_learned = [r for r in certified if history.over_floor(r.level) < LEARNED * history.start_level]
    if had_learned and control.rollbacks == 1 and Trait.REPLACED not in finding.traits:  # that is not given up at once
        return had_learned[-1]
    early = Trait.REPLACED in finding.traits or (verdict.slow and reading.step < settings.early_steps)
    return newest_healthy(refuges) if control.rollbacks == 0 and not early else refuges[0]


def _per_lr_at(refuge: Refuge, index: int, group: GroupControl) -> float | None:
    """The update ratio over lr that the group had where the run goes back to."""
    if refuge.step == 0 or index >= len(refuge.per_lr):
        return group.first_per_lr
    return refuge.per_lr[index]


def _cut(
    settings: Settings,
    group: GroupControl,
    lr: float,
    verdict: _Verdict,
    *,
    pace: float,
    hottest_lr: float,
    per_lr: float | None,
) -> GroupControl:
    """An accused group after a rollback, to where a step was ``per_lr`` of the weights over its learning rate."""
    effective, ramped = lr * group.scale, _ramped(group, lr)
    slow = (verdict.slow or ramped > settings.slow_retreat) and not verdict.learned  # it had been breaking below the ramp's top
    limit = effective / (settings.slow_retreat if slow else settings.retreat)
    max_lr = limit if group.max_lr is None else min(limit, group.max_lr)
    broken_at = max(effective, hottest_lr)  # a ceiling may have cut it since
    broke_lr = math.inf if verdict.doubtful else max(max_lr, min(broken_at / settings.retreat, group.broke_lr or math.inf))
    ceiling = _no_higher(group, pace / verdict.retreat)
    limited = dataclasses.replace(group, ceiling=ceiling, max_lr=max_lr, broke_lr=broke_lr, per_lr=per_lr, warmup=1.0)
    return dataclasses.replace(hold_under(limited, lr), warmup=min(max(WARMUP_LEAST, ramped), WARMUP_MOST))


def _bystander(group: GroupControl, lr: float, verdict: _Verdict, *, ceiling: float, per_lr: float | None) -> GroupControl:
    """Any other group then: it may come back to where it was, and is not raised."""
    ceiling = _no_higher(group, ceiling / verdict.retreat)
    held = hold_under(dataclasses.replace(group, ceiling=ceiling, per_lr=per_lr, warmup=1.0), lr)
    warmup = min(max(WARMUP_LEAST, _ramped(group, lr)), WARMUP_MOST, max(1.0, group.scale / held.scale))
    return dataclasses.replace(held, warmup=warmup)


def _ramped(group: GroupControl, lr: float) -> float:
    """The scheduled learning rate over that of the first step."""
    return lr / group.first_lr if group.first_lr else 1.0


def _no_higher(group: GroupControl, ceiling: float) -> float:
    return ceiling if group.ceiling is None else min(ceiling, group.ceiling)


def _lowered(cut: GroupControl, broken: GroupControl, was: GroupControl, lr: float) -> GroupControl:
    """What a raise had been too much for goes back to where it was, and not below that, however deep the cut."""
    if not (was.scale < broken.scale and cut.scale < was.scale) or lr <= 0:
        return cut
    ceiling = max(cut.ceiling or 0.0, was.ceiling or 0.0) or None
    max_lr = max(cut.max_lr or 0.0, was.scale * lr)
    return hold_under(dataclasses.replace(cut, scale=was.scale, ceiling=ceiling, max_lr=max_lr), lr)
