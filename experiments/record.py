"""What every experiment writes of a run: one JSON file, there only once the run is complete."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptlr.fastai import AdaptLR


def finite(value: Any) -> float | None:
    """JSON knows no NaN: a loss that is none is null."""
    return float(value) if math.isfinite(value) else None


def told(adapt: AdaptLR) -> dict[str, Any]:
    """What adaptlr found and did, in all fits that it watched; the scales are those of the newest."""
    return {
        "decisions": [
            {"step": d.step, "action": str(d.action), "restored_step": d.restored_step, "message": d.message, "advice": d.advice}
            for trace in adapt.runs
            for d in trace.decisions
        ],
        "findings": [{"step": f.step, "kind": str(f.kind), "message": f.message} for trace in adapt.runs for f in trace.findings],
        "scales": list(adapt.scales),
    }


def versions() -> dict[str, str]:
    """Of the packages that a result depends on, and the commit if this is a checkout. A checkout may be run without an install."""
    out = {name: _version(name) for name in ("torch", "torchvision", "fastai", "adaptlr")}
    out["python"] = sys.version.split()[0]
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return {**out, "commit": done.stdout.strip() or "unknown"}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def write(path: Path, row: dict[str, Any]) -> None:
    """Write the row in one go: a file that is there is complete."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(row, indent=1, allow_nan=False) + "\n")
    part.rename(path)
