"""What watching costs: the time of a step, plain and under every way to watch it, in turns in one process.

    python -m experiments.overhead --out runs/overhead [--device cuda] [--quick] [--check]

Writes ``summary.json`` ({model: {method: ratio of medians}}, and details), ``steps.csv``, ``sweep.csv`` and ``overhead.png``. Some
twelve minutes on one core; ``--quick`` takes two tiny nets and seconds, and says nothing about cost. ``--check`` ends with an error
if a ResNet-18's step takes more than 1.01 of a plain one, or, on a GPU, if anything on the training path waits for the device. It
needs no data and no network.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

import torch

from experiments.gauntlet.run import one_thread
from experiments.overhead import check
from experiments.overhead.measure import own_times, peak_mb, step_times, summarise
from experiments.overhead.methods import METHODS
from experiments.overhead.models import FULL, QUICK, Workload, sweep
from experiments.overhead.picture import draw
from experiments.record import versions, write
from experiments.tables import write_csv

WIDTHS = (64, 128, 256, 512, 1024, 2048)


def _own(workload: Workload, device: str, steps: int) -> dict[str, Any]:
    """adaptlr's own time in a step, by its own clocks: on a GPU the host's part of it."""
    own = own_times(workload, device, steps=steps)
    first, _, third = quantiles(own, n=4, method="inclusive")
    return {"own_ms": 1e3 * median(own), "own_mean_ms": 1e3 * fmean(own), "own_quartiles_ms": [1e3 * first, 1e3 * third]}


def measure(workloads: tuple[Workload, ...], device: str, *, seconds: float, least: int) -> dict[str, dict[str, dict[str, Any]]]:
    """{model: {method: numbers}}."""
    out = {}
    memory = {(w.name, m.name): peak_mb(m, w, device) for w in workloads for m in METHODS}  # before anything was freed here
    for workload in workloads:
        out[workload.name] = summarise(step_times(workload, device, seconds=seconds, least=least))
        for name, numbers in out[workload.name].items():
            numbers["peak_mb"] = memory[workload.name, name]
        print(workload.name, {name: round(n["ratio"], 3) for name, n in out[workload.name].items()}, flush=True)
    return out


def measure_sweep(widths: tuple[int, ...], device: str, steps: int) -> list[dict[str, Any]]:
    """A row for each width of a net: its step, and adaptlr's own part of it."""
    rows = []
    for width, workload in zip(widths, sweep(widths), strict=True):
        plain = summarise(step_times(workload, device, seconds=1.0 if steps > 10 else 0.0, least=5))["plain"]["median_ms"]
        rows.append({"width": width, "step_ms": plain, **_own(workload, device, steps)})
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/overhead"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of rounds for each model")
    parser.add_argument("--quick", action="store_true", help="tiny nets, a few steps")
    parser.add_argument("--check", action="store_true", help="end with an error if it costs more than it may")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch sees no CUDA device here")
    args.out.mkdir(parents=True, exist_ok=True)
    workloads, widths = (QUICK, WIDTHS[:2]) if args.quick else (FULL, WIDTHS)
    with one_thread():
        details = measure(workloads, args.device, seconds=0.0 if args.quick else args.seconds, least=4 if args.quick else 6)
        widened = measure_sweep(widths, args.device, 5 if args.quick else 100)
    ratios = {model: {name: n["ratio"] for name, n in methods.items()} for model, methods in details.items()}
    chip = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()}, one thread"
    write(args.out / "summary.json", {**ratios, "details": details, "sweep": widened, "machine": chip, "versions": versions()})
    write_csv(args.out / "steps.csv", [{"model": m, "method": n, **row} for m, d in details.items() for n, row in d.items()])
    write_csv(args.out / "sweep.csv", widened)
    draw(details, widened, args.out / "overhead.png")
    if args.check:
        _check(ratios, args.device, workloads[0])


def _check(ratios: dict[str, dict[str, float]], device: str, workload: Workload) -> None:
    failures = check.slow(ratios)
    if device == "cuda" and (waiting := check.waits(workload)):
        failures.append(f"something waits for the GPU: {waiting}")
    if failures:
        raise SystemExit("\n".join(failures))
    print(f"checked: at most {check.MOST} of a plain step on a ResNet-18" + (", and nothing waits" if device == "cuda" else ""))


if __name__ == "__main__":
    main()
