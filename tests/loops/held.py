"""A controller that holds scales other than 1, without a run that had to be ruined for it first."""

from __future__ import annotations

import dataclasses

from adaptlr import Controller


def hold(controller: Controller, *scales: float) -> Controller:
    """The controller as it is after decisions that left it with these scales."""
    control = controller._control
    groups = tuple(dataclasses.replace(g, scale=s) for g, s in zip(control.groups, scales, strict=True))
    controller._control = dataclasses.replace(control, groups=groups, acted=True)
    return controller
