"""The command line."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from experiments.gauntlet.engine import run_all
from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.recovered import oracles, score
from experiments.gauntlet.score import summarise
from experiments.gauntlet.store import Store
from experiments.gauntlet.tiers import TIERS, first_runs, other_runs

FLOOR = 0.95  # of adaptlr's worst cell in the smoke tier


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    tier = TIERS[args.tier]
    columns = args.columns.split(",") if args.columns else list(tier.columns)
    methods = args.methods.split(",") if args.methods else list(tier.methods)
    seeds = [int(s) for s in args.seeds.split(",")] if args.seeds else list(tier.seeds)
    store = Store(args.out or Path("runs") / f"gauntlet-{tier.name}")
    common = {"folder": args.data, "jobs": args.jobs, "backend": args.backend}
    rows = run_all(first_runs(columns, seeds), store, **common, what="plain grid")
    best = {column: oracle.lr for column, oracle in oracles(rows).items()}
    rows += run_all(other_runs(tier, columns, seeds, methods, best), store, **common, what="methods")
    cells = score(rows)
    summary = {"methods": summarise(cells, {})}
    store.to_parquet(rows)
    (store.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))
    worst = summary["methods"].get("adaptlr", {}).get("worst")
    if tier.name == "smoke" and worst is not None and worst < FLOOR:
        print(f"adaptlr's worst cell recovered {worst:.3f}, below {FLOOR}", file=sys.stderr)
        return 1
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.gauntlet", description=__doc__)
    parser.add_argument("--tier", choices=sorted(TIERS), default="smoke")
    parser.add_argument("--methods", help=f"of {','.join(METHODS)}; default: the tier's")
    parser.add_argument("--columns", help="task/net/optimizer/schedule, several with commas; default: the tier's")
    parser.add_argument("--seeds", help="numbers with commas; default: the tier's")
    parser.add_argument("--out", type=Path, help="folder for rows and results; default: runs/gauntlet-TIER")
    parser.add_argument("--data", default="data", help="folder with FashionMNIST/raw, as torchvision has it")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backend", default="loky", help="joblib's: loky, or the name of a registered cluster (ray, dask)")
    return parser.parse_args(argv)
