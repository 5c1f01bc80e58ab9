"""Hugging Face's Trainer, with a model that computes its own loss, as theirs do."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from adaptlr.transformers import AdaptLR
from tests.contract.case import BATCH, Case, InterruptionError, Run, groups, loader, model


class WithLoss(nn.Sequential):
    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        logits = super().forward(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Notes(TrainerCallback):
    """Takes the random state that the case begins with, which the Trainer seeds anew, and notes what the case asks for."""

    def __init__(self) -> None:
        self.rng = torch.get_rng_state()
        self.lrs: list[tuple[float, ...]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        torch.set_rng_state(self.rng)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, *, optimizer: Any = None, **kwargs: Any) -> None:
        self.lrs.append(tuple(g["lr"] for g in optimizer.param_groups))


class NotingTrainer(Trainer):
    def __init__(self, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case, self.losses = case, []

    def get_train_dataloader(self) -> Any:
        data: Any = loader(self.case)
        data.collate_fn = lambda items: {"x": torch.stack([x for x, _ in items]), "labels": torch.stack([y for _, y in items])}
        return data

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def run(case: Case) -> Run:
    net = WithLoss(*model())
    adam = torch.optim.Adam([{"params": ps, "lr": lr} for ps, lr in zip(groups(net), case.lr, strict=True)])
    schedule: Any = torch.optim.lr_scheduler.ExponentialLR(adam, case.decay)
    notes, cb, interrupted = Notes(), AdaptLR(act=case.act, also=case.also), False
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            num_train_epochs=case.epochs,
            per_device_train_batch_size=BATCH,
            max_grad_norm=0.0,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = NotingTrainer(
            case, model=net, args=args, optimizers=(adam, schedule), callbacks=[notes, *([cb] if case.watch else [])]
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train()
        except InterruptionError:
            interrupted = True
    assert "training_step" not in vars(trainer)
    return Run(
        model=net,
        optimizer=adam,
        losses=trainer.losses,
        lrs=notes.lrs,
        interrupted=interrupted,
        rng=torch.get_rng_state(),
        trace=cb.trace if case.watch else None,
        scales=cb.scales,
    )
