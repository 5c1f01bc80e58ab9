"""The fits as a table, and what they come to, mean of seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.audio_tagging.runs import METHODS

Row = Mapping[str, Any]


def read(out: Path) -> list[dict[str, Any]]:
    """The rows of all finished fits in a folder, by method and seed."""
    rows = [json.loads(path.read_text()) for path in sorted(out.glob("*/run.json"))]
    return sorted(rows, key=lambda r: (METHODS.index(r["method"]), r["seed"]))


def table(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """A line a fit: F2 at the end, on each test set."""
    return [
        {
            "method": r["method"],
            "seed": r["seed"],
            "epochs": r["epochs"],
            "size_px": r["size"],
            "n_train": r["n_train"],
            **{f"f2_{name.replace(' ', '_')}": round(value, 4) for name, value in r["f2"].items()},
            "decisions": "; ".join(f"step {d['step']}: {d['action']}" for d in r["decisions"]),
            "seconds": r["seconds"],
            **{k if k == "commit" else f"{k}_version": v for k, v in r["versions"].items()},
        }
        for r in rows
    ]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Mean F2 by method and test set; good over slice; slice with AdaptLR over good, in the mean and seed by seed."""
    out: dict[str, Any] = {}
    for name in rows[0]["f2"]:
        by = {m: {r["seed"]: r["f2"][name] for r in rows if r["method"] == m} for m in METHODS}
        mean = {m: statistics.fmean(v.values()) for m, v in by.items() if v}
        both = sorted(by["good"].keys() & by["slice+adaptlr"].keys())
        out[name] = {
            "mean_f2": {m: round(x, 4) for m, x in mean.items()},
            "good_over_slice": _ratio(mean.get("good"), mean.get("slice")),
            "adaptlr_over_good": _ratio(mean.get("slice+adaptlr"), mean.get("good")),
            "adaptlr_over_good_by_seed": {str(s): _ratio(by["slice+adaptlr"][s], by["good"][s]) for s in both},
        }
    return {"seeds": sorted({r["seed"] for r in rows}), "test_sets": out}


def _ratio(a: float | None, b: float | None) -> float | None:
    return round(a / b, 4) if a is not None and b else None
