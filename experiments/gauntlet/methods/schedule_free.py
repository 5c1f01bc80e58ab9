"""Schedule-Free SGD and AdamW: at the user's learning rate, and at its own default."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch
from torch import nn

from experiments.gauntlet.methods.base import Plain
from experiments.gauntlet.methods.parameter_free import has_batch_norm

WARMUP_FRAC = 0.05  # of the steps: "using learning rate warmup is recommended"
_CALIBRATION = 50  # batches, as in its README


class ScheduleFree(Plain):
    """It takes a learning rate, so it gets the one that the user got wrong."""

    name: ClassVar[str] = "schedule-free"
    packages: ClassVar[tuple[str, ...]] = ("schedulefree",)
    settings: ClassVar[str] = (
        f"schedulefree.SGDScheduleFree in place of SGD, AdamWScheduleFree of the others, at the user's learning rates, no "
        f"schedule, warm-up {WARMUP_FRAC:.0%} of the steps, train and eval modes, BatchNorm recalibrated on {_CALIBRATION} "
        f"batches; weight decay 0.01 in place of AdamW"
    )

    def make_optimizer(self) -> Any:
        import schedulefree  # noqa: PLC0415

        sgd = self.job.cell.column.optimizer == "sgd"
        kind = schedulefree.SGDScheduleFree if sgd else schedulefree.AdamWScheduleFree
        decay = 0.01 if self.job.cell.column.optimizer == "adamw" else 0.0
        groups = [{"params": list(p), "lr": lr} for p, lr in zip(self.job.groups(len(self.lrs)), self.lrs, strict=True)]
        optimizer = kind(groups, warmup_steps=round(WARMUP_FRAC * self.job.steps), weight_decay=decay)
        optimizer.train()
        return optimizer

    def multiplier(self) -> float:
        return 1.0

    def trained(self) -> nn.Module:
        model = self.job.model
        self.optimizer.eval()
        if has_batch_norm(model):
            model.train()
            with torch.no_grad():
                for x, _ in itertools.islice(self.job.final_batches(), _CALIBRATION):
                    model(x)
        return model


class ScheduleFreeDefault(ScheduleFree):
    """At the learning rate that the package has as its default."""

    name: ClassVar[str] = "schedule-free-default"
    own_lr: ClassVar[bool] = True
    settings: ClassVar[str] = (
        "schedule-free at its own default learning rate: 1.0 for SGD, 0.0025 for AdamW; otherwise as schedule-free"
    )

    def starting_lrs(self) -> tuple[float, ...]:
        return (1.0 if self.job.cell.column.optimizer == "sgd" else 0.0025,)
