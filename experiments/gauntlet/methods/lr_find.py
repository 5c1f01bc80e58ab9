"""fastai's learning-rate finder: a mock run on a copy, then the user's run at the suggestion."""

from __future__ import annotations

import random
import tempfile
from functools import partial
from typing import Any, ClassVar

import torch

from experiments.gauntlet.job import Job
from experiments.gauntlet.methods.base import Event, Plain

_TORCH = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


class LRFind(Plain):
    name: ClassVar[str] = "lr-find"
    own_lr: ClassVar[bool] = True
    settings: ClassVar[str] = (
        "fastai Learner.lr_find at its defaults (1e-7 to 10 in 100 steps, suggestion 'valley'), on the user's optimizer; then the "
        "user's run on the user's schedule at the suggestion. The 100 steps come on top of the run's"
    )

    def starting_lrs(self) -> tuple[float, ...]:
        lr = suggest(self.job)
        self.events.decisions.append(Event(step=0, kinds=("valley",), changes=True, text=f"valley: {lr:.3g}"))
        return (lr,)


def suggest(job: Job) -> float:
    """What ``lr_find`` suggests for a copy of the job's model."""
    import fastai.callback.progress  # noqa: PLC0415  (gives Learner no_bar)
    import fastai.callback.schedule  # noqa: PLC0415, F401  (gives Learner lr_find)
    from fastai.data.core import DataLoaders  # noqa: PLC0415
    from fastai.data.load import DataLoader  # noqa: PLC0415
    from fastai.learner import Learner  # noqa: PLC0415
    from fastai.optimizer import Adam, OptimWrapper  # noqa: PLC0415

    random.seed(job.cell.seed)  # fastai shuffles by Python's generator
    copy = job.fresh()
    items = list(zip(copy.data.x, copy.data.y, strict=True))
    loader: Any = DataLoader(items, bs=copy.task.batch, shuffle=True, drop_last=True, num_workers=0)
    optimizer = copy.cell.column.optimizer
    opt_func: Any = Adam if optimizer == "adam" else partial(OptimWrapper, opt=_TORCH[optimizer])
    with tempfile.TemporaryDirectory() as folder:  # it saves the weights, and puts them back
        dls = DataLoaders(loader, loader, path=folder, device="cpu")
        learn: Any = Learner(dls, copy.model, loss_func=copy.task.loss, opt_func=opt_func, path=folder)
        with learn.no_bar(), learn.no_logging():
            return float(learn.lr_find(show_plot=False).valley)
