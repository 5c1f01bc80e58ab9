"""What every method of a cell is given: the same initial weights, the same batches, the user's learning rates and schedule."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from experiments.fashion import schedule
from experiments.gauntlet.cells import Cell
from experiments.gauntlet.faults import FAULTS, Fault
from experiments.gauntlet.optimizers import OPTIMIZERS, Groups, split_groups
from experiments.gauntlet.tasks import TASKS, Data, Task


@lru_cache
def load(task: str, folder: str) -> Data:
    """A task's data, once a process."""
    return TASKS[task].load(folder)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell, ready to be trained by a method."""

    cell: Cell
    task: Task
    data: Data
    model: nn.Module

    @property
    def steps(self) -> int:
        return self.task.steps

    @property
    def fault(self) -> Fault:
        return FAULTS[self.cell.fault]

    @property
    def lrs(self) -> tuple[float, ...]:
        """The learning rate of each group, at the schedule's peak. Empty where the method brings its own."""
        return self.cell.plan.lrs

    def groups(self, n: int) -> Groups:
        return [list(self.model.parameters())] if n == 1 else split_groups(self.model, n)

    def optimizer(self, lrs: tuple[float, ...]) -> Any:
        """The user's optimizer, with as many groups as there are learning rates."""
        return OPTIMIZERS[self.cell.column.optimizer](self.groups(len(lrs)), lrs)

    def multiplier(self, step: int) -> float:
        """The user's schedule at a step, with what a late break does to it."""
        return schedule(self.cell.column.schedule, self.steps)(step) * self.fault.multiplier(step, self.steps)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled batches without end; the order depends on the seed alone."""
        order = torch.Generator().manual_seed(self.cell.seed)
        step = 0
        while True:
            for index in torch.randperm(len(self.data.x), generator=order).split(self.task.batch):
                if len(index) == self.task.batch:
                    yield self.fault.inputs(self.data.x[index], step, self.steps, tokens=self.data.tokens), self.data.y[index]
                    step += 1

    def final_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled batches of the world as it is when training ends."""
        order = torch.Generator().manual_seed(self.cell.seed + 1)
        while True:
            index = torch.randperm(len(self.data.x), generator=order)[: self.task.batch]
            yield self.fault.valid_inputs(self.data.x[index], tokens=self.data.tokens), self.data.y[index]

    def loss(self, x: Tensor, y: Tensor, step: int) -> Tensor:
        loss = self.task.loss(self.model(x), y)
        factor = self.fault.loss_factor(x, step, self.steps)
        return loss if factor == 1.0 else loss * factor

    def metric(self, model: nn.Module, *, examples: int | None = None) -> float:
        """Of the validation part; with ``examples``, of so many training examples (a method may look at no other)."""
        if examples is None:
            x, y = self.fault.valid_inputs(self.data.x_valid, tokens=self.data.tokens), self.data.y_valid
        else:
            x, y = self.data.x[:examples], self.data.y[:examples]
        was_training = model.training
        model.eval()
        with torch.no_grad():
            out = torch.cat([model(part) for part in x.split(512)])
        model.train(was_training)
        return self.task.metric(out, y)

    def fresh(self) -> Job:
        """The same job with a copy of the model, to try things on."""
        return Job(cell=self.cell, task=self.task, data=self.data, model=copy.deepcopy(self.model))


def prepare(cell: Cell, folder: str) -> Job:
    """The job of a cell: weights are drawn from its seed.

    Raises:
        KeyError: the task, net or fault is unknown.
    """
    task = TASKS[cell.column.task]
    data = load(task.name, folder)
    torch.manual_seed(cell.seed)
    model = task.nets[cell.column.net]().train()
    return Job(cell=cell, task=task, data=data, model=model)
