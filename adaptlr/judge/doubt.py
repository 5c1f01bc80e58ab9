"""Verdicts that may be wrong, and what the steps after them say. Pure.

One that would give up many steps is tried out first: the run is slowed down where it is, and rolled back if its loss does not come
down by that. The steps after a rollback may still refute what it was for, and then learning rates are as they were.
"""

from __future__ import annotations

import dataclasses

from adaptlr.judge.control import Control, GroupControl, Refuge, Slowed, Suspicion
from adaptlr.judge.history import History
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.words import number, place
from adaptlr.records import Action, Decision, Finding, Reading

_ACQUITTAL_STEPS = 3
_BOUNCE_STEPS = 12  # after which the noise of small steps is known
_TRIAL_LOSSES, _BETTER = 8, 0.05  # of a trial: losses that are compared, and the share by which a cut should have lowered them,
_TRIAL_LEAST, _TRIAL_MOST = 24, 100  # steps that it takes, at most that many where a run's length is unknown,
_TRIAL_FRAC = 0.6  # and otherwise none that lasts beyond so much of the run
_TRY_STEPS = 12  # of a run that is slowed down where it is, and half of those that going back must cost for that to be worth it;
_TRY_LOSSES, _DOWN = 5, 0.1  # losses that are compared, and the share by which they should have come down,
_SURELY_DOWN = 0.5  # or more where batches differ, but never more than this
_RISEN = 1.25  # the loss of a broken run over that of the snapshot, from which the two can be told apart


def doubtful(finding: Finding) -> bool:
    """All that is held against the learning rate is a loss that does not fall, and of that there may be other reasons."""
    return "stalled" in finding.evidence and "died" not in finding.evidence


def worth_a_try(control: Control, finding: Finding, refuge: Refuge) -> bool:
    """A doubtful verdict, of which a rollback would cost more than finding out whether smaller steps are enough."""
    fresh = not control.slowed_once and control.raised is None
    return fresh and doubtful(finding) and finding.step - refuge.step >= 2 * _TRY_STEPS


def slowed_by(finding: Finding, history: History, groups: tuple[GroupControl, ...]) -> Slowed:
    """What to remember of a run that is slowed down on this step; ``groups`` as they are held before."""
    loss = history.shown(history.median(_TRIAL_LOSSES))
    return Slowed(finding=finding, until=finding.step + _TRY_STEPS, loss=loss, groups=groups)


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


def _came_down(before: Slowed | Suspicion, history: History, *, sure: float = 1.0) -> bool:
    by = min(max(_DOWN, sure * history.doubt(_TRY_LOSSES, _TRIAL_LOSSES)), _SURELY_DOWN)
    return history.median(_TRY_LOSSES) < history.over_floor(before.loss) * (1 - by)


def suspicion_of(
    control: Control, finding: Finding, reading: Reading, history: History, refuge: Refuge, *, at_start: bool
) -> Suspicion | None:
    """What the next steps may refute. At the run's start every loss is high: there only one that has not fallen can be doubted."""
    broken, bounce = history.median(_ACQUITTAL_STEPS), finding.evidence.get("bounce")
    loss = history.median(_TRIAL_LOSSES)
    fallen = loss > history.best * (_RISEN + history.doubt(3, _TRIAL_LOSSES))  # it had: not so slow by itself, then
    if doubtful(finding) and (bounce is not None or not fallen):
        steps = max(_TRIAL_LEAST, history.age if at_start else min(history.age, reading.step - refuge.step))
        total = history.outlook.total_steps
        over = steps > _TRIAL_MOST if total is None else reading.step + steps > _TRIAL_FRAC * total
        return Suspicion(
            level=refuge.level,
            loss=history.shown(loss),
            groups=control.groups,
            bounce=bounce,
            trial=None if over or fallen else steps,
        )
    if at_start or not broken > _RISEN * history.over_floor(refuge.level):
        return None
    return Suspicion(level=refuge.level, loss=history.shown(broken), groups=control.groups)


def acquit(limits: Thresholds, control: Control, reading: Reading, history: History) -> tuple[Control, History, Decision | None]:
    """If what a rollback or a slow-down was for is as bad on healthy weights or in small steps, learning rates are as they were.

    A loss as high on the weights that were put back means that the data has changed; one that bounces as much in small steps, that
    batches differ; one that small steps have not brought lower in as many steps, that it falls as slowly as that by itself. Asked
    with every reading, and found so once a run at most. A bounce that was no fault is remembered as that of the batches.
    """
    if control.slowed is not None:
        return _acquit_slowed(limits, control, control.slowed, reading, history)
    suspicion = control.suspicion
    if suspicion is None:
        return control, history, None
    settled, reason = _refuted(limits, suspicion, history)
    if not settled:
        return control, history, None
    if reason is None:
        return dataclasses.replace(control, suspicion=None), history, None
    rollbacks = control.rollbacks - 1  # that one does not make the next cut deeper
    cleared = dataclasses.replace(control, rollbacks=rollbacks)
    return _as_they_were(cleared, suspicion.groups, reading, history, reason, suspicion.bounce)


def _acquit_slowed(
    limits: Thresholds, control: Control, slowed: Slowed, reading: Reading, history: History
) -> tuple[Control, History, Decision | None]:
    """Where it is, and nothing is lost by it: if its loss bounces as much as before."""
    bounce = slowed.finding.evidence.get("bounce")
    if bounce is None or control.acquitted or reading.step < slowed.until or _came_down(slowed, history):
        return control, history, None
    reason = _as_noisy(limits, bounce, history)
    if reason is None:
        return control, history, None
    return _as_they_were(control, slowed.groups, reading, history, reason, bounce)


def _as_they_were(
    control: Control, were: tuple[GroupControl, ...], reading: Reading, history: History, reason: str, bounce: float | None
) -> tuple[Control, History, Decision]:
    """Learning rates are held as before again."""
    groups = tuple(
        dataclasses.replace(now, scale=was.scale, ceiling=was.ceiling, max_lr=was.max_lr, broke_lr=was.broke_lr, warmup=1.0)
        for now, was in zip(control.groups, were, strict=True)
    )
    new = dataclasses.replace(control, groups=groups, acquitted=True, suspicion=None, slowed=None, raised=None)
    decision = Decision(
        step=reading.step,
        action=Action.RESCALE,
        scales_before=control.scales,
        scales_after=new.scales,
        message=f"{place(reading)}: {reason}, and no learning rate is to blame; learning rates are as they were",
    )
    return new, history if bounce is None else history.used_to(bounce), decision


def _refuted(limits: Thresholds, suspicion: Suspicion, history: History) -> tuple[bool, str | None]:
    """Whether the suspicion is settled, and what speaks against it if it is refuted."""
    if suspicion.bounce is None and suspicion.trial is None:
        settled = history.age >= _ACQUITTAL_STEPS
        return settled, _as_high(suspicion, history) if settled else None
    if (
        suspicion.bounce is not None
        and history.age == _BOUNCE_STEPS
        and not _came_down(suspicion, history, sure=0.5)
        and (why := _as_noisy(limits, suspicion.bounce, history))
    ):
        return True, why
    steps = max(_BOUNCE_STEPS, suspicion.trial or 0)
    if history.age < steps:
        return False, None
    return True, _as_slow(suspicion, history) if suspicion.trial is not None else None


def _as_high(suspicion: Suspicion, history: History) -> str | None:
    loss = history.shown(history.median(_ACQUITTAL_STEPS))
    if not loss > 0.5 * (suspicion.level + suspicion.loss):
        return None
    return f"the loss is {number(loss)} on the healthy weights too, so the data has changed"


def _as_noisy(limits: Thresholds, bounce: float, history: History) -> str | None:
    if not history.batch_noise >= max(limits.bounce_frac, bounce / limits.bounce_times):
        return None
    return f"the loss bounces by {number(history.batch_noise)} of itself in small steps too, so batches differ that much"


def _as_slow(suspicion: Suspicion, history: History) -> str | None:
    loss = history.median(_TRIAL_LOSSES)
    if not loss >= history.over_floor(suspicion.loss) * (1 - max(_BETTER, history.doubt(_TRIAL_LOSSES, _TRIAL_LOSSES))):
        return None
    return f"small steps have brought the loss no further, to {number(history.shown(loss))} in {history.age} of them"
