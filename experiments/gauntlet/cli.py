"""The wrong-learning-rate gauntlet: the same cells, seeds and batches for adaptlr and every peer.

    python -m experiments.gauntlet --tier smoke
    python -m experiments.gauntlet --tier standard --data data --out runs/gauntlet --jobs 2

The folder gets rows.jsonl (each run, at once), rows.parquet (each run of this call) and rows.csv (the same, short), summary.json,
table.md, recovered.png and heat.png. Started again, it goes on: runs made by the same code are kept, those of code that has changed
since are made again. --reuse takes runs of plain and of peers from published results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.gauntlet import cost, tables
from experiments.gauntlet.draw import draw
from experiments.gauntlet.engine import left, run_all
from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.pictures import curves, heat_map
from experiments.gauntlet.provenance import fingerprint, record
from experiments.gauntlet.published import Published, short
from experiments.gauntlet.recovered import Oracle, Scored, oracles, score
from experiments.gauntlet.score import summarise
from experiments.gauntlet.store import Row, Store
from experiments.gauntlet.tiers import TIERS, Tier, first_runs, other_runs
from experiments.gauntlet.timing import wall_over_plain, walls
from experiments.tables import write_csv

LEAST_ROOM = 0.05  # of a column's best fixed learning rate over chance
FLOOR = 0.95  # adaptlr's worst cell in the smoke tier should reach it


def main(argv: list[str] | None = None) -> int:
    """Run a tier and write its results. 1 if the smoke tier finds adaptlr's worst cell below the floor, 0 otherwise."""
    args = _arguments(argv)
    tier = draw(args.draw) if args.draw is not None else TIERS[args.tier or "smoke"]
    columns, methods, seeds = _chosen(args, tier)
    seconds = cost.estimate_s(tier, columns, seeds, methods)
    n = sum(cost.n_runs(tier, columns, seeds, methods).values())
    print(f"{n} runs, {seconds / 60:.0f} core-minutes: about {seconds / 60 / args.jobs:.0f} minutes on {args.jobs} cores")
    if args.estimate:
        return 0
    store = Store(args.out or Path("runs") / f"gauntlet-{tier.name}")
    how = {"folder": args.data, "jobs": args.jobs, "backend": args.backend}
    published = [Published(folder) for folder in args.reuse]
    first = first_runs(columns, seeds)
    for source in published:
        source.give(first, store)
    rows = run_all(first, store, **how, what="plain grid")
    known = oracles(rows)
    missing = sorted(set(columns) - set(known))
    if missing:
        raise SystemExit(f"no plain run was finished in {', '.join(missing)}: see 'error' in {store.folder / 'rows.jsonl'}")
    columns = _worth_it(columns, known)
    rows = [row for row in rows if row["column"] in columns]
    best = {column: known[column].lr for column in columns}
    others = other_runs(tier, columns, seeds, methods, known)
    for source in published:
        source.give(others, store)
    print(f"{cost.total_s(left(others, store), cost.measured(rows)) / 60 / args.jobs:.0f} minutes to go, at the plain runs' pace")
    rows += run_all(others, store, **how, what="methods")
    timings = _timings(tier, columns, methods, best, store, args.data)
    cells = score(rows)
    summary = {
        **record(dict.fromkeys(("plain", *methods)), tier=tier.name, seeds=seeds, columns=columns, best_lrs=best),
        "methods": summarise(cells, walls(rows, timings)),
        "halves": {h: summarise([c for c in cells if c.half == h], walls(rows, timings)) for h in ("tuned", "held-out")},
        "timings": timings,
        "published": dict(Counter(f"{row['method']} of commit {row['published']}" for row in rows if row.get("published"))),
    }
    _write(store, rows, cells, summary)
    print(tables.method_table(summary["methods"]))
    return _verdict(tier, summary, args.floor)


def _chosen(args: argparse.Namespace, tier: Tier) -> tuple[list[str], list[str], list[int]]:
    columns = args.columns.split(",") if args.columns else list(tier.columns)
    methods = args.methods.split(",") if args.methods else list(tier.methods)
    unknown = [m for m in methods if m not in METHODS]
    if unknown:
        raise SystemExit(f"unknown method {', '.join(unknown)}: choose from {', '.join(METHODS)}")
    seeds = [int(s) for s in args.seeds.split(",")] if args.seeds else list(tier.seeds)
    return columns, methods, seeds


def _worth_it(columns: list[str], known: dict[str, Oracle]) -> list[str]:
    """Those in which some fixed learning rate teaches the net something: in others nothing can be ruined."""
    kept = [c for c in columns if known[c].room >= LEAST_ROOM]
    for column in sorted(set(columns) - set(kept)):
        print(f"{column} is left out: its best learning rate ends {known[column].room:.3f} above chance, less than {LEAST_ROOM}")
    if not kept:
        raise SystemExit(f"no column is left whose best learning rate ends {LEAST_ROOM} above chance: choose others with --columns")
    return kept


def _timings(
    tier: Tier, columns: list[str], methods: list[str], best: dict[str, float], store: Store, folder: str
) -> list[dict[str, Any]]:
    """adaptlr's cost, measured once the other runs are over; kept in the folder."""
    if "adaptlr" not in methods:
        return []
    file = store.folder / "timings.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    if kept.get("made_by") != fingerprint("adaptlr"):
        kept = {"made_by": fingerprint("adaptlr"), "columns": {}}
    wanted = [c for c in tier.timing_columns if c in columns]
    for column in wanted:
        if column not in kept["columns"]:
            kept["columns"][column] = wall_over_plain(column, best[column], folder)
            file.write_text(json.dumps(kept, indent=2) + "\n")
    return [kept["columns"][c] for c in wanted]


def _write(store: Store, rows: list[Row], cells: list[Scored], summary: dict[str, Any]) -> None:
    store.to_parquet(rows)
    write_csv(store.folder / "rows.csv", [short(row) for row in rows])
    (store.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (store.folder / "table.md").write_text(tables.markdown(summary, cells))
    curves(cells).savefig(store.folder / "recovered.png", dpi=110)
    heat_map(cells, list(summary["methods"])).savefig(store.folder / "heat.png", dpi=110)
    print(f"written: rows.parquet, rows.csv, summary.json, table.md, recovered.png, heat.png in {store.folder}")


def _verdict(tier: Tier, summary: dict[str, Any], floor: float = FLOOR) -> int:
    worst = summary["methods"].get("adaptlr", {}).get("worst")
    if tier.name != "smoke" or worst is None or worst >= floor:
        return 0
    print(f"adaptlr's worst cell recovered {worst:.3f}, below {floor}: see table.md", file=sys.stderr)
    return 1


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gauntlet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tier", choices=list(TIERS), help="default: smoke")
    which.add_argument("--draw", type=int, metavar="SEED", help="in place of a tier: each net once, all else drawn")
    parser.add_argument("--methods", help=f"with commas, of {', '.join(METHODS)}; default: the tier's")
    parser.add_argument("--columns", help="task/net/optimizer/schedule, several with commas; default: the tier's")
    parser.add_argument("--seeds", help="numbers with commas; default: the tier's")
    parser.add_argument("--out", type=Path, help="folder for rows and results; default: runs/gauntlet-TIER")
    parser.add_argument("--data", default="data", help="folder with FashionMNIST/raw, as torchvision has it")
    parser.add_argument(
        "--reuse",
        type=Path,
        nargs="*",
        default=[],
        help="folders of published results, e.g. docs/results/gauntlet: runs of plain and of peers that this code would make again "
        "are taken from there",
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backend", default="loky", help="joblib's: loky, or the name of a cluster (ray, dask)")
    parser.add_argument("--floor", type=float, default=FLOOR, help="smoke ends with status 1 if adaptlr's worst cell is below it")
    parser.add_argument("--estimate", action="store_true", help="say how long it will take, and stop")
    return parser.parse_args(argv)
