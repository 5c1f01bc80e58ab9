"""What watching costs: plain and a method step by step in turns, in one process, so that both see the same machine.

A step's time is the processor's: with one thread that is its wall time without the neighbours. The pair is run several times, and
each step counts at its fastest. Making the controller and taking it down count too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median

from experiments.gauntlet.cells import Cell, Column, uniform
from experiments.gauntlet.job import prepare
from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.run import Row, one_thread


def wall_over_plain(column: str, lr: float, folder: str, *, method: str = "adaptlr", repeats: int = 3) -> Row:
    """The method's time over plain's in a run at ``lr``, and both in seconds."""
    cell = Cell(column=Column.parse(column), plan=uniform(lr), seed=0)
    with one_thread():
        plain, other = _fastest(cell, method, folder, repeats)
    return {"column": column, "lr": lr, "method": method, "plain_s": plain, "method_s": other, "ratio": other / plain}


def _fastest(cell: Cell, method: str, folder: str, repeats: int) -> tuple[float, float]:
    """Seconds of plain and of the method, each step at its fastest."""
    best: dict[str, list[float]] = {}
    for _ in range(repeats):
        laps = {name: _laps(cell, name, folder) for name in ("plain", method)}
        times: dict[str, list[float]] = {name: [] for name in laps}
        for _ in range(prepare(cell, folder).steps + 2):
            for name, lap in laps.items():
                times[name].append(next(lap))
        best = {name: [min(a, b) for a, b in zip(best.get(name, new), new, strict=True)] for name, new in times.items()}
    return sum(best["plain"]), sum(best[method])


def _laps(cell: Cell, method: str, folder: str) -> Iterator[float]:
    """Seconds of the beginning, of each step and of the end."""
    job = prepare(cell, folder)
    begin = time.process_time()
    runner = METHODS[method](job)
    yield time.process_time() - begin
    losses = runner.losses(job.batches())
    try:
        for _ in range(job.steps):
            begin = time.process_time()
            next(losses)
            yield time.process_time() - begin
        begin = time.process_time()
        runner.trained()
        yield time.process_time() - begin
    finally:
        runner.close()


def walls(rows: Sequence[Row], timings: Sequence[Row]) -> dict[str, float]:
    """Per method: the mean of its timings; where there are none, processor seconds of its rows over plain's, column by column.

    Rows made now and rows published then saw two machines, or one on two days: they are not compared.
    """
    seconds: dict[str, dict[tuple[str, str | None], list[float]]] = {}
    for r in rows:
        if r["error"] is None and r["fault"] == "none":
            seconds.setdefault(r["method"], {}).setdefault((r["column"], r.get("published")), []).append(r["cpu_seconds"])
    plain = {made: median(s) for made, s in seconds.get("plain", {}).items()}
    out = {m: _over(by_column, plain) for m, by_column in seconds.items() if any(plain.get(c) for c in by_column)}
    for method in {t["method"] for t in timings}:
        out[method] = fmean(t["ratio"] for t in timings if t["method"] == method)
    return out


def _over(by_column: Mapping[tuple[str, str | None], Sequence[float]], plain: Mapping[tuple[str, str | None], float]) -> float:
    return fmean(median(s) / plain[c] for c, s in by_column.items() if plain.get(c))
