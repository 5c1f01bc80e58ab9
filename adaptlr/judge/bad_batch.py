"""A run that one batch has ruined, and no learning rate: back to before it. Pure."""

from __future__ import annotations

import dataclasses
import math
import statistics

from adaptlr.judge.control import Control, Refuge, Settings, newest_healthy
from adaptlr.judge.doubt import tried_anew
from adaptlr.judge.history import History
from adaptlr.judge.stopping import left_alone
from adaptlr.judge.verdict import decided
from adaptlr.records import Action, Decision, Finding, Kind, Reading, Trait


def ruined_by_data(settings: Settings, control: Control, finding: Finding, reading: Reading, history: History) -> bool:
    """A run that went well and in small steps was broken by one batch; or by its first.

    One that is out of scale is not if another was just before. One that is not finite is, however often: of 3,446 runs at learning
    rates from 1e-6 to 10 none had to be put right for that, as those that are too hot are found before.
    """
    if Trait.AT_START in finding.traits:
        return True
    if finding.kind not in (Kind.NON_FINITE, Kind.BAD_BATCH):
        return False
    if not finding.evidence.get("update_ratio", 0.0) < settings.side_ceiling:
        return False
    if finding.kind is Kind.NON_FINITE and _has_just_been_put_back(control, reading, history):
        return True
    lately = control.last_poison is not None and reading.step - control.last_poison <= settings.quiet_steps
    return (finding.kind is Kind.NON_FINITE or not lately) and _was_healthy(history)


def _has_just_been_put_back(control: Control, reading: Reading, history: History) -> bool:
    """After a bad batch, too few steps ago to say how it goes."""
    if control.last_poison is None or len(history.losses) > 3:
        return False
    return reading.step - control.last_poison <= history.age + 1  # the step that was on its way then was never judged


def _was_healthy(history: History) -> bool:
    """The losses before the newest stood where the run's best ones were."""
    before = [x for x in history.losses[:-1] if math.isfinite(x)]
    if len(before) < 3 or len(before) < len(history.losses) - 1:
        return False
    return statistics.median(before[-3:]) <= max(history.best, min(history.start_level, history.best * 1.5)) + 4 * history.noise


def put_back(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History, refuges: tuple[Refuge, ...]
) -> tuple[Control, Decision]:
    """A batch ruined the weights, and no learning rate: back to before it, as often as that happens, but not in a row for ever."""
    refuge = newest_healthy(refuges)
    before = [r for r in refuges if r.step <= reading.step]
    if finding.kind is Kind.NON_FINITE and before and Trait.AT_START not in finding.traits:
        refuge = before[-1]  # as all went well up to that batch, nothing is wrong with the newest
    new = dataclasses.replace(
        control,
        acted=True,
        slowed=control.slowed and tried_anew(control.slowed, reading.step, refuge),
        last_poison=reading.step,
        poisons=control.poisons + 1,
        poison_every=reading.step - (control.last_poison or 0),
        put_back=1 if any(map(math.isfinite, history.losses)) else control.put_back + 1,
    )
    blame = "nothing led up to it, so a bad batch is to blame"
    if new.poisons > 1:
        blame += f", number {new.poisons} in this run: look for what is not finite in inputs and targets"
    if new.put_back <= settings.max_rollbacks:
        done = f"{blame}; back to step {refuge.step}, learning rates as they were"
        return new, decided(Action.ROLLBACK, control, new, finding, done, restored_step=refuge.step)
    new = left_alone(new)
    done = f"{blame}; back to step {refuge.step} once more, and adaptlr leaves the run alone from here on"
    return new, decided(Action.STOP, control, new, finding, done, restored_step=refuge.step)
