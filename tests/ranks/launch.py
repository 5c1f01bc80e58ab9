"""Start some ranks, wait for them with a limit, and read what they brought."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
LIMIT_S = 120


def launch(
    folder: Path, size: int, *names: str, lost: int | None = None, module: str = "tests.ranks.worker"
) -> dict[str, list[Any]]:
    """What each rank returned, by scenario; None of the rank that is ``lost`` on purpose."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(folder), str(rank), str(size), *names],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    texts = []
    try:
        for process in started:
            texts.append(process.communicate(timeout=LIMIT_S)[0])
    finally:
        for process in started:
            process.kill()
            process.wait()
    for rank, (process, text) in enumerate(zip(started, texts, strict=True)):
        assert rank == lost or process.returncode == 0, f"rank {rank}:\n{text[-4000:]}"
    brought = [None if r == lost else torch.load(folder / f"{r}.pt", weights_only=False) for r in range(size)]
    return {name: [None if b is None else b[name] for b in brought] for name in names}
