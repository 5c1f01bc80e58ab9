"""What made a result: the code (as a fingerprint and a commit), the packages, the machine, the settings."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import inspect
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import adaptlr
from adaptlr.judge.control import Settings
from adaptlr.judge.thresholds import Thresholds
from adaptlr.observer import Sampling
from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.methods.adapt import AdaptLR
from experiments.gauntlet.optimizers import SETTINGS

_HERE = Path(__file__).parent
_NEEDED = ("torch", "torchvision", "fastai", "numpy", "scikit-learn")  # by a run of any method
_PACKAGES = (*_NEEDED, "joblib", *dict.fromkeys(p for m in METHODS.values() for p in m.packages))
#: What every run depends on. A row made by other code is not reused.
_TRAINING = ("faults.py", "job.py", "nets", "optimizers.py", "run.py", "tasks", "../nets.py", "../fashion.py")


@lru_cache
def fingerprint(method: str) -> str:
    """Of the code and the packages that a row of this method depends on: adaptlr's own code counts for adaptlr alone."""
    files = {f for name in _TRAINING for f in _sources(_HERE / name)}
    files |= {Path(inspect.getfile(c)) for c in METHODS[method].__mro__ if c.__module__.startswith(__package__ or "")}
    if issubclass(METHODS[method], AdaptLR):
        files |= set(_sources(Path(adaptlr.__file__).parent))
    packages = _NEEDED + METHODS[method].packages
    digest = hashlib.sha256(" ".join(f"{p} {_version(p)}" for p in packages).encode())
    for file in sorted(f.resolve() for f in files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _sources(path: Path) -> Iterable[Path]:
    return path.rglob("*.py") if path.is_dir() else [path]


def record(methods: Iterable[str], **more: Any) -> dict[str, Any]:
    """All of it, to be written beside the results."""
    return {
        "command": shlex.join(["python", "-m", "experiments.gauntlet", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in _PACKAGES},
        "machine": {
            "platform": f"{platform.system()} {platform.machine()}",
            "processor": platform.processor(),
            "cpus": os.cpu_count(),
        },
        "settings": {
            "methods": {m: METHODS[m].settings for m in methods},
            "optimizers": SETTINGS,
            "adaptlr": {
                "thresholds": dataclasses.asdict(Thresholds()),
                "settings": dataclasses.asdict(Settings()),
                "sampling": dataclasses.asdict(Sampling()),
            },
        },
        "fingerprints": {m: fingerprint(m) for m in methods},
        **more,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*args: str) -> str | None:
    """What git says, or None outside a checkout."""
    try:
        done = subprocess.run(["git", *args], cwd=_HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
