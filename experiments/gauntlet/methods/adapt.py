"""adaptlr on the user's own optimizer and schedule, at its defaults."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from adaptlr import Controller
from adaptlr.records import Action, Decision, Finding
from experiments.gauntlet.job import Job
from experiments.gauntlet.methods.base import Event, Plain
from experiments.gauntlet.optimizers import port

LARGE = 0.1  # update over weight


class AdaptLR(Plain):
    name: ClassVar[str] = "adaptlr"
    speaks: ClassVar[bool] = True
    steps_in: ClassVar[bool] = True
    settings: ClassVar[str] = "Controller(model, optimizer, total_steps=steps, peak_lrs=lrs), all defaults"

    act: ClassVar[bool] = True
    knows_length: ClassVar[bool] = True

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.controller = Controller(
            job.model,
            port(self.optimizer),
            act=self.act,
            total_steps=job.steps if self.knows_length else None,
            peak_lrs=self.lrs if self.knows_length else None,
            announce=lambda _: None,
        ).__enter__()

    def after_update(self, loss: Tensor) -> None:
        self.controller.step(loss)

    def trained(self) -> nn.Module:
        self.controller.close()
        self.events.findings = [_of_finding(f) for f in self.controller.findings]
        self.events.decisions = [_of_decision(d) for d in self.controller.decisions]
        readings = self.controller.trace.readings
        large = (r.step for r in readings if any(g.update_ratio is not None and not g.update_ratio < LARGE for g in r.groups))
        self.events.first_large_step = next(large, None)
        return self.job.model

    def close(self) -> None:
        self.controller.close()


class Blind(AdaptLR):
    """As in a loop that does not say how long it will be."""

    name: ClassVar[str] = "adaptlr-blind"
    by_default: ClassVar[bool] = False
    settings: ClassVar[str] = "Controller(model, optimizer), all defaults"
    knows_length: ClassVar[bool] = False


class Watch(AdaptLR):
    """Judges and touches nothing."""

    name: ClassVar[str] = "watch"
    by_default: ClassVar[bool] = False
    steps_in: ClassVar[bool] = False
    settings: ClassVar[str] = "Controller(model, optimizer, act=False, total_steps=steps, peak_lrs=lrs)"
    act: ClassVar[bool] = False


def _of_finding(f: Finding) -> Event:
    return Event(step=f.step, kinds=(f.kind.value,), groups=f.groups, text=f.message)


def _of_decision(d: Decision) -> Event:
    factors = [a / b for a, b in zip(d.scales_after, d.scales_before, strict=True) if b]
    down, up = any(f < 1 for f in factors), any(f > 1 for f in factors)
    return Event(
        step=d.step,
        kinds=tuple(k.value for k in d.findings),
        groups=tuple(i for i, f in enumerate(factors) if f != 1),
        changes=d.action in (Action.ROLLBACK, Action.RESCALE),
        lower=None if down == up else down,
        text=f"{d.action.value}: {d.message}",
    )
