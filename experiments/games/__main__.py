"""Two nets that play against each other, each with an optimizer and a Controller of its own: does adaptlr leave them alone?

    python -m experiments.games [--seeds 0,1] [--games ring,digits] [--out runs/games] [--quick]

Generators and discriminators whose settings train well: without adaptlr, with it, and with it told nothing of the run's length. 36
in all, five minutes on two cores. What is finished is not run again. The folder gets ``table.csv`` and ``summary.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.everyday.runs import METHODS
from experiments.games.games import GAMES, train
from experiments.recovery import Run, commits, finished, tell
from experiments.sweep import command_line, make


def all_runs(seeds: Iterable[int], games: Iterable[str]) -> list[Run]:
    seeds = list(seeds)
    return [
        Run(task=name, optimizer=GAMES[name].optimizer, schedule="flat", lr=GAMES[name].lr, seed=seed, method=method)
        for name in games
        for seed in seeds
        for method in METHODS
    ]


def table(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line a run with adaptlr: how far off its generator ends and without, what was said, and how often something was done."""
    rows = list(rows)
    plain = {(r["task"], r["seed"]): r["loss"] for r in rows if r["method"] == "plain"}
    return [
        {
            **{key: r[key] for key in ("task", "optimizer", "lr", "seed", "method", "begin")},
            "distance_plain": plain[r["task"], r["seed"]],
            "distance": r["loss"],
            "said": sum(d[1] == "hold" for d in r["decisions"]),
            "done": sum(d[1] != "hold" for d in r["decisions"]),
        }
        for r in rows
        if r["method"] != "plain"
    ]


def summary(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Per method: of how many runs something was held against the loss, how many were changed, and how many end the same."""
    lines, out = list(lines), dict[str, Any]()
    for method in dict.fromkeys(line["method"] for line in lines):
        mine = [line for line in lines if line["method"] == method]
        out[method] = {
            "runs": len(mine),
            "with_a_warning": sum(line["said"] > 0 for line in mine),
            "changed": sum(line["done"] > 0 for line in mine),
            "same_end": sum(line["distance"] == line["distance_plain"] for line in mine),
        }
    return out


def publish(runs: Sequence[Run], out: Path, *, seeds: Sequence[int]) -> None:
    """``table.csv`` and ``summary.json`` in ``out``, the latter on the screen too."""
    rows = finished(runs, out)
    lines = table(rows)
    tell(out, lines, seeds=seeds, methods=summary(lines), commits_of_runs=commits(rows))


def main() -> None:
    make(command_line(__doc__, out="runs/games", tasks=GAMES, quick="digits", called="games"), all_runs, train, publish)


if __name__ == "__main__":
    main()
