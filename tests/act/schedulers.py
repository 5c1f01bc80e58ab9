"""Every learning rate scheduler of torch, as a user would make it for two groups and twelve steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.optim import lr_scheduler

STEPS = 12
SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, [lambda k: 0.9**k, lambda k: 1 / (k + 1)]),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda k: 0.9),
    "StepLR": partial(lr_scheduler.StepLR, step_size=3, gamma=0.3),
    "MultiStepLR": partial(lr_scheduler.MultiStepLR, milestones=[2, 5], gamma=0.3),
    "ConstantLR": partial(lr_scheduler.ConstantLR, factor=0.3, total_iters=4),
    "LinearLR": partial(lr_scheduler.LinearLR, start_factor=0.3, total_iters=5),
    "ExponentialLR": partial(lr_scheduler.ExponentialLR, gamma=0.9),
    "PolynomialLR": partial(lr_scheduler.PolynomialLR, total_iters=8, power=2.0),
    "CosineAnnealingLR": partial(lr_scheduler.CosineAnnealingLR, T_max=5),
    "CosineAnnealingWarmRestarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3, T_mult=2),
    "CyclicLR": partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3),
    "OneCycleLR": partial(lr_scheduler.OneCycleLR, max_lr=[0.1, 0.2], total_steps=STEPS + 1),
    "ReduceLROnPlateau": partial(lr_scheduler.ReduceLROnPlateau, patience=1, factor=0.3),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.ExponentialLR(o, 0.8)], milestones=[4]
    ),
    "SWALR": partial(torch.optim.swa_utils.SWALR, swa_lr=0.01, anneal_epochs=5),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.3, total_iters=4), lr_scheduler.ExponentialLR(o, 0.8)]
    ),
}
