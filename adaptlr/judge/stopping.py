"""A run that is left alone from here on, and why. Pure."""

from __future__ import annotations

import dataclasses

from adaptlr.judge.control import Control, GroupControl, Refuge, newest_healthy
from adaptlr.judge.verdict import decided
from adaptlr.judge.words import plural
from adaptlr.records import Action, Decision, Finding, Kind, Trait


def leave(control: Control, finding: Finding) -> tuple[Control, Decision]:
    """No learning rate is to blame for what was wrong before. A net that may yet learn something is watched on."""
    if Trait.ALIVE in finding.traits:
        return control, decided(Action.HOLD, control, control, finding, "nothing was changed")
    stopped = left_alone(control)
    return stopped, decided(Action.STOP, control, stopped, finding, "adaptlr leaves the run alone")


def stop(control: Control, finding: Finding, refuges: tuple[Refuge, ...]) -> tuple[Control, Decision]:
    """Leave the run alone. If ever lower learning rates have not helped, they are not to blame, and are the user's again; and if
    its weights are not finite, those of the newest snapshot that was healthy are."""
    done = "there is no snapshot to go back to: adaptlr leaves the run alone from here on"
    stopped, restored = left_alone(control), None
    if refuges and not control.rollbacks:
        done = "max_rollbacks=0 allows none: adaptlr leaves the run alone from here on"
    elif refuges:
        stopped = dataclasses.replace(stopped, groups=tuple(GroupControl() for _ in control.groups))
        done = (
            f"{plural(control.rollbacks, 'rollback')} did not help, so the learning rate is not to blame: it is as it was, and "
            f"adaptlr leaves the run alone from here on. Look for another cause"
        )
        if finding.kind is Kind.NON_FINITE:
            restored = newest_healthy(refuges).step
            done += f". The weights are those of step {restored} again"
    return stopped, decided(Action.STOP, control, stopped, finding, done, restored_step=restored)


def left_alone(control: Control) -> Control:
    """Nothing more is done, and nothing is being waited for."""
    return dataclasses.replace(control, stopped=True, suspicion=None, slowed=None, raised=None)
