"""Runs cells side by side through joblib: here on processes of this machine, or on a cluster whose backend is registered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import joblib
from tqdm import tqdm

from experiments.gauntlet.provenance import fingerprint
from experiments.gauntlet.run import run_cell
from experiments.gauntlet.store import Row, Store
from experiments.gauntlet.tiers import Run


def key(run: Run) -> str:
    cell, method = run
    return f"{method}|{cell.name}"


def left(runs: Sequence[Run], store: Store) -> list[Run]:
    """Those that the store has not, or has from other code."""
    return [r for r in runs if not store.done(key(r), fingerprint(r[1]))]


def run_all(runs: Sequence[Run], store: Store, *, folder: str, jobs: int, backend: str, what: str) -> list[Row]:
    """The rows of these runs; each is saved as soon as it is there.

    Args:
        backend: joblib's. "loky" is its processes; "dask" needs a ``dask.distributed.Client`` that is connected, "ray" the
            package ``ray``; both are then given the cells just the same.
    """
    todo = left(runs, store)
    if todo:
        if backend == "ray":
            _register_ray()
        with joblib.parallel_config(backend=backend, n_jobs=jobs):
            for row in tqdm(_rows(todo, folder), total=len(todo), desc=what, smoothing=0.05):
                store.add(row | {"made_by": fingerprint(row["method"])})
    return [store.rows[key(r)] for r in runs]


def _rows(todo: Sequence[Run], folder: str) -> Iterator[Row]:
    """Rows as they are finished; from a backend that can only return a whole list (Ray's), a round of cells at a time."""
    backend, jobs = cast("tuple[Any, int]", joblib.parallel.get_active_backend())
    streams = backend.supports_retrieve_callback
    parallel: Any = joblib.Parallel(return_as="generator_unordered" if streams else "list", batch_size=cast("Any", 1))
    size = len(todo) if streams else 8 * backend.effective_n_jobs(jobs)
    for at in range(0, len(todo), size):
        yield from parallel(joblib.delayed(run_cell)(cell, method, folder) for cell, method in todo[at : at + size])


def _register_ray() -> None:
    try:
        from ray.util.joblib import register_ray  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("the backend 'ray' needs the package ray: pip install ray") from error
    register_ray()
