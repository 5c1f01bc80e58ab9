"""On a GPU: a healthy run is the same to the last bit, a ruined one is put right, and nothing on the way waits for the device."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint_sequential

from adaptlr import Action, Controller, Kind
from tests.nets import batches, convnet, fit, quiet, same, went_on_and_resumed

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:The .grad attribute"),  # the compiler's own
    pytest.mark.filterwarnings("ignore:.*(tensor cores|TensorFloat32|not enough SMs).*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.filterwarnings("ignore:The CUDA Graph is empty"),  # the compiler's own first one
    pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream"),
]
STEPS = 30
Make = Callable[..., torch.optim.Optimizer]
ADAM: Make = torch.optim.Adam


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two plain runs must be the same, or nothing can be said of a watched one."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    yield
    torch.cuda.set_sync_debug_mode("default")


def on(device: str, data: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    return ((x.to(device), y.to(device)) for x, y in data)


@dataclass
class Way:
    """How a run is trained."""

    make: Make = ADAM
    good: Any = 3e-3
    dtype: torch.dtype | None = None  # of autocast
    scaled: bool = False
    mode: str | None = None  # torch.compile's
    channels_last: bool = False
    checkpointed: bool = False
    micro_batches: int = 1
    controller: dict[str, Any] = field(default_factory=dict)


@dataclass
class Ran:
    """What a run leaves behind."""

    losses: list[float]
    state: Any
    controller: Controller | None


def run(way: Way, lr: Any = None, *, watched: bool, steps: int = STEPS, device: str = "cuda") -> Ran:
    torch._dynamo.reset()  # a net of the same kind that was compiled before has its graph without hooks
    torch.manual_seed(0)
    model: Any = convnet(dropout=0.2).to(device)
    if way.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = way.make(model.parameters(), lr=way.good if lr is None else lr)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**19, enabled=way.scaled)  # overflows at first: steps are skipped
    more = {"scaler": scaler, **way.controller} if way.scaled else way.controller
    ctl = Controller(model, optimizer, announce=quiet, **more).__enter__() if watched else None
    call = model if way.mode is None else torch.compile(model, mode=way.mode)
    if way.checkpointed:
        call = partial(checkpoint_sequential, model, 2, use_reentrant=False)
    losses = []
    for i, (x, y) in enumerate(batches(steps * way.micro_batches)):
        if i % way.micro_batches == 0:
            optimizer.zero_grad()
        cast = contextlib.nullcontext() if way.dtype is None else torch.autocast(device, way.dtype)
        with cast:
            loss = nn.functional.cross_entropy(call(x.to(device)), y.to(device))
        scaler.scale(loss).backward()
        losses.append(loss.item())
        if (i + 1) % way.micro_batches == 0:
            scaler.step(optimizer)
            scaler.update()
        if ctl is not None:
            ctl.step(loss)
    if ctl is not None:
        ctl.close()
    rng = torch.cuda.get_rng_state() if device == "cuda" else torch.get_rng_state()
    return Ran(losses, (losses, model.state_dict(), optimizer.state_dict(), scaler.state_dict(), rng), ctl)


WAYS: dict[str, Way] = {
    "float32": Way(),
    "sgd": Way(partial(torch.optim.SGD, momentum=0.9), good=3e-2),
    "foreach": Way(partial(ADAM, foreach=True)),
    "for-loop": Way(partial(ADAM, foreach=False)),
    "fused": Way(partial(ADAM, fused=True)),
    "capturable": Way(partial(ADAM, capturable=True)),
    "adamw-fused": Way(partial(torch.optim.AdamW, fused=True)),
    "bf16": Way(dtype=torch.bfloat16),
    "fp16": Way(dtype=torch.float16, scaled=True),
    "fp16-fused": Way(partial(ADAM, fused=True), dtype=torch.float16, scaled=True),
    "channels-last": Way(channels_last=True),
    "checkpointed": Way(checkpointed=True),
    "accumulated": Way(micro_batches=3),
    "on-the-host": Way(controller={"snapshot_device": "cpu"}),
    "compiled": Way(mode="default"),
    "compiled-accumulated": Way(mode="default", micro_batches=3),
    "cuda-graphs": Way(mode="reduce-overhead"),
}
every_way = pytest.mark.parametrize("name", WAYS)


@every_way
def test_a_healthy_run_is_the_same_to_the_last_bit(name: str) -> None:
    plain, again, watched = (run(WAYS[name], watched=w) for w in (False, False, True))
    assert same(plain.state, again.state)  # or this net cannot be compared
    ctl = watched.controller
    assert ctl is not None
    assert ctl.decisions == []
    if not WAYS[name].scaled:
        assert len(ctl.trace.readings) == STEPS
    seen = [r for r in ctl.trace.readings if r.stages]
    passes = {s.n for r in seen for s in r.stages if s.name == seen[0].stages[0].name}
    assert len(passes) == 1 or WAYS[name].scaled  # each pass was counted once, those of skipped steps with the next
    assert same(watched.state, plain.state)


@every_way
def test_a_ruinous_learning_rate_is_put_right(name: str) -> None:
    ran = run(WAYS[name], 10.0, watched=True, steps=80)
    assert ran.controller is not None
    back = [d for d in ran.controller.decisions if d.action is Action.ROLLBACK]
    assert back[0].step <= (3 if not WAYS[name].scaled else 20)
    assert max(ran.controller.scales) < 0.1
    assert sum(ran.losses[-10:]) / 10 < 1.5


@pytest.mark.parametrize("way", ["float32", "fused"])
def test_a_learning_rate_that_is_a_tensor_on_the_device(way: str) -> None:
    def lr(value: float) -> Tensor:
        return torch.tensor(value, device="cuda")

    make = partial(ADAM, fused=True) if way == "fused" else partial(ADAM, capturable=True)
    plain, watched = (run(Way(make, good=lr(3e-3)), watched=w) for w in (False, True))
    assert same(watched.state, plain.state)
    ruined = lr(10.0)
    ran = run(Way(make), ruined, watched=True)
    assert ran.controller is not None
    assert ran.controller.decisions[0].action is Action.ROLLBACK
    assert ruined.item() == 10.0


@pytest.mark.parametrize("lr", [3e-3, 1.0, 10.0])
def test_decisions_are_those_of_the_cpu(lr: float) -> None:
    """A step later by the lag, and of the same kind: dropout is left out, since its numbers are the device's own."""
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = convnet().to(device)
        optimizer = ADAM(model.parameters(), lr=lr)
        with Controller(model, optimizer, announce=quiet) as ctl:
            fit(model, optimizer, on(device, batches(60)), ctl)
        found.append([(d.action, d.findings, d.restored_step) for d in ctl.decisions][:1])
    assert found[0] == found[1]
    assert bool(found[0]) == (lr > 0.1)


def test_snapshots_on_the_host_and_on_the_device_restore_the_same_bits() -> None:
    runs = [run(Way(controller={"snapshot_device": d}), 10.0, watched=True) for d in (None, "cpu", "cuda")]
    assert same(runs[0].state, runs[1].state)
    assert same(runs[0].state, runs[2].state)


@pytest.mark.parametrize("kwargs", [{}, {"act": False}, {"snapshot_device": "cpu"}], ids=["acts", "watches", "host"])
def test_nothing_waits_for_the_device(kwargs: dict[str, Any]) -> None:
    """Not a step that is read, nor one that is sampled, nor a snapshot on the device; one on the host does wait: it is a copy."""
    model = convnet().cuda()
    optimizer = ADAM(model.parameters(), lr=1e-3, fused=True)
    data = [(x.cuda(), y.cuda()) for x, y in batches(40)]
    with Controller(model, optimizer, **kwargs) as ctl:
        for i, (x, y) in enumerate(data):
            if i == 4 and "snapshot_device" not in kwargs:
                torch.cuda.set_sync_debug_mode("error")
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            ctl.step(loss)
            assert len(ctl.trace.readings) == i  # the newest is on its way
        torch.cuda.set_sync_debug_mode("default")
    assert [r.step for r in ctl.trace.readings] == list(range(40))


def test_most_of_a_step_is_replayed_and_reads_what_is_read_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of a run whose launches are recorded are those of one whose are not, to the last bit."""
    replays = []
    for recorded in (False, True):
        torch.manual_seed(0)
        model = convnet().cuda()
        optimizer = ADAM(model.parameters(), lr=3e-3)
        with Controller(model, optimizer, act=False, announce=quiet) as ctl:
            weights, activations = ctl._observer._weights, ctl._observer.activations
            if not recorded:
                weights._steady = False
                monkeypatch.setattr(
                    activations, "_counters", {torch.device("cuda", 0): lambda _, a=activations: torch.stack(a._count())}
                )
            fit(model, optimizer, on("cuda", batches(30)), ctl)
        replays.append([repr(r) for r in ctl.trace.readings])
        if recorded:
            parts = (weights._before, weights._after, *activations._counters.values())
            assert [len(part._recordings) > 0 for part in parts] == [True] * 3
    assert replays[0] == replays[1]


def test_where_recording_fails_random_numbers_are_drawn_as_before() -> None:
    """In a pool of memory whose graph is gone and one tensor is not, torch begins a recording and does not end it."""
    from adaptlr.measure import replay

    device = torch.device("cuda", 0)
    x = torch.ones(8, device=device)
    (x + 1).sum().item()
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        graph.capture_begin()
        kept = x + 1
        graph.capture_end()
    pool = graph.pool()
    del graph
    torch.manual_seed(3)
    expected = torch.rand(4, device=device).tolist()
    torch.manual_seed(3)
    begin = torch.cuda.CUDAGraph.capture_begin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda.CUDAGraph, "capture_begin", lambda self, **kw: begin(self, pool=pool, **kw))
        with pytest.raises(RuntimeError):
            replay.record(lambda: x + 1, device)
    assert torch.rand(4, device=device).tolist() == expected
    assert len(kept) == 8
    again, result = replay.record(lambda: x + 2, device)
    again.replay()
    assert result.tolist() == [3.0] * 8
    assert torch.nn.functional.dropout(x, 0.5).numel() == 8


def test_a_batch_of_nan_is_found_and_undone() -> None:
    torch.manual_seed(0)
    model = convnet(norm=False).cuda()
    optimizer = ADAM(model.parameters(), lr=3e-3)
    with Controller(model, optimizer, announce=quiet) as ctl:
        fit(model, optimizer, on("cuda", ((x * (math.nan if i == 20 else 1.0), y) for i, (x, y) in enumerate(batches(40)))), ctl)
    assert [f.kind for f in ctl.findings] == [Kind.NON_FINITE]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_run_is_resumed_to_the_last_bit() -> None:
    whole, rest = went_on_and_resumed(25, device="cuda")
    assert whole[2][0][1] is Action.ROLLBACK
    assert rest[2] == [d for d in whole[2] if d[0] >= 25]
    assert same(rest[:2], whole[:2])


# ---------------------------------------------------------------------- one process group, on the device


@pytest.fixture(params=["nccl", "gloo"])
def _group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    dist.init_process_group(
        request.param, init_method=f"file://{tmp_path}/meet", rank=0, world_size=1, timeout=datetime.timedelta(seconds=30)
    )
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("_group")
@pytest.mark.parametrize("lr", [3e-3, 10.0])
def test_data_parallel(lr: float) -> None:
    """One rank: its sums are its own numbers, by way of the collective."""
    ends = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = DistributedDataParallel(convnet().cuda(), device_ids=[0])
        optimizer = ADAM(model.parameters(), lr=lr)
        ctl = Controller(model, optimizer, announce=quiet).__enter__() if watched else None
        fit(model, optimizer, on("cuda", batches(30)), ctl)
        if ctl is not None:
            ctl.close()
            assert len(ctl.trace.readings) + sum(30 for d in ctl.decisions) >= 30
            assert bool(ctl.decisions) == (lr > 1)
        ends.append((model.state_dict(), optimizer.state_dict()))
    assert same(ends[0], ends[1]) == (lr < 1)
    assert all(bool(torch.isfinite(t).all()) for t in ends[1][0].values())


@pytest.mark.parametrize("_group", ["nccl"], indirect=True)
@pytest.mark.usefixtures("_group")
@pytest.mark.parametrize("lr", [3e-3, 10.0])
def test_fully_sharded(lr: float) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    ends = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).cuda()
        mesh = init_device_mesh("cuda", (1,))
        for layer in (model[1], model[3], model):
            fully_shard(layer, mesh=mesh)
        optimizer = ADAM(model.parameters(), lr=lr)
        ctl = Controller(model, optimizer, announce=quiet).__enter__() if watched else None
        fit(model, optimizer, on("cuda", batches(30)), ctl)
        if ctl is not None:
            ctl.close()
            assert bool(ctl.decisions) == (lr > 1)
        ends.append([p.full_tensor() for p in model.parameters()])  # type: ignore[attr-defined]
    assert same(ends[0], ends[1]) == (lr < 1)


# ---------------------------------------------------------------------- a whole step in one CUDA graph


def test_a_step_that_is_captured_in_a_graph_is_refused_in_plain_words() -> None:
    """Its replays run no Python: nothing could be seen, and nothing put right."""
    model = convnet().cuda()
    optimizer = ADAM(model.parameters(), lr=1e-3, capturable=True)
    x, y = (t.cuda() for t in next(batches(1)))
    with Controller(model, optimizer) as ctl:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # torch's own recipe: some steps before the capture
            for _ in range(3):
                optimizer.zero_grad(set_to_none=True)
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                ctl.step(loss)
        torch.cuda.current_stream().wait_stream(side)
        optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            nn.functional.cross_entropy(model(x), y).backward()
            with pytest.raises(RuntimeError, match="captured in a CUDA graph"):
                optimizer.step()
