"""One rank: ``python -m tests.ranks.worker FOLDER RANK SIZE SCENARIO ...`` runs the scenarios and saves what each returned."""

from __future__ import annotations

import copy
import datetime
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from adaptlr import AdaptLRWarning, Controller
from adaptlr.observer import Observer
from tests.nets import size_of
from tests.ranks.net import adam, batch, model, told, train, weights

Scenario = Callable[[int, int], Any]
SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    SCENARIOS[run.__name__] = run
    return run


def wrapped(**kwargs: Any) -> DistributedDataParallel:
    return DistributedDataParallel(model(), **kwargs)


def watched(net: nn.Module, optimizer: torch.optim.Optimizer, rank: int, size: int, **kwargs: Any) -> dict[str, Any]:
    said = []
    with Controller(net, optimizer, announce=said.append) as ctl:
        losses = train(net, optimizer, ctl, rank=rank, size=size, **kwargs)
    return {**told(ctl, net), "said": len(said), "own losses": losses}


# ---------------------------------------------------------------------- DistributedDataParallel


@scenario
def healthy(rank: int, size: int) -> Any:
    out = {}
    for watch in (False, True):
        net = wrapped()
        optimizer = adam(net, 3e-3)
        if watch:
            out["told"] = watched(net, optimizer, rank, size)
        else:
            train(net, optimizer, None, rank=rank, size=size)
        out[watch] = (weights(net), optimizer.state_dict()["state"], torch.get_rng_state())
    return out


@scenario
def ruined(rank: int, size: int) -> Any:
    net = wrapped()
    return watched(net, adam(net, 1.0), rank, size)


@scenario
def starved(rank: int, size: int) -> Any:
    net = wrapped()
    return watched(net, adam(net, 3e-3, low=1e-9), rank, size)


def _far(rank: int) -> Callable[[int, Tensor], Tensor]:
    """From step 20 on, what the last rank sees is a hundred times as large."""
    return lambda step, x: x * 100 if rank == dist.get_world_size() - 1 and step >= 20 else x


@scenario
def skewed(rank: int, size: int) -> Any:
    net = wrapped()
    return watched(net, adam(net, 3e-2), rank, size, spoil=_far(rank))


@scenario
def skewed_and_each_for_itself(rank: int, size: int) -> Any:
    """The controller is given the model within the wrapper: it knows of no other rank."""
    net = wrapped()
    optimizer = adam(net, 3e-2)
    with pytest.warns(AdaptLRWarning, match="each process decides for itself"):
        ctl = Controller(net.module, optimizer)
    with ctl:
        train(net, optimizer, ctl, rank=rank, size=size, spoil=_far(rank))
    return told(ctl, net)


@scenario
def poisoned(rank: int, size: int) -> Any:
    net = wrapped()
    return watched(net, adam(net, 3e-3), rank, size, spoil=lambda step, x: x * math.nan if (rank, step) == (1, 20) else x)


@scenario
def one_reports_nan(rank: int, size: int) -> Any:
    """Weights and gradients are in order; what one rank calls its loss is not."""
    net = wrapped()
    optimizer = adam(net, 3e-3)
    with Controller(net, optimizer) as ctl:
        for step in range(30):
            train(net, optimizer, None, rank=rank, size=size, steps=range(step, step + 1))
            ctl.step(math.nan if (rank, step) == (1, 20) else 1.0)
    return told(ctl, net)


@scenario
def skipped(rank: int, size: int) -> Any:
    """Under a GradScaler: three batches in a row are lost, on one rank alone."""
    net = wrapped()
    optimizer = adam(net, 3e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    said: list[Any] = []
    with Controller(net, optimizer, scaler=scaler, announce=said.append) as ctl:
        for step in range(30):
            x, y = batch(step, rank, size)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x * math.nan if rank == 1 and 20 <= step < 23 else x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            ctl.step(loss)
    return {**told(ctl, net), "said": len(said), "scale": scaler.get_scale()}


@scenario
def at_odds(rank: int, size: int) -> Any:
    net = wrapped()
    optimizer = adam(net, 3e-3)
    with Controller(net, optimizer) as ctl:
        train(net, optimizer, ctl, rank=rank, size=size, steps=range(3))
        if rank == 1:
            control = ctl.state_dict()["control"]
            control["groups"][0]["scale"] = 0.25
            ctl._control = type(ctl._control)(groups=tuple(type(ctl._control.groups[0])(**g) for g in control["groups"]))
        try:
            train(net, optimizer, ctl, rank=rank, size=size, steps=range(3, 4))
        except RuntimeError as error:
            return str(error)
    return None


@scenario
def traced(rank: int, size: int) -> Any:
    """All ranks are given the same path."""
    net, path = wrapped(), Path(sys.argv[1]) / "trace.jsonl"
    optimizer = adam(net, 3e-3)
    with Controller(net, optimizer, trace=path) as ctl:
        train(net, optimizer, ctl, rank=rank, size=size, steps=range(5))
    return len(ctl.trace.readings), ctl.trace.path


# ---------------------------------------------------------------------- uneven inputs


def _uneven(rank: int, size: int, lr: float, *, nan_at: int | None = None) -> Any:
    """Plain SGD: torch's join() brings the weights together again at its end, but no moments."""
    net = wrapped()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    states = []
    with Controller(net, optimizer) as ctl:
        for epoch in range(3):
            n = 14 - 4 * (rank == 0)  # the first rank's data ends early
            with net.join():
                train(
                    net,
                    optimizer,
                    ctl,
                    rank=rank,
                    size=size,
                    steps=range(14 * epoch, 14 * epoch + n),
                    spoil=lambda step, x: x * math.nan if step == nan_at else x,
                )
            s = ctl.state_dict()
            rings = [(x["step"], [t.tolist() for t in x["tensors"].values()]) for x in s["snapshots"]]
            states.append({"control": s["control"], "history": s["history"], "observer": s["observer"], "rings": rings})
    return {"states": states, **told(ctl, net)}


@scenario
def uneven(rank: int, size: int) -> Any:
    return _uneven(rank, size, 0.05)


@scenario
def uneven_and_ruined(rank: int, size: int) -> Any:
    return _uneven(rank, size, 30.0)


@scenario
def uneven_and_poisoned(rank: int, size: int) -> Any:
    """A bad batch in the steps that the first rank sits out."""
    return _uneven(rank, size, 0.05, nan_at=26)


@scenario
def uneven_and_late(rank: int, size: int) -> Any:
    """Readings come a step late, as they do on a GPU: one batch is bad that the first rank sits out, and one the very last."""
    in_time = Observer.readings

    def late(self: Observer, *, all_of_them: bool = False) -> Iterator[Any]:
        if all_of_them or self.waiting > 1:
            newest = None if all_of_them else self._waiting.pop()
            yield from in_time(self)
            if newest is not None and not self._forgot:  # type: ignore[attr-defined]
                self._waiting.append(newest)
            self._forgot = False  # type: ignore[attr-defined]

    forget = Observer.forget

    def noted(self: Observer) -> None:
        self._forgot = True  # type: ignore[attr-defined]
        forget(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Observer, "readings", late)
        patch.setattr(Observer, "forget", noted)
        patch.setattr(Observer, "_forgot", False, raising=False)
        return [_uneven(rank, size, 0.05, nan_at=at) for at in (26, 27)]


@scenario
def uneven_and_accumulating(rank: int, size: int) -> Any:
    """A step every second batch; ranks that are done cannot know which."""
    net = wrapped()
    optimizer = adam(net, 3e-3)
    with Controller(net, optimizer) as ctl:
        with net.join():
            for i in range(8 - 4 * (rank == 0)):
                x, y = batch(i, rank, size)
                loss = nn.functional.cross_entropy(net(x), y)
                loss.backward()
                if i % 2:
                    optimizer.step()
                    optimizer.zero_grad()
                ctl.step(loss)
        steps = ctl.state_dict()["observer"]["step"]
    return len(ctl.trace.readings), steps


@scenario
def join_before_the_controller(rank: int, size: int) -> Any:
    net = wrapped()
    optimizer = adam(net, 3e-3)
    try:
        with net.join(), Controller(net, optimizer) as ctl:
            train(net, optimizer, ctl, rank=rank, size=size, steps=range(4 - rank))
    except RuntimeError as error:
        return str(error)
    return None


# ---------------------------------------------------------------------- ranks that do not come


def _waits_for(rank: int, size: int, absent: Callable[[], Any]) -> Any:
    """What the error said, how long it was waited for, and how many readings there are. Nobody waits more than 3 s."""
    net = wrapped(process_group=dist.new_group(timeout=datetime.timedelta(seconds=3)))
    optimizer = adam(net, 3e-3)
    with Controller(net, optimizer) as ctl:
        for step in range(6):
            x, y = batch(step, rank, size)
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if (rank, step) == (1, 4):
                absent()
            began = time.monotonic()
            try:
                ctl.step(loss)
            except RuntimeError as error:
                return str(error), time.monotonic() - began, len(ctl.trace.readings)
    return None


@scenario
def one_dies(rank: int, size: int) -> Any:
    return _waits_for(rank, size, lambda: os._exit(7))


@scenario
def one_is_stuck(rank: int, size: int) -> Any:
    return _waits_for(rank, size, lambda: time.sleep(8))


# ---------------------------------------------------------------------- fully_shard


def sharded(*, one_unsharded: bool = False, mesh_shape: tuple[int, ...] | None = None) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net = model()
    mesh = (
        init_device_mesh("cpu", mesh_shape, mesh_dim_names=("copies", "parts"))
        if mesh_shape
        else init_device_mesh("cpu", (dist.get_world_size(),))
    )
    ignored = {net[2].weight} if one_unsharded else None
    for layer in (net[0], net[2]):
        fully_shard(layer, mesh=mesh, ignored_params=ignored)  # type: ignore[arg-type]
    return fully_shard(net, mesh=mesh, ignored_params=ignored)  # type: ignore[arg-type,return-value]


@scenario
def fsdp_healthy(rank: int, size: int) -> Any:
    out = {}
    for watch in (False, True):
        net = sharded()
        optimizer = adam(net, 3e-3)
        if watch:
            out["told"] = watched(net, optimizer, rank, size)
        else:
            train(net, optimizer, None, rank=rank, size=size)
        out[watch] = (weights(net), torch.get_rng_state())
    return out


@scenario
def fsdp_ruined(rank: int, size: int) -> Any:
    net = sharded()
    return watched(net, adam(net, 1.0), rank, size)


@scenario
def fsdp_starved(rank: int, size: int) -> Any:
    net = sharded()
    return watched(net, adam(net, 3e-3, low=1e-9), rank, size)


@scenario
def fsdp_with_one_weight_on_every_rank(rank: int, size: int) -> Any:
    """It is no concern of fully_shard's, whose ranks then train it apart; at a learning rate of 0 nothing comes of that."""
    net = sharded(one_unsharded=True)
    return watched(net, adam(net, 0.0), rank, size, steps=range(5))


@scenario
def fsdp_with_replicas(rank: int, size: int) -> Any:
    net = sharded(mesh_shape=(2, size // 2))
    return watched(net, adam(net, 1.0), rank, size)


@scenario
def fsdp_rolls_back_bit_by_bit(rank: int, size: int) -> Any:
    """Capture, ten steps, restore: shards and moments are as they were."""
    from adaptlr.act.optimizer import TorchOptimizer
    from adaptlr.act.snapshot import capture, restore

    net = sharded()
    optimizer = adam(net, 3e-3)
    port = TorchOptimizer(optimizer)
    train(net, optimizer, None, rank=rank, size=size, steps=range(5))

    def all_of_it() -> list[Tensor]:
        states = [v for p in net.parameters() for v in optimizer.state[p].values()]
        return [(t.to_local() if hasattr(t, "to_local") else t).detach().clone() for t in [*net.parameters(), *states]]  # type: ignore[attr-defined]

    before, taken = all_of_it(), capture(5, net, port)
    train(net, optimizer, None, rank=rank, size=size, steps=range(5, 15))
    moved = all_of_it()
    restore(taken, net, port)
    after = all_of_it()
    train(net, optimizer, None, rank=rank, size=size, steps=range(5, 8))  # and it trains on
    return {
        "back": all(torch.equal(a, b) for a, b in zip(before, after, strict=True)),
        "moved": not any(torch.equal(a, b) for a, b in zip(before, moved, strict=True) if a.numel()),
        "bytes": size_of(t.to_local() if hasattr(t, "to_local") else t for t in taken.tensors.values()),  # type: ignore[attr-defined]
    }


@scenario
def fsdp_stops_and_goes_on(rank: int, size: int) -> Any:
    """Each rank saves its own part of the controller's memory; the rest of the run is the same as without a stop."""
    net = sharded()
    optimizer = adam(net, 1.0)
    with Controller(net, optimizer) as ctl:
        train(net, optimizer, ctl, rank=rank, size=size, steps=range(10))
        path = f"{sys.argv[1]}/controller-{rank}.pt"
        torch.save(ctl.state_dict(), path)
        model_state = {k: v.clone() for k, v in net.state_dict().items()}
        other = sharded()
        other.load_state_dict(model_state)
        second = adam(other, 1.0)
        second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        train(net, optimizer, ctl, rank=rank, size=size, steps=range(10, 40))
    again = Controller(other, second)
    again.load_state_dict(torch.load(path, weights_only=True))
    with again:
        train(other, second, again, rank=rank, size=size, steps=range(10, 40))
    return told(ctl, net), told(again, other)


@scenario
def fsdp_provenance(rank: int, size: int) -> Any:
    """Of weights that were drawn, and of such with a direction that stands out; cut by rows, by columns, not at all."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    from adaptlr.measure import provenance

    torch.manual_seed(1)
    mesh = init_device_mesh("cpu", (size,))
    drawn = torch.randn(65, 40) * 0.05
    trained = drawn + 0.3 * torch.randn(65, 1) * torch.randn(1, 40)
    out = []
    for weight in (drawn, trained, torch.full((65, 40), 0.1), torch.randn(5, 7)):
        whole = str(provenance.of_groups([[nn.Parameter(weight)]])[0])
        cut = [
            str(provenance.of_groups([[nn.Parameter(distribute_tensor(weight, mesh, [p]))]])[0])
            for p in (Shard(0), Shard(1), Replicate())
        ]
        out.append((whole, cut))
    ratios = provenance.edge_ratio(drawn), provenance.edge_ratio_of_shards(distribute_tensor(drawn, mesh, [Shard(0)]))
    return out, ratios


@scenario
def fsdp_same_coordinates(rank: int, size: int) -> Any:
    """Each sampled place is read by one rank; together they read what one process reads."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    from adaptlr.measure.shards import own

    mesh = init_device_mesh("cpu", (size,))
    whole = torch.arange(3 * 5 * 7.0).view(3, 5, 7)
    index = torch.tensor([0, 1, 9, 34, 35, 52, 69, 70, 103, 104])
    out = []
    for placement in (Shard(0), Shard(1), Shard(2), Replicate()):
        t = distribute_tensor(whole, mesh, [placement])
        out.append(t.to_local().flatten()[own(t, index)])
    out.append(whole.flatten()[own(whole, index, first_rank=rank == 0)])
    return out


@scenario
def refused(rank: int, size: int) -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (size,))
    tensor_parallel = parallelize_module(model(), mesh, {"0": ColwiseParallel()})
    flat = FullyShardedDataParallel(model(), device_id=torch.device("cpu"))
    said = []
    for net in (tensor_parallel, flat):
        try:
            Controller(net, adam(net, 1e-3))
        except ValueError as error:
            said.append(str(error))
    return said


def main(folder: str, rank: int, size: int, names: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", AdaptLRWarning)
    late = datetime.timedelta(seconds=100)  # to begin: on a busy machine one may load torch for long
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size, timeout=late)
    out = {}
    for name in names:
        began = time.monotonic()
        out[name] = SCENARIOS[name](rank, size)
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    torch.save(out, f"{folder}/{rank}.pt")
    os._exit(0)  # without taking leave of ranks that are gone


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
