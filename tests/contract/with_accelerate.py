"""Accelerate's loop: the plain one, with what ``prepare`` hands back."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from accelerate import Accelerator
from torch import nn

from adaptlr import Controller
from tests.contract.case import BATCHES, Case, InterruptionError, Run, groups, loader, model


def run(case: Case) -> Run:
    accelerator, net = Accelerator(cpu=True), model().train()
    adam = torch.optim.Adam([{"params": ps, "lr": lr} for ps, lr in zip(groups(net), case.lr, strict=True)])
    # Not the data: a prepared loader is one batch ahead, and a case says at which batch it breaks.
    prepared, optimizer, scheduler = accelerator.prepare(net, adam, torch.optim.lr_scheduler.ExponentialLR(adam, case.decay))
    losses, lrs, interrupted, ctl = [], [], False, None
    with ExitStack() as stack:
        if case.watch:
            ctl = stack.enter_context(
                Controller(prepared, optimizer, act=case.act, also=case.also, total_steps=case.epochs * BATCHES, peak_lrs=case.lr)
            )
        try:
            for epoch in range(case.epochs):
                for i, (x, y) in enumerate(loader(case)):
                    with accelerator.accumulate(prepared):
                        loss = nn.functional.cross_entropy(prepared(x), y)
                        accelerator.backward(loss)
                        optimizer.step()
                        optimizer.zero_grad()
                    if ctl is not None:
                        ctl.step(loss, epoch=epoch + (i + 1) / BATCHES)
                    losses.append(loss.item())
                    lrs.append(tuple(g["lr"] for g in optimizer.param_groups))
                    scheduler.step()
        except InterruptionError:
            interrupted = True
    return Run(
        model=net,
        optimizer=adam,
        losses=losses,
        lrs=lrs,
        interrupted=interrupted,
        rng=torch.get_rng_state(),
        trace=None if ctl is None else ctl.trace,
        scales=() if ctl is None else ctl.scales,
    )
