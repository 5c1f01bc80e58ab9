"""Ways to watch a run, each as a trainer that makes one step when asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from fastai.callback.hook import ActivationStats, Hooks, flatten_model, has_params
from torch import Tensor, nn

from adaptlr import Controller
from adaptlr.measure.stages import find_stages
from adaptlr.measure.stats import COUNTERS, count_on_device
from experiments.overhead.models import Workload


class Plain:
    """The user's own loop, under Adam."""

    name: ClassVar[str] = "plain"

    def __init__(self, workload: Workload, device: str) -> None:
        self.workload, self.model = workload, workload.model(device)
        self.x, self.y = workload.batch(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.begin()

    def begin(self) -> None:
        """Put the watcher on."""

    def before_update(self) -> None:
        """Gradients are there."""

    def after_update(self, loss: Tensor) -> None:
        """The optimizer has stepped."""

    def close(self) -> None:
        """Take the watcher off."""

    def step(self) -> None:
        loss = self.workload.loss(self.model, self.x, self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.before_update()
        self.optimizer.step()
        self.after_update(loss)


class Acting(Plain):
    """adaptlr at its defaults, snapshots included."""

    name: ClassVar[str] = "adaptlr"
    act: ClassVar[bool] = True

    def begin(self) -> None:
        self.controller = Controller(self.model, self.optimizer, act=self.act, announce=lambda _: None).__enter__()

    def after_update(self, loss: Tensor) -> None:
        self.controller.step(loss)

    def close(self) -> None:
        self.controller.close()


class Watching(Acting):
    """adaptlr that only watches."""

    name: ClassVar[str] = "adaptlr, act=False"
    act: ClassVar[bool] = False


class Inside(Acting):
    """adaptlr with a clock on every way into it: its own time, free of the noise of the step around it."""

    name: ClassVar[str] = "inside"

    def begin(self) -> None:
        super().begin()
        self.seconds = 0.0
        hooked: list[dict[int, Any]] = [m._forward_hooks for m in self.model.modules()]
        optimizer: Any = self.optimizer
        for hooks in (*hooked, optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks):
            for key, hook in hooks.items():
                hooks[key] = self._timed(hook)

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*args)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed

    def after_update(self, loss: Tensor) -> None:
        self._timed(self.controller.step)(loss)

    def own_seconds(self) -> float:
        """One step; the part of it spent in adaptlr."""
        self.seconds = 0.0
        self.step()
        return self.seconds


class FastaiStats(Plain):
    """fastai's own ActivationStats, on the modules that it takes by default, after every batch as there."""

    name: ClassVar[str] = "fastai ActivationStats"
    with_hist: ClassVar[bool] = False

    def begin(self) -> None:
        self.kept: list[Any] = []
        stats = ActivationStats(with_hist=self.with_hist)
        self.hooks = Hooks([m for m in flatten_model(self.model) if has_params(m)], stats.hook, is_forward=True, detach=True)

    def after_update(self, loss: Tensor) -> None:
        self.kept.append(list(self.hooks.stored))

    def close(self) -> None:
        self.hooks.remove()


class FastaiHist(FastaiStats):
    name: ClassVar[str] = "fastai ActivationStats, with_hist"
    with_hist: ClassVar[bool] = True


class Exact(Plain):
    """The numbers of a reading as one writes them at first: at each step, of whole activations and whole weights."""

    name: ClassVar[str] = "exact hook"

    def begin(self) -> None:
        self.kept: list[Any] = []
        self.counts: dict[str, Tensor] = {}
        self.params = [p for p in self.model.parameters() if p.ndim >= 2]
        self.start = [p.detach().clone() for p in self.params]
        self.last = [torch.zeros_like(p) for p in self.params]
        self.handles = [s.module.register_forward_hook(self._hook(s.name)) for s in find_stages(self.model)]

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            x = (out[0] if isinstance(out, tuple) else out).detach().float()
            values = x.transpose(0, 1 if x.ndim == 4 else x.ndim - 1).flatten(1)
            self.counts[name] = count_on_device([values.contiguous()], hist_bins=40, hist_max=10.0)[0]

        return hook

    def before_update(self) -> None:
        self.before = [p.detach().clone() for p in self.params]

    @torch.no_grad()
    def after_update(self, loss: Tensor) -> None:
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.params]
        sums = [
            sum(w.square().sum() for w in self.before),
            sum((p - w).square().sum() for p, w in zip(self.params, self.before, strict=True)),
            sum((p - w).square().sum() for p, w in zip(self.params, self.start, strict=True)),
            sum(g.square().sum() for g in grads),
            sum((g * h).sum() for g, h in zip(grads, self.last, strict=True)),
        ]
        self.last = [g.clone() for g in grads]
        stages = {name: dict(zip(COUNTERS, c.tolist(), strict=False)) for name, c in self.counts.items()}
        self.kept.append((float(loss.detach()), [float(s) for s in sums], stages))

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


METHODS: tuple[type[Plain], ...] = (Plain, Watching, Acting, FastaiStats, FastaiHist, Exact)
