"""torch's ReduceLROnPlateau on top of the user's schedule."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from experiments.gauntlet.job import Job
from experiments.gauntlet.methods.base import Event, Plain

CHECKS = 20  # a run: it is made for epochs, and these runs have two or three
PATIENCE = 2  # of the default's 10, it would never act in time


class Plateau(Plain):
    name: ClassVar[str] = "plateau"
    steps_in: ClassVar[bool] = True
    settings: ClassVar[str] = (
        f"torch ReduceLROnPlateau (factor 0.1, patience {PATIENCE}, other defaults) on the mean training loss of every "
        f"twentieth part of the run, on top of the schedule"
    )

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        # The scheduler drives an optimizer of its own, whose lr is the factor: fastai's optimizers have no param_groups.
        self._factor = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        self._scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self._factor, factor=0.1, patience=PATIENCE)
        self._losses: list[float] = []

    def multiplier(self) -> float:
        return super().multiplier() * self._factor.param_groups[0]["lr"]

    def after_update(self, loss: Tensor) -> None:
        self._losses.append(loss.item())
        if len(self._losses) < self.job.steps // CHECKS:
            return
        before = self._factor.param_groups[0]["lr"]
        self._scheduler.step(sum(self._losses) / len(self._losses))
        self._losses.clear()
        if self._factor.param_groups[0]["lr"] != before:
            self.events.decisions.append(Event(step=self.at, kinds=("plateau",), changes=True, lower=True))
