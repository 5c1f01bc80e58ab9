"""Captures stay within a share of the run's time, and no machine's noise moves those that do anyway, nor the first ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch._C._distributed_c10d import HashStore

from adaptlr import Controller, controller
from adaptlr.act.budget import CaptureBudget
from adaptlr.act.snapshot import Ring, Snapshot
from adaptlr.ranks import Ranks


class Clock:
    """Steps of a second each, whatever the captures in between take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def captures(
    cost: float, *, first: int = 0, steps: int = 2000, budget_frac: float | None = 0.005, slow: dict[int, float] | None = None
) -> list[int]:
    """The steps at which a ring captures, each capture taking ``cost`` steps (or as ``slow`` has it)."""
    clock, ring, taken = Clock(), Ring(budget_frac=budget_frac), []
    if ring._budget is not None:
        ring._budget._clock = clock
    if first:
        ring.put([Snapshot(step=0, tensors={}, optimizer=None, extras=())], [0], first)
    for step in range(first, first + steps):
        if ring.due(step):
            spent = (slow or {}).get(len(taken), cost)
            clock.now += spent
            ring.add(Snapshot(step=step, tensors={}, optimizer=None, extras=()), seconds=spent)
            taken.append(step)
        clock.now += 1.0
    return taken


SCHEDULE = [0, 8, 16, 24, 32, 40, 50, 62, 77, 96, 120, 150, 187, 233, 291, 363, 453, 566, 707, 883, 1083, 1283, 1483, 1683, 1883]
EARLY = 11  # of them come whatever they take


@pytest.mark.parametrize("cost", [0.0, 0.1, 0.3])
def test_what_costs_less_than_its_share_comes_as_scheduled(cost: float) -> None:
    assert captures(cost) == captures(cost, budget_frac=None) == SCHEDULE


@pytest.mark.parametrize("cost", [1.0, 5.0, 1000.0])
def test_the_first_ones_come_as_scheduled_whatever_they_take(cost: float) -> None:
    taken = captures(cost)
    assert taken[:EARLY] == SCHEDULE[:EARLY]
    assert taken[EARLY : EARLY + 1] == ([] if cost == 1000 else [int(cost / 0.005)])


@pytest.mark.parametrize("cost", [1.5, 3.0, 6.0])
def test_later_ones_stay_within_their_share(cost: float) -> None:
    late = [s for s in captures(cost, steps=20_000) if s > 128]
    assert 0.8 * 0.005 < len(late) * cost / 20_000 <= 0.005


def test_no_slow_capture_lengthens_a_gap() -> None:
    assert captures(0.1, slow={0: 50.0, 1: 9.0, 5: 200.0}) == SCHEDULE


def test_a_run_that_goes_on_measures_a_capture_and_counts_from_there() -> None:
    assert captures(2.0, first=5000) == [5200, 5800, 6200, 6600]


def test_without_a_budget_no_clock_is_looked_at() -> None:
    assert captures(100.0, budget_frac=None) == SCHEDULE


def test_only_a_gpu_copies_behind_the_hosts_back() -> None:
    assert Snapshot(step=0, tensors={"w": torch.ones(1000)}, optimizer=None, extras=()).device_seconds == 0


@pytest.mark.parametrize("frac", [0.0, 1.5])
def test_a_wrong_share_is_quoted(frac: float) -> None:
    with pytest.raises(ValueError, match=f"got {frac}"):
        CaptureBudget(frac)


@pytest.fixture
def group() -> Iterator[dist.ProcessGroup]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield dist.distributed_c10d._get_default_group()
    dist.destroy_process_group()


@pytest.mark.parametrize(("among_ranks", "newest"), [(False, 120), (True, 150)], ids=["alone", "among-ranks"])
def test_ranks_capture_as_scheduled(
    among_ranks: bool, newest: int, group: dist.ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little time captures may take."""
    monkeypatch.setattr(controller, "_SNAPSHOT_BUDGET", 1e-9)
    monkeypatch.setattr(controller.wrapped, "find", lambda *_: Ranks(group) if among_ranks else None)
    net = nn.Linear(8, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    with Controller(net, optimizer) as ctl:
        for _ in range(160):
            loss = net(torch.ones(2, 8)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ctl.step(loss)
        assert [s.step for s in ctl._ring][-1] == newest
