"""Runs cells side by side through joblib: here on processes of this machine, or on a cluster whose backend is registered."""

from __future__ import annotations

from collections.abc import Sequence

import joblib
from tqdm import tqdm

from experiments.gauntlet.run import run_cell
from experiments.gauntlet.store import Row, Store
from experiments.gauntlet.tiers import Run


def key(run: Run) -> str:
    cell, method = run
    return f"{method}|{cell.name}"


def run_all(runs: Sequence[Run], store: Store, *, folder: str, jobs: int, backend: str, what: str) -> list[Row]:
    """The rows of these runs; those that the store has are not run again. Each is saved as soon as it is there."""
    todo = [r for r in runs if not store.done(key(r))]
    if todo:
        if backend == "ray":
            from ray.util.joblib import register_ray  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

            register_ray()
        with joblib.parallel_config(backend=backend, n_jobs=jobs):
            rows = joblib.Parallel(return_as="generator_unordered", batch_size=1)(
                joblib.delayed(run_cell)(cell, method, folder) for cell, method in todo
            )
            for row in tqdm(rows, total=len(todo), desc=what, smoothing=0.05):
                store.add(row)
    return [store.rows[key(r)] for r in runs]
