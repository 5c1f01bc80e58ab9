"""A tiny Learner, and everything about a run that adaptlr must not change."""

from __future__ import annotations

import math
import random
from functools import partial
from typing import Any

import numpy as np
import torch
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import SGD, Adam, OptimWrapper, RMSProp, ranger
from fastcore.basics import noop
from torch import Tensor, nn

torch.set_num_threads(1)

OPTIMIZERS: dict[str, Any] = {
    "Adam": Adam,
    "SGD": partial(SGD, mom=0.9),
    "RMSProp": RMSProp,
    "ranger": ranger,
    "torch Adam": partial(OptimWrapper, opt=torch.optim.Adam),
    "torch SGD": partial(OptimWrapper, opt=partial(torch.optim.SGD, momentum=0.9)),
}
BATCHES = 12  # in an epoch


def net() -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 2)))


def halves(model: nn.Sequential) -> list[list[nn.Parameter]]:
    """Two parameter groups, as fastai's splitters make them."""
    return [list(model[0].parameters()), list(model[1].parameters())]


class Items(list[Any]):
    broken: int | None = None  # an item that cannot be read

    def __getitem__(self, index: Any) -> Any:
        if index == self.broken:
            raise OSError("cannot read")
        return super().__getitem__(index)

    def new_empty(self) -> Items:
        """For ``learn.export``."""
        return Items()


def data(n: int, seed: int) -> Items:
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randn(n, 1, 8, 8, generator=g)
    x[:, 0, :4] += y[:, None, None] - 0.5
    return Items(zip(x, y, strict=True))


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def learner(opt: str = "Adam", *, cbs: Any = None, number: int = 0, bar: bool = False, device: str = "cpu", **kwargs: Any) -> Any:
    """A Learner, quiet unless it shows its ``bar``, with weights and batches that depend on ``number`` alone."""
    seed(number)
    dls = DataLoaders.from_dsets(data(16 * BATCHES, 1), data(32, 2), bs=16, device=device, num_workers=0)
    kwargs = {"splitter": halves, "loss_func": CrossEntropyLossFlat(), "opt_func": OPTIMIZERS[opt], **kwargs}
    learn = Learner(dls, net(), cbs=cbs, **kwargs)
    if not bar:
        learn.remove_cb(ProgressCallback)
        learn.logger = noop
    return learn


def hooks(model: nn.Module) -> int:
    """How many forward hooks are on a model."""
    return sum(len(m._forward_hooks) for m in model.modules())


def is_clean(learn: Any) -> bool:
    """Nothing of adaptlr is left: no hook, no patched method of the Learner or of its optimizer."""
    torch_opt = getattr(learn.opt, "opt", None)
    step_hooks = (
        len(torch_opt._optimizer_step_pre_hooks) + len(torch_opt._optimizer_step_post_hooks)
        if isinstance(torch_opt, torch.optim.Optimizer)
        else 0
    )
    return not (hooks(learn.model) or step_hooks or "_with_events" in vars(learn) or "step" in getattr(learn.opt, "__dict__", ()))


def everything(learn: Any) -> dict[str, Any]:
    """Weights, buffers, optimizer, random generators and the Recorder, to be compared with :func:`assert_same`."""
    opt = learn.opt
    inner: Any = getattr(opt, "opt", opt)
    return {
        "model": dict(learn.model.state_dict()),
        "state": [dict(opt.state[p]) for group in opt.param_lists for p in group],
        "torch state": [dict(s) for s in inner.state.values()] if isinstance(inner, torch.optim.Optimizer) else [],
        "slow": [list(ts) for ts in opt.slow_weights] if getattr(opt, "slow_weights", None) is not None else [],
        "hypers": [dict(h) for h in opt.hypers],
        "torch rng": torch.get_rng_state(),
        "numpy rng": list(np.random.get_state())[1:],
        "python rng": list(random.getstate()),
        "losses": list(learn.recorder.losses),
        "lrs": list(learn.recorder.lrs),
        "values": [list(row) for row in learn.recorder.values],
        "hps": dict(getattr(learn.recorder, "hps", {})),
    }


def assert_same(a: Any, b: Any, at: str = "") -> None:
    """Bit for bit; NaN equals NaN."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            assert_same(a[key], b[key], f"{at} {key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{at} {i}")
    elif isinstance(a, (Tensor, np.ndarray)):
        x, y = (np.asarray(v.cpu() if isinstance(v, Tensor) else v).reshape(-1) for v in (a, b))
        assert x.dtype == y.dtype, at
        assert x.tobytes() == y.tobytes(), at
    else:
        assert a == b or (math.isnan(a) and math.isnan(b)), (at, a, b)
