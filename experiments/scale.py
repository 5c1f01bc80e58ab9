"""What adaptlr costs on large models and many ranks: measured on small ones, and the arithmetic from there.

    python -m experiments.scale --out runs/scale

Takes about a minute on 2 cores. The folder gets ``measured.json`` (the collective on 2 and 4 gloo processes, snapshots' bandwidth,
a trace's bytes a step) and ``table.csv`` (25 million to 70 billion parameters on 1 to 1,024 ranks). docs/scale.md explains it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from adaptlr import AdaptLRWarning, Controller, Trace
from adaptlr.act.optimizer import TorchOptimizer
from adaptlr.act.snapshot import capture, restore
from adaptlr.measure.stages import MAX_STAGES
from adaptlr.measure.stats import COUNTERS
from adaptlr.ranks import Ranks
from adaptlr.records import Reading
from experiments.record import versions, write
from experiments.tables import write_csv

BINS, COLUMNS, HEAD = 40, 12, 6  # of a stage's histogram, of a group's row, of the head
CASES = ((1, 12), (3, 12), (60, 12))  # groups, stages
SIZES = (2, 4)
HELD, GAP = 4, 200  # snapshots held, steps between two of them in a long run
PARAMETERS = {"25 million": 25e6, "1 billion": 1e9, "70 billion": 70e9}
RANKS = (1, 8, 64, 1024)
STATE_BYTES = 12  # a parameter: float32, and Adam's two moments


def vector_bytes(groups: int, stages: int) -> int:
    """Of the one collective a step: float64."""
    return 8 * (HEAD + COLUMNS * groups + (len(COUNTERS) + BINS) * stages)


def _rank(rank: int, size: int, folder: str, repeats: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    assert dist.group.WORLD is not None
    ranks, out = Ranks(dist.group.WORLD), []
    for groups, stages in CASES:
        rows, counts, loss = torch.rand(groups, COLUMNS), torch.rand(stages, len(COUNTERS) + BINS), torch.tensor(1.0)
        bare = torch.zeros(vector_bytes(groups, stages) // 8, dtype=torch.float64)
        times: dict[str, list[float]] = {"merge": [], "all_reduce": []}
        for i in range(repeats + 20):
            dist.barrier()
            began = time.perf_counter()
            ranks.check(ranks.merge(loss, rows, counts, step=i, epoch=None, claim="the same").head, "the same")
            merged = time.perf_counter()
            dist.barrier()
            reduce_began = time.perf_counter()
            dist.all_reduce(bare)
            reduced = time.perf_counter()
            if i >= 20:
                times["merge"].append(merged - began)
                times["all_reduce"].append(reduced - reduce_began)
        for name, seconds in times.items():
            cuts = statistics.quantiles(seconds, n=10)
            out.append(
                {
                    "what": name,
                    "ranks": size,
                    "groups": groups,
                    "stages": stages,
                    "bytes": vector_bytes(groups, stages),
                    "p10_us": cuts[0] * 1e6,
                    "median_us": statistics.median(seconds) * 1e6,
                    "p90_us": cuts[-1] * 1e6,
                }
            )
    if rank == 0:
        torch.save(out, f"{folder}/out.pt")
    dist.destroy_process_group()


def collectives(repeats: int) -> list[dict[str, Any]]:
    out = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(_rank, args=(size, folder, repeats), nprocs=size)  # type: ignore[attr-defined]
            out += torch.load(f"{folder}/out.pt")
    return out


def snapshots() -> list[dict[str, Any]]:
    """Copies of a model of 2.5 and of 25 million parameters with Adam's state."""
    out = []
    for width, layers in ((500, 10), (1581, 10)):
        net = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))
        optimizer = torch.optim.Adam(net.parameters())
        net(torch.randn(2, width)).sum().backward()
        optimizer.step()
        port, n = TorchOptimizer(optimizer), sum(p.numel() for p in net.parameters())
        takes, puts = [], []
        for _ in range(5):
            began = time.perf_counter()
            taken = capture(0, net, port)
            took = time.perf_counter()
            restore(taken, net, port)
            takes.append(took - began)
            puts.append(time.perf_counter() - took)
        size = STATE_BYTES * n
        out.append(
            {
                "parameters": n,
                "bytes": size,
                "capture_s": statistics.median(takes),
                "restore_s": statistics.median(puts),
                "capture_gb_per_s": size / statistics.median(takes) / 1e9,
                "restore_gb_per_s": size / statistics.median(puts) / 1e9,
            }
        )
    return out


def traces() -> dict[str, float]:
    """A net with as many stages as are ever observed, in three groups; its lines on disk, and the time to write one."""
    torch.manual_seed(0)
    net = nn.Sequential(*(m for _ in range(MAX_STAGES + 2) for m in (nn.Linear(32, 32), nn.ReLU())))
    params = list(net.parameters())
    optimizer = torch.optim.Adam([{"params": params[i::3]} for i in range(3)], lr=1e-4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        with Controller(net, optimizer, act=False, trace=path) as ctl:
            for _ in range(60):
                optimizer.zero_grad()
                loss = net(torch.randn(64, 32)).square().mean()
                loss.backward()
                optimizer.step()
                ctl.step(loss)
        lines = [line for line in path.read_bytes().splitlines(keepends=True) if b'"reading"' in line]
        again = Trace(Path(folder) / "again.jsonl")
        began = time.perf_counter()
        for reading in ctl.trace.readings:
            again.append(reading)
        each = (time.perf_counter() - began) / len(ctl.trace.readings)
        again.close()
    pairs: list[tuple[Reading, bytes]] = list(zip(ctl.trace.readings, lines, strict=True))
    return {
        "stages": len(ctl.stages),
        "groups": 3,
        "bytes_with_stages": statistics.mean(len(line) for r, line in pairs if r.stages),
        "bytes_without": statistics.mean(len(line) for r, line in pairs if not r.stages),
        "append_us": each * 1e6,
    }


def table(measured: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """From what was measured to large models: see docs/scale.md for each formula."""
    two = {
        c["what"]: c["p10_us"] for c in measured["collectives"] if (c["ranks"], c["groups"]) == (2, 3)
    }  # the fastest tenth: a core for each rank, and nobody else on it
    hop = two["all_reduce"] / 2  # gloo goes around a ring: 2 (n - 1) hops
    fixed = two["merge"] - two["all_reduce"]  # packing and checking
    bandwidth = measured["snapshots"][-1]["capture_gb_per_s"] * 1e9
    trace = measured["traces"]
    trace_bytes = 0.05 * trace["bytes_with_stages"] + 0.95 * trace["bytes_without"]  # past the first 256 steps
    for name, parameters in PARAMETERS.items():
        for ranks in RANKS:
            for how in ("DDP", "fully_shard"):
                if ranks == 1 and how != "DDP":
                    continue
                own = STATE_BYTES * parameters / (ranks if how != "DDP" else 1)
                yield {
                    "parameters": name,
                    "ranks": ranks,
                    "how": how if ranks > 1 else "one process",
                    "collective_bytes": vector_bytes(3, 12) if ranks > 1 else 0,
                    "gloo_ring_ms": round((fixed + hop * 2 * (ranks - 1)) / 1e3, 2) if ranks > 1 else 0,
                    "tree_ms": round((fixed + hop * 2 * math.ceil(math.log2(ranks))) / 1e3, 2) if ranks > 1 else 0,
                    "snapshot_gb_a_rank": round(own / 1e9, 3),
                    "held_gb_a_rank": round(HELD * own / 1e9, 3),
                    "capture_s": round(own / bandwidth, 3),
                    "capture_ms_a_step": round(own / bandwidth / GAP * 1e3, 3),
                    "trace_bytes_a_step": round(trace_bytes),
                }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/scale"))
    parser.add_argument("--repeats", type=int, default=300, help="of each collective")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", AdaptLRWarning)
    torch.set_num_threads(2)
    measured: dict[str, Any] = {"snapshots": snapshots(), "traces": traces(), "collectives": collectives(args.repeats)}
    rows = list(table(measured))
    write(args.out / "measured.json", {**measured, "versions": versions()})
    write_csv(args.out / "table.csv", rows)
    for part in (*measured["collectives"], *measured["snapshots"], measured["traces"], *rows):
        print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in part.items()))


if __name__ == "__main__":
    main()
