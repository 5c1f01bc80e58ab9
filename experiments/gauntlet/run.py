"""One cell under one method, as a row. Runs in a worker process."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from experiments.gauntlet.cells import Cell
from experiments.gauntlet.job import prepare
from experiments.gauntlet.methods import METHODS, Plain

Row = dict[str, Any]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Cells share the machine, one thread each; and saturated nets do not crawl through denormal numbers (three times slower)."""
    threads, tiny = torch.get_num_threads(), torch.tensor(1e-310, dtype=torch.float64)
    flushed = bool(tiny * 1.0 == 0)  # torch sets this and does not tell it
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)


def identity(cell: Cell, method: str) -> Row:
    """The part of a row that is known before the run."""
    return {
        "key": f"{method}|{cell.name}",
        "method": method,
        "column": cell.column.name,
        "half": cell.column.half,
        **dataclasses.asdict(cell.column),
        "plan": cell.plan.name,
        "plan_kind": cell.plan.kind,
        "lr": cell.plan.lrs[0] if len(cell.plan.lrs) == 1 else None,
        "lrs": list(cell.plan.lrs),
        "hot_group": cell.plan.hot_group,
        "seed": cell.seed,
        "fault": cell.fault,
    }


def run_cell(cell: Cell, method: str, folder: str) -> Row:
    """Train, judge at the end of training, say what the method did. An error becomes part of the row."""
    row = identity(cell, method)
    begin = time.perf_counter()
    try:
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row |= _trained(cell, method, folder)
    except Exception as error:  # noqa: BLE001  (whatever a method dies of is its result in this cell, and must not end the others)
        row |= {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc(limit=8)}
    return row | {"seconds": time.perf_counter() - begin}


def _trained(cell: Cell, method: str, folder: str) -> Row:
    job = prepare(cell, folder)
    begin, cpu = time.perf_counter(), time.process_time()
    runner: Plain = METHODS[method](job)
    try:
        losses = list(runner.losses(job.batches()))
        model = runner.trained()
        train_seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    finally:
        runner.close()
    value = job.metric(model)
    events = runner.events
    chance = job.task.chance(job.data.y_valid)
    return {
        "error": None,
        "metric": value,
        "chance": chance,
        "best_known": job.task.best,
        "metric_se": job.task.standard_error(value, job.data.y_valid.numel()),
        "steps": job.steps,
        "fault_step": job.fault.begins(job.steps) if cell.fault != "none" else 0,
        "train_seconds": train_seconds,
        "cpu_seconds": cpu_seconds,
        "last_loss": losses[-1] if math.isfinite(losses[-1]) else None,
        "final_lrs": list(runner.lrs),
        "findings": [dataclasses.asdict(e) for e in events.findings],
        "decisions": [dataclasses.asdict(e) for e in events.decisions],
        "first_large_step": events.first_large_step,
    }
