"""Optimizers that need no learning rate: Prodigy, D-Adaptation, DoG; from their own packages, as their READMEs say."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from experiments.gauntlet.methods.base import Plain

_ADAMW_DECAY = 0.01  # torch's default, where the user's optimizer is AdamW


def has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


class _ParameterFree(Plain):
    """Takes the place of the user's optimizer, at lr 1, once a column."""

    own_lr: ClassVar[bool] = True

    def starting_lrs(self) -> tuple[float, ...]:
        return (1.0,)

    @property
    def decay(self) -> float:
        return _ADAMW_DECAY if self.job.cell.column.optimizer == "adamw" else 0.0


class Prodigy(_ParameterFree):
    name: ClassVar[str] = "prodigy"
    packages: ClassVar[tuple[str, ...]] = ("prodigyopt",)
    settings: ClassVar[str] = (
        "prodigyopt.Prodigy, lr 1, defaults, on the user's schedule; safeguard_warmup under one-cycle, as its README asks where "
        "there is a warm-up; weight decay 0.01 in place of AdamW"
    )

    def make_optimizer(self) -> Any:
        from prodigyopt import Prodigy as Optimizer  # noqa: PLC0415

        warms_up = self.job.cell.column.schedule == "one-cycle"
        with contextlib.redirect_stdout(io.StringIO()):  # it prints "Using decoupled weight decay"
            decay: Any = self.decay  # typed as an int there
            return Optimizer(self.job.model.parameters(), lr=1.0, weight_decay=decay, safeguard_warmup=warms_up)


class DAdaptation(_ParameterFree):
    name: ClassVar[str] = "d-adaptation"
    packages: ClassVar[tuple[str, ...]] = ("dadaptation",)
    settings: ClassVar[str] = (
        "dadaptation.DAdaptSGD (momentum 0.9) in place of SGD, DAdaptAdam in place of the others (decoupled weight decay 0.01 in "
        "place of AdamW), lr 1, defaults, on the user's schedule"
    )

    def make_optimizer(self) -> Any:
        import dadaptation  # noqa: PLC0415

        logging.getLogger("root").setLevel(logging.ERROR)
        params = self.job.model.parameters()
        if self.job.cell.column.optimizer == "sgd":
            return dadaptation.DAdaptSGD(params, lr=1.0, momentum=0.9)
        with contextlib.redirect_stdout(io.StringIO()):
            decay: Any = self.decay  # typed as an int there
            return dadaptation.DAdaptAdam(params, lr=1.0, weight_decay=decay, decouple=self.decay > 0)


class DoG(_ParameterFree):
    name: ClassVar[str] = "dog"
    packages: ClassVar[tuple[str, ...]] = ("dog-optimizer",)
    settings: ClassVar[str] = (
        "dog.DoG, lr 1, defaults, no schedule, judged by its PolynomialDecayAverager's model; reps_rel 1e-4 for nets with "
        "BatchNorm, as its README advises"
    )

    def make_optimizer(self) -> Any:
        import dog  # noqa: PLC0415

        self._averager = dog.PolynomialDecayAverager(self.job.model)
        reps_rel = 1e-4 if has_batch_norm(self.job.model) else 1e-6
        return dog.DoG(self.job.model.parameters(), reps_rel=reps_rel)

    def multiplier(self) -> float:
        return 1.0

    def after_update(self, loss: Tensor) -> None:
        with torch.no_grad():
            self._averager.step()

    def trained(self) -> nn.Module:
        return self._averager.averaged_model
