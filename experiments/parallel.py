"""Runs side by side, each in a process of one thread, with a bar of its own; what is finished is not run again."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from tqdm import tqdm


class Named(Protocol):
    """A run: its name is its folder's."""

    @property
    def name(self) -> str: ...


R = TypeVar("R", bound=Named)


def unfinished(runs: Sequence[R], out: Path) -> list[R]:
    """Those without a complete ``run.json``."""
    return [run for run in runs if not (out / run.name / "run.json").exists()]


def run_all(runs: Sequence[R], train: Callable[..., Any], out: Path, *, jobs: int, **kwargs: Any) -> None:
    """``train(run, out=out, slot=..., **kwargs)`` for each run that is not finished, ``jobs`` at a time.

    A run that was interrupted begins again; the others are kept. One process trains on all cores, several on one each.

    Raises:
        ValueError: ``train`` is defined in ``__main__``.
    """
    todo = unfinished(runs, out)
    if jobs == 1:
        for run in tqdm(todo, desc="runs", position=1):
            train(run, out=out, **kwargs)
        return
    if train.__module__ == "__main__":
        raise ValueError(f"{train.__qualname__} is defined in __main__, where a process that is spawned cannot find it: move it")
    context = multiprocessing.get_context("spawn")
    lock = context.RLock()  # one for all bars; tqdm's own cannot be handed to a process that is spawned
    tqdm.set_lock(lock)
    slots = context.Queue()
    for slot in range(jobs):
        slots.put(slot)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(slots, lock)) as pool:
        futures = [pool.submit(_in_slot, train, run, out=out, **kwargs) for run in todo]
        for future in tqdm(as_completed(futures), total=len(todo), desc="runs", position=jobs):
            future.result()


_slot = 0


def _begin(slots: Any, lock: Any) -> None:
    global _slot  # noqa: PLW0603  (one a process, for its bar's place on the screen)
    torch.set_num_threads(1)
    tqdm.set_lock(lock)
    _slot = slots.get()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed leaves its processes behind, which would train on, beside those of its next start."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_slot(train: Callable[..., Any], run: Any, **kwargs: Any) -> Any:
    return train(run, slot=_slot, **kwargs)
