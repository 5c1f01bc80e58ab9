"""One rank within a framework: ``python -m tests.ranks.adapters FOLDER RANK SIZE FRAMEWORK ...``."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from adaptlr import AdaptLRWarning, Controller
from tests.ranks.net import STEPS, adam, batch, model, train, weights

LR = 1.0


class Batches(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """This rank's own items, batch after batch: the sampler of a framework must not cut them again."""

    def __init__(self, rank: int, size: int) -> None:
        parts = [batch(step, rank, size) for step in range(STEPS)]
        self.x, self.y = (torch.cat(t) for t in zip(*parts, strict=True))
        self.batch_size = len(self.x) // STEPS

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.x[i], self.y[i]


def loader(rank: int, size: int) -> torch.utils.data.DataLoader[tuple[Tensor, Tensor]]:
    data = Batches(rank, size)
    return torch.utils.data.DataLoader(data, batch_size=data.batch_size)


def brought(trace: Any, scales: tuple[float, ...], net: nn.Module) -> dict[str, Any]:
    return {
        "decisions": [(d.step, str(d.action)) for d in trace.decisions],
        "scales": scales,
        "losses": [r.loss for r in trace.readings],
        "weights": weights(net),
    }


def with_accelerate(rank: int, size: int) -> Any:
    from accelerate import Accelerator

    accelerator, net = Accelerator(cpu=True), model()
    prepared, optimizer = accelerator.prepare(net, adam(net, LR))
    assert isinstance(prepared, nn.parallel.DistributedDataParallel)
    with Controller(prepared, optimizer) as ctl:
        train(prepared, optimizer, ctl, rank=rank, size=size)
    return brought(ctl.trace, ctl.scales, net)


def with_fastai(rank: int, size: int) -> Any:
    from functools import partial

    from fastai.callback.progress import ProgressCallback
    from fastai.data.core import DataLoaders
    from fastai.distributed import DistributedTrainer
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper
    from fastcore.basics import noop

    from adaptlr.fastai import AdaptLR

    class OnCPU(DistributedTrainer):
        """What ``learn.distrib_ctx()`` adds, but for its sampler, which needs CUDA."""

        def _wrap_dl(self, dl: Any) -> Any:
            return dl

    opt: Any = partial(OptimWrapper, opt=partial(torch.optim.Adam, eps=1e-8, betas=(0.9, 0.999)))
    net = model()
    learn: Any = Learner(
        DataLoaders(loader(rank, size), []),
        net,
        loss_func=nn.CrossEntropyLoss(),
        opt_func=opt,
        splitter=lambda m: [list(m.parameters())[:2], list(m.parameters())[2:]],
    )
    learn.remove_cb(ProgressCallback)
    learn.logger = noop
    cb = AdaptLR()
    learn.fit(1, [LR, LR], cbs=[OnCPU(cpu=True), cb])
    return brought(cb.trace, cb.scales, net)


def with_lightning(rank: int, size: int) -> Any:
    import lightning.pytorch as pl
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    from adaptlr.lightning import AdaptLR

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model()

        def configure_optimizers(self) -> Any:
            return adam(self.net, LR)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    module, cb = Module(), AdaptLR(model="net")
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=size,
        strategy="ddp",
        plugins=[TorchElasticEnvironment()],
        callbacks=[cb],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(rank, size))
    return brought(cb.trace, cb.scales, module.net)


def with_transformers(rank: int, size: int) -> Any:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    from adaptlr.transformers import AdaptLR

    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    class Own(Trainer):
        def get_train_dataloader(self) -> Any:
            data: Any = loader(rank, size)
            data.collate_fn = lambda items: {"x": torch.stack([x for x, _ in items]), "labels": torch.stack([y for _, y in items])}
            return data

    net = WithLoss()
    optimizer = adam(net, LR)
    cb = AdaptLR()
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=Batches(rank, size).batch_size,
            max_grad_norm=0.0,
            use_cpu=True,
            ddp_backend="gloo",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        schedule: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        trainer = Own(model=net, args=args, optimizers=(optimizer, schedule), callbacks=[cb])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return brought(cb.trace, cb.scales, net)


def main(folder: str, rank: int, size: int, names: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AdaptLRWarning)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size), GROUP_RANK="0")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", TORCHELASTIC_RUN_ID="tests")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    torch.save({name: globals()[name](rank, size) for name in names}, f"{folder}/{rank}.pt")
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
