"""Verdicts that may be wrong, and what the steps after them say. Pure.

One that would give up many steps is tried out first: the run is slowed down where it is, and rolled back if its loss does not come
down by that. The losses after a rollback may show that the data has changed, or what the net plays against, and then learning
rates are as they were.
"""

from __future__ import annotations

import dataclasses
import math

from adaptlr.judge.control import Control, GroupControl, Refuge, Slowed, Suspicion
from adaptlr.judge.history import STARTING, History
from adaptlr.judge.words import number, place
from adaptlr.records import Action, Decision, Finding, Kind, Reading, Trait

_ACQUITTAL_STEPS = 3  # after a rollback: losses on the weights that were put back,
_RISEN = 1.25  # if the loss of the broken run was so many times theirs: the two can be told apart
_TRY_STEPS = 12  # of a run that is slowed down where it is, and half of those that going back must cost for that to be worth it;
_BEFORE, _TRY_LOSSES, _DOWN = 8, 5, 0.1  # losses that are compared, and the share by which they should have come down,
_SURELY_DOWN = 0.5  # or more where batches differ, but never more than this


def doubtful(finding: Finding) -> bool:
    """All that is held against the learning rate is a loss that does not fall, and of that there may be other reasons."""
    return Trait.STALLED in finding.traits and Trait.DYING not in finding.traits


def worth_a_try(control: Control, finding: Finding, refuge: Refuge) -> bool:
    """A doubtful verdict, of which a rollback would cost more than finding out whether smaller steps are enough."""
    fresh = not control.slowed_once and control.raised is None
    return fresh and doubtful(finding) and finding.step - refuge.step >= 2 * _TRY_STEPS


def slowed_by(finding: Finding, history: History, groups: tuple[GroupControl, ...]) -> Slowed:
    """What to remember of a run that is slowed down on this step; ``groups`` as they are held before."""
    loss = history.shown(history.median(_BEFORE))
    return Slowed(finding=finding, until=finding.step + _TRY_STEPS, loss=loss, groups=groups)


def tried_anew(slowed: Slowed, step: int, refuge: Refuge) -> Slowed:
    """The same trial, of a run that one bad batch has put back meanwhile: its losses are those of other weights from there on."""
    loss = slowed.loss if math.isnan(refuge.level) else max(slowed.loss, refuge.level)
    return dataclasses.replace(slowed, until=step + _TRY_STEPS, loss=loss)


def tried(control: Control, reading: Reading, history: History) -> tuple[Control, Finding | None]:
    """The verdict on a run that was slowed down, if it stands: the loss has not come down by that. Asked with every reading."""
    slowed = control.slowed
    if slowed is None or reading.step < slowed.until:
        return control, None
    if _came_down(slowed, history):
        return dataclasses.replace(control, slowed=None), None
    now = history.shown(history.median(_TRY_LOSSES))
    text = f"{place(reading)}: smaller steps have not brought the loss down, from {number(slowed.loss)} to {number(now)}"
    return control, dataclasses.replace(slowed.finding, step=reading.step, message=text)


def _came_down(before: Slowed, history: History) -> bool:
    by = min(max(_DOWN, history.doubt(_TRY_LOSSES, _BEFORE)), _SURELY_DOWN)
    return history.median(_TRY_LOSSES) < history.over_floor(before.loss) * (1 - by)


def suspicion_of(control: Control, history: History, refuge: Refuge, *, at_start: bool) -> Suspicion | None:
    """What the next steps may refute: a loss well above that of the weights put back, for at the start most losses are high."""
    broken = history.median(_ACQUITTAL_STEPS)
    level = history.start_level if at_start else history.over_floor(refuge.level)
    if not broken > _RISEN * level:
        return None
    return Suspicion(level=history.shown(level), loss=history.shown(broken), groups=control.groups, at_start=at_start)


def acquit(control: Control, findings: tuple[Finding, ...], reading: Reading, history: History) -> tuple[Control, Decision | None]:
    """If the loss is as high on the weights that a rollback has put back, the data has changed: learning rates are as they were.

    Asked with every reading but one that is not finite. That a loss bounces as much, or falls as slowly, in small steps too is no
    reason: small steps suit such a run better all the same.

    Source: 130 runs of 87 nets and tasks in which a verdict was tried out or taken back. Without those reasons 35 end better, by
    0.13 of the best fixed learning rate's result, and 12 worse, by as much.
    """
    suspicion = control.suspicion
    if suspicion is None or history.age < _ACQUITTAL_STEPS or any(f.kind is Kind.NON_FINITE for f in findings):
        return control, None
    loss = history.shown(_on_weights_put_back(suspicion, history))
    if not loss > 0.5 * (suspicion.level + suspicion.loss):
        return dataclasses.replace(control, suspicion=None), None
    groups = tuple(
        dataclasses.replace(now, scale=was.scale, ceiling=was.ceiling, max_lr=was.max_lr, broke_lr=was.broke_lr, warmup=1.0)
        for now, was in zip(control.groups, suspicion.groups, strict=True)
    )
    new = dataclasses.replace(
        control,
        groups=groups,
        rollbacks=control.rollbacks - 1,  # that one does not make the next cut deeper
        acquitted=reading.step,
        suspicion=None,
        raised=None,
    )
    text = (
        f"the loss is {number(loss)} on the healthy weights too, so the data has changed, and no learning rate is to blame; "
        f"learning rates are as they were"
    )
    decision = Decision(
        step=reading.step,
        action=Action.RESCALE,
        scales_before=control.scales,
        scales_after=new.scales,
        message=f"{place(reading)}: {text}",
    )
    return new, decision


def _on_weights_put_back(suspicion: Suspicion, history: History) -> float:
    """The loss there, and that of the start if it might be one: of the start's weights each loss counts, for steps soon raise it
    again, and the first is before any."""
    if not suspicion.at_start:
        return history.median(_ACQUITTAL_STEPS)
    lowest = min(history.losses)
    return lowest if lowest > history.start_level * (1 + history.doubt(1, STARTING)) else history.start_level
