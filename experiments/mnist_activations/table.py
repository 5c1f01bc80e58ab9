"""The runs as a table, beside what the seed's notebook shows."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Validation loss by epoch, and the last error, of the seed's six runs.
SEED: dict[tuple[str, float], tuple[tuple[float, float, float], float]] = {
    ("pretrained", 0.01): ((0.184, 0.0994, 0.103), 0.0330),
    ("untrained", 0.01): ((0.207, 0.175, 0.115), 0.0345),
    ("pretrained", 0.1): ((1.46, 3.40, 1.57), 0.196),
    ("untrained", 0.1): ((562, 0.654, 42.4), 0.117),
    ("pretrained", 1.0): ((1.1e6, 11835, 401), 0.808),
    ("untrained", 1.0): ((96.2, 121, 3496), 0.899),
}


def read(out: Path) -> list[dict[str, Any]]:
    """The rows of all finished runs in a folder, in the seed's order."""
    rows = [json.loads(path.read_text()) for path in sorted(out.glob("*/run.json"))]
    return sorted(rows, key=lambda r: (-r["n_train"], r["seed"], r["lr"], r["start"], -r["wd"], r["method"] == "adaptlr"))


def table(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line a run."""
    out = []
    for r in rows:
        seed = SEED.get((r["start"], r["lr"])) if r["wd"] == 0.01 and r["method"] == "watch" else None
        out.append(
            {
                "start": r["start"],
                "lr": r["lr"],
                "wd": r["wd"],
                "method": "with AdaptLR" if r["method"] == "adaptlr" else "plain",
                "n_train": r["n_train"],
                "seed": r["seed"],
                "valid_loss": " ".join("nan" if e["valid_loss"] is None else f"{e['valid_loss']:.4g}" for e in r["log"]),
                "error": round(r["error"], 4),
                "seeds_valid_loss": " ".join(f"{x:g}" for x in seed[0]) if seed else "",
                "seeds_error": seed[1] if seed else "",
                "decisions": "; ".join(f"step {d['step']}: {d['action']}" for d in r["decisions"]),
                "seconds": r["seconds"],
                **{f"{k}_version" if k != "commit" else k: v for k, v in r["versions"].items()},
            }
        )
    return out


def means(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line for all seeds of a run: mean, lowest and highest error."""
    by: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for r in rows:
        by[r["n_train"], r["start"], r["lr"], r["wd"], r["method"]].append(r["error"])
    keys = ("n_train", "start", "lr", "wd", "method")
    return [
        {
            **dict(zip(keys, key, strict=True)),
            "seeds": len(errors),
            "mean_error": round(statistics.fmean(errors), 4),
            "lowest": round(min(errors), 4),
            "highest": round(max(errors), 4),
        }
        for key, errors in by.items()
    ]
