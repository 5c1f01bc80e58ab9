"""fastai's Learner, with the same torch optimizer in an OptimWrapper."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from fastcore.basics import noop
from torch import nn

from adaptlr.fastai import AdaptLR
from tests.contract.case import Case, InterruptionError, Run, groups, loader, model


class Notes(Callback):
    """Notes what the case asks for, then multiplies the learning rates, as a scheduler does."""

    run_valid = False
    learn: Any

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.seen: list[tuple[float, tuple[float, ...]]] = []

    def after_batch(self) -> None:
        opt = self.learn.opt
        lrs = tuple(h["lr"] for h in opt.hypers)
        self.seen.append((self.learn.loss.item(), lrs))
        opt.set_hyper("lr", [lr * self.decay for lr in lrs])


def run(case: Case) -> Run:
    data = loader(case)
    net = model()
    adam: Any = partial(OptimWrapper, opt=partial(torch.optim.Adam, eps=1e-8, betas=(0.9, 0.999)))
    learn: Any = Learner(DataLoaders(data, []), net, loss_func=nn.CrossEntropyLoss(), opt_func=adam, splitter=groups)
    learn.remove_cb(ProgressCallback)
    learn.logger = noop
    cb, log, interrupted = AdaptLR(act=case.act, also=case.also), Notes(case.decay), False
    try:
        learn.fit(case.epochs, list(case.lr), cbs=[log, cb] if case.watch else log)
    except InterruptionError:
        interrupted = True
    return Run(
        model=net,
        optimizer=learn.opt.opt,
        losses=[loss for loss, _ in log.seen],
        lrs=[lrs for _, lrs in log.seen],
        interrupted=interrupted,
        rng=torch.get_rng_state(),
        trace=cb.trace if case.watch else None,
        scales=cb.scales,
    )
