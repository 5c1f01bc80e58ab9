"""How a method trains a cell. The base class is the user's own loop; a method overrides what it does differently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from experiments.gauntlet.job import Job
from experiments.gauntlet.optimizers import set_lrs


@dataclass(frozen=True, kw_only=True)
class Event:
    """A finding or a decision of a method, in terms that all methods share."""

    step: int
    kinds: tuple[str, ...]  # adaptlr's Kind for a finding, or what the method calls it
    groups: tuple[int, ...] = ()
    changes: bool = False  # a decision that changed a learning rate or weights
    lower: bool | None = None  # the direction in which the learning rate went
    text: str = ""


@dataclass
class Events:
    findings: list[Event] = field(default_factory=list)
    decisions: list[Event] = field(default_factory=list)
    first_large_step: int | None = None  # the first update of a tenth of the weights and more, where the method measures it


class Plain:
    """The user's own loop: a fixed learning rate on a schedule, no help."""

    name: ClassVar[str] = "plain"
    own_lr: ClassVar[bool] = False  # brings its own learning rate: one run a column and seed
    speaks: ClassVar[bool] = False  # says what is wrong: detection and diagnosis mean something
    steps_in: ClassVar[bool] = False  # changes the user's run by decisions: false positives mean something
    by_default: ClassVar[bool] = True  # is run where no methods are named
    packages: ClassVar[tuple[str, ...]] = ()  # that it is taken from
    settings: ClassVar[str] = "the user's optimizer and schedule, nothing else"

    def __init__(self, job: Job) -> None:
        self.job = job
        self.events = Events()
        self.at = 0  # steps done
        self.lrs = self.starting_lrs()
        self.optimizer: Any = self.make_optimizer()

    # ------------------------------------------------------------------ what a method overrides

    def starting_lrs(self) -> tuple[float, ...]:
        return self.job.lrs

    def make_optimizer(self) -> Any:
        return self.job.optimizer(self.lrs)

    def multiplier(self) -> float:
        return self.job.multiplier(self.at)

    def before_update(self) -> None:
        """Gradients are there, the optimizer has not stepped yet."""

    def after_update(self, loss: Tensor) -> None:
        """The optimizer has stepped."""

    def trained(self) -> nn.Module:
        """Training is over: the model to judge."""
        return self.job.model

    def close(self) -> None:
        """Always called, after an error too."""

    # ------------------------------------------------------------------ the loop

    def step(self, x: Tensor, y: Tensor) -> float:
        factor = self.multiplier()
        set_lrs(self.optimizer, [lr * factor for lr in self.lrs])
        loss = self.job.loss(x, y, self.at)
        self.optimizer.zero_grad()
        loss.backward()
        self.before_update()
        self.optimizer.step()
        self.after_update(loss)
        self.at += 1
        return loss.item()

    def losses(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[float]:
        """One step each time a loss is asked for."""
        for (x, y), _ in zip(batches, range(self.job.steps), strict=False):
            yield self.step(x, y)
