"""Does adaptlr put ruined runs right, and leave healthy ones alone? Small nets on Fashion-MNIST, learning rates from 1e-5 to 10.

    python -m experiments.rescue --data data --out runs/rescue [--methods plain,adaptlr] [--lrs 0.1,1,10] [--jobs 2]

A column is a net, an optimizer and a schedule; its oracle is the best fixed learning rate's accuracy, mean of seeds. Recovered is
(accuracy - chance) / (oracle - chance). Every run is saved at once; killed and started again, it goes on. The folder gets
``rows.jsonl`` (a line a run), ``table.csv`` (a line a cell, mean of seeds) and ``summary.json``.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import json
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from adaptlr import Controller
from experiments.fashion import Cell, train
from experiments.nets import NETS

CHANCE = 0.1  # ten classes, all of one size
LRS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
SCHEDULES = ("flat", "one-cycle")
HEALTHY = 0.97  # plain recovers as much: nothing to put right


def run_cell(cell: Cell, method: str, folder: str) -> dict[str, Any]:
    """One run as a row. ``method``: plain, watch (adaptlr with act=False) or adaptlr."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    made: list[Controller] = []

    def watch(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Controller:
        made.append(Controller(model, optimizer, act=method == "adaptlr"))
        return made[0]

    begin = time.perf_counter()
    result = train(cell, folder, watch if method != "plain" else None)
    row = {**dataclasses.asdict(cell), "method": method, "accuracy": result.accuracy, "seconds": time.perf_counter() - begin}
    if made:
        ctl = made[0]
        row["decisions"] = [[d.step, d.action, d.restored_step, d.message] for d in ctl.decisions]
        row["findings"] = [[f.step, f.kind] for f in ctl.findings]
        row["scales"] = ctl.scales
    return row


def recovered(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line a cell and method, mean of seeds; the oracle is taken from the plain rows of the column."""
    rows = list(rows)
    by_cell: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for r in rows:
        by_cell[r["net"], r["optimizer"], r["schedule"], r["lr"], r["method"]].append(r)
    oracle: dict[tuple[Any, ...], float] = defaultdict(float)
    for (*column, _, method), runs in by_cell.items():
        if method == "plain":
            oracle[tuple(column)] = max(oracle[tuple(column)], statistics.fmean(r["accuracy"] for r in runs))
    out = []
    for (net, optimizer, schedule, lr, method), runs in sorted(by_cell.items()):
        best = oracle[net, optimizer, schedule]
        shares = [(r["accuracy"] - CHANCE) / (best - CHANCE) for r in runs]
        plain = [r["accuracy"] for r in by_cell.get((net, optimizer, schedule, lr, "plain"), [])]
        out.append(
            {
                "net": net,
                "optimizer": optimizer,
                "schedule": schedule,
                "lr": lr,
                "method": method,
                "seeds": len(runs),
                "accuracy": round(statistics.fmean(r["accuracy"] for r in runs), 4),
                "oracle": round(best, 4),
                "recovered": round(statistics.fmean(shares), 4),
                "worst_seed": round(min(shares), 4),
                "healthy": bool(plain) and (statistics.fmean(plain) - CHANCE) / (best - CHANCE) >= HEALTHY,
                "decisions": sum(len(r.get("decisions", [])) for r in runs),
            }
        )
    return out


def summarise(cells: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Per method: mean, worst cell and worst seed of what was recovered on ruined cells; decisions on healthy ones."""
    out = {}
    cells = list(cells)
    for method in sorted({c["method"] for c in cells}):
        mine = [c for c in cells if c["method"] == method]
        ruined, healthy = [c for c in mine if not c["healthy"]], [c for c in mine if c["healthy"]]
        out[method] = {
            "ruined_cells": len(ruined),
            "mean_recovered": statistics.fmean(c["recovered"] for c in ruined) if ruined else 1.0,
            "worst_recovered": min((c["recovered"] for c in ruined), default=1.0),
            "worst_seed": min((c["worst_seed"] for c in ruined), default=1.0),
            "healthy_cells": len(healthy),
            "healthy_with_decision": sum(c["decisions"] > 0 for c in healthy),
            "worst_healthy_recovered": min((c["recovered"] for c in healthy), default=1.0),
        }
    return out


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["method"], row["net"], row["optimizer"], row["schedule"], row["lr"], row["seed"], row["epochs"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder with FashionMNIST/raw, as torchvision has it")
    parser.add_argument("--out", type=Path, default=Path("runs/rescue"))
    parser.add_argument("--methods", default="plain,adaptlr")
    parser.add_argument("--nets", default=",".join(n for n in NETS))
    parser.add_argument("--optimizers", default="adam,sgd")
    parser.add_argument("--schedules", default=",".join(SCHEDULES))
    parser.add_argument("--lrs", default=",".join(str(x) for x in LRS))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    store = args.out / "rows.jsonl"
    rows = [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []
    done = {_key(r) for r in rows}
    columns = itertools.product(args.nets.split(","), args.optimizers.split(","), args.schedules.split(","))
    todo = [
        (Cell(net=net, optimizer=optimizer, schedule=schedule, lr=lr, seed=seed, epochs=args.epochs), method)
        for net, optimizer, schedule in columns
        for lr in (float(x) for x in args.lrs.split(","))
        for seed in (int(s) for s in args.seeds.split(","))
        for method in args.methods.split(",")
        if (method, net, optimizer, schedule, lr, seed, args.epochs) not in done
    ]
    with ProcessPoolExecutor(args.jobs) as pool, store.open("a") as file:
        runs = [pool.submit(run_cell, cell, method, args.data) for cell, method in todo]
        for run in tqdm(as_completed(runs), total=len(runs), desc="runs"):
            rows.append(run.result())
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
    cells = recovered(rows)
    with (args.out / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(cells[0]))
        writer.writeheader()
        writer.writerows(cells)
    summary = {"versions": {"torch": torch.__version__}, "methods": summarise(cells)}
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    for c in cells:
        if c["method"] != "plain" and (c["recovered"] < 0.97 or (c["healthy"] and c["decisions"])):
            cell = f"{c['net']:>7} {c['optimizer']:>5} {c['schedule']:>9} lr {c['lr']:<7g} {c['method']}"
            print(f"{cell}: recovered {c['recovered']:.3f}, worst seed {c['worst_seed']:.3f}, decisions {c['decisions']}")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
