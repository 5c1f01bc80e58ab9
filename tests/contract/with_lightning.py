"""Lightning's Trainer, with automatic optimization and a scheduler that it steps after every batch."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from adaptlr.lightning import AdaptLR
from tests.contract.case import Case, InterruptionError, Run, groups, loader, model


class Module(pl.LightningModule):
    def __init__(self, net: nn.Sequential, case: Case) -> None:
        super().__init__()
        self.net = net
        self.optimizer = torch.optim.Adam([{"params": ps, "lr": lr} for ps, lr in zip(groups(net), case.lr, strict=True)])
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, case.decay)
        self.losses: list[float] = []
        self.lrs: list[tuple[float, ...]] = []

    def configure_optimizers(self) -> Any:
        return {"optimizer": self.optimizer, "lr_scheduler": {"scheduler": self.scheduler, "interval": "step"}}

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.losses.append(loss.item())
        return loss

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.lrs.append(tuple(g["lr"] for g in self.optimizer.param_groups))
        super().lr_scheduler_step(scheduler, metric)


def run(case: Case) -> Run:
    net = model().train()
    module, cb, interrupted = Module(net, case), AdaptLR(model="net", act=case.act, also=case.also), False
    trainer = pl.Trainer(
        max_epochs=case.epochs,
        accelerator="cpu",
        callbacks=[cb] if case.watch else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(module, loader(case))
    except InterruptionError:
        interrupted = True
    return Run(
        model=net,
        optimizer=module.optimizer,
        losses=module.losses,
        lrs=module.lrs,
        interrupted=interrupted,
        rng=torch.get_rng_state(),
        trace=cb.trace if case.watch else None,
        scales=cb.scales,
    )
