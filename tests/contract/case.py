"""One small training run, the same for every loop: model, data in a fixed order, torch's Adam, a schedule of the loop's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaptlr import Decision, Trace

torch.set_num_threads(1)

BATCH, BATCHES = 16, 12  # items in a batch, batches in an epoch


class InterruptionError(Exception):
    """Raised by the data in the middle of a run."""


class Beside:
    """Something that goes back with a run: it counts how often it is asked for its state, and notes what it gets back."""

    def __init__(self) -> None:
        self.asked, self.back = 0, list[int]()

    def state_dict(self) -> dict[str, Any]:
        self.asked += 1
        return {"asked": self.asked}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.back.append(state_dict["asked"])


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is run. ``lr`` is each parameter group's, constant but for what the loop's own scheduler multiplies it by."""

    lr: tuple[float, float] = (3e-3, 3e-3)
    epochs: int = 3
    watch: bool = True  # False: without adaptlr, as the run to compare with
    act: bool = True
    decay: float = 1.0  # the learning rate's factor each step, applied after it: lr x decay ** step
    interrupt_at: int | None = None  # batch at which the data raises InterruptionError
    also: Beside | None = None  # goes back with a rollback


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a loop hands back."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    losses: list[float]  # one a batch
    lrs: list[tuple[float, ...]]  # each group's learning rate after each batch, before the scheduler's next change
    interrupted: bool
    rng: Tensor  # torch's random state at the end
    trace: Trace | None = None
    scales: tuple[float, ...] = ()

    @property
    def decisions(self) -> list[Decision]:
        return self.trace.decisions if self.trace is not None else []


Loop = Callable[[Case], Run]


class Data(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Items in a fixed order; the half with the larger mean, upper or lower, is the label."""

    def __init__(self, case: Case) -> None:
        g = torch.Generator().manual_seed(1)
        self.y = torch.arange(BATCH * BATCHES) % 2
        self.x = torch.randn(BATCH * BATCHES, 1, 8, 8, generator=g)
        self.x[:, 0, :4] += self.y[:, None, None] - 0.5
        self.interrupt_at = None if case.interrupt_at is None else case.interrupt_at * BATCH

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.interrupt_at:
            raise InterruptionError
        return self.x[index], self.y[index]


def loader(case: Case) -> torch.utils.data.DataLoader[tuple[Tensor, Tensor]]:
    # A generator of its own: torch's DataLoader draws a seed for each pass, also where loops make different numbers of passes.
    return torch.utils.data.DataLoader(Data(case), batch_size=BATCH, generator=torch.Generator().manual_seed(2))


def model() -> nn.Sequential:
    """Seeds torch; with normalisation, dropout (which draws random numbers in every batch) and enough weights to be recognised."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(body, nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 2)))


def groups(net: nn.Sequential) -> list[list[nn.Parameter]]:
    return [list(net[0].parameters()), list(net[1].parameters())]
