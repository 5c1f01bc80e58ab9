"""Step times, method by method in turns, in one process: all see the same machine."""

from __future__ import annotations

import gc
import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

import torch

from experiments.overhead.methods import METHODS, Inside, Plain
from experiments.overhead.models import Workload

WARM_UP = 2  # rounds that are not counted
CUDA_BLOCK = 10  # steps that are timed together on a GPU, so that nothing waits between them


def step_times(workload: Workload, device: str, *, seconds: float, least: int) -> dict[str, list[float]]:
    """Seconds of a step by method: processor's on a CPU with one thread, the wall's on a GPU.

    Rounds go on for ``seconds``, and for ``least`` rounds at least; who begins changes from round to round. The first steps, on
    which adaptlr reads activations each time, are among them.
    """
    trainers = [m(workload, device) for m in METHODS]
    times: dict[str, list[float]] = {t.name: [] for t in trainers}
    end, rounds = time.monotonic() + seconds, 0
    while rounds < least + WARM_UP or time.monotonic() < end:
        for k in range(len(trainers)):
            trainer = trainers[(k + rounds) % len(trainers)]
            lap = _lap(trainer, device)
            if rounds >= WARM_UP:
                times[trainer.name].append(lap)
        rounds += 1
    for trainer in trainers:
        trainer.close()
    return times


def _lap(trainer: Plain, device: str) -> float:
    if device == "cpu":
        begin = time.process_time()
        trainer.step()
        return time.process_time() - begin
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(CUDA_BLOCK):
        trainer.step()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / CUDA_BLOCK


def own_times(workload: Workload, device: str, *, steps: int, skip: int = 16) -> list[float]:
    """Seconds that adaptlr itself takes of a step, past the first ``skip``, on which every activation sample is taken."""
    trainer = Inside(workload, device)
    own = [trainer.own_seconds() for _ in range(skip + steps)][skip:]
    trainer.close()
    return own


def peak_mb(method: type[Plain], workload: Workload, device: str) -> float | None:
    """Most memory held while a method makes its first two steps, over what was held before; None where it cannot be told."""
    gc.collect()
    if device == "cpu":
        return _in_a_child(lambda: _peak_resident_mb(method, workload))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    _two_steps(method, workload, device)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _in_a_child(measure: Callable[[], float | None]) -> float | None:
    """What ``measure`` says in a process of its own: what others have freed in this one would be taken for nothing there."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return None
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(measure()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, none of which is needed there
        child.start()
    there.close()
    try:
        return here.recv()
    except EOFError:  # it died
        return None
    finally:
        child.join()


def _peak_resident_mb(method: type[Plain], workload: Workload) -> float | None:
    before = _resident_mb("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    except OSError:
        return None
    _two_steps(method, workload, "cpu")
    after = _resident_mb("VmHWM")
    return None if before is None or after is None else after - before


def _two_steps(method: type[Plain], workload: Workload, device: str) -> None:
    trainer = method(workload, device)
    trainer.step()
    trainer.step()
    trainer.close()


def _resident_mb(field: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), None)


def summarise(times: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """By method: median and quartiles of a step in ms; over plain: the ratio of medians, of means, and a round's quartiles."""
    plain = times["plain"]
    return {
        name: {
            "steps": len(t),
            "median_ms": 1e3 * median(t),
            "quartiles_ms": [1e3 * q for q in _quartiles(t)],
            "ratio": median(t) / median(plain),
            "mean_ratio": fmean(t) / fmean(plain),
            "round_ratio_quartiles": _quartiles([a / b for a, b in zip(t, plain, strict=True)]),
        }
        for name, t in times.items()
    }


def _quartiles(values: Sequence[float]) -> list[float]:
    first, _, third = quantiles(values, n=4, method="inclusive")
    return [first, third]
