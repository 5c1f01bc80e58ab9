"""The demo: six trainings of a ResNet-18 on the CPU, two of them ruined by their learning rate, and what adaptlr makes of those.

A sound flat run (a), and one at 100 times its learning rate without (b) and with adaptlr (c). A one-cycle run whose first layers
stay at their random weights, without (d) and with adaptlr (e), and a sound one (f). Nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch

from adaptlr.demo.outcome import NUMBERS, PAGE, picture_name, sentences, table, trace_name, write
from adaptlr.demo.runs import RUNS, Result, train
from adaptlr.demo.screen import screen
from adaptlr.demo.setup import Setup, digits

__all__ = ["Setup", "run_demo"]

MAX_THREADS = 2  # the images are small: more threads wait for each other more than they help


def run_demo(
    folder: str | os.PathLike[str],
    *,
    setup: Setup | None = None,
    overwrite: bool = False,
    tell: Callable[[str], object] = print,
) -> list[Result]:
    """Train the six runs, and write traces, pictures, ``results.json`` and ``report.html`` into ``folder``.

    Args:
        folder: is made if need be.
        setup: how much is trained, and the seed.
        overwrite: replace what an earlier demo wrote there. Other files in the folder are never touched.
        tell: called with the table and the closing sentences.

    Raises:
        FileExistsError: the folder holds something, and ``overwrite`` is not set.
        NotADirectoryError: ``folder`` is a file.
    """
    setup = setup or Setup()
    folder = _prepare(Path(folder), overwrite)
    data = digits(setup)
    results: list[Result] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, MAX_THREADS))
    try:
        with screen(steps=len(RUNS) * setup.steps) as shown:
            for spec in RUNS:
                shown.begin(f"run {spec.key}")
                shown.say(f"{spec.name}; adaptlr {spec.mode}")
                results.append(train(spec, setup, data, folder / trace_name(spec.key), shown.step))
                shown.say(f"  accuracy {results[-1].accuracy:.1%}")
            shown.say("Drawing the pictures")
            page = write(results, folder)
    finally:
        torch.set_num_threads(threads)
    tell("\n".join(["", table(results), "", *sentences(results), "", f"Open {page.resolve()}: every run in pictures."]))
    return results


def _prepare(folder: Path, overwrite: bool) -> Path:
    """An existing folder to write to, without any file of an earlier demo."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: choose another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        return folder
    if not overwrite:
        raise FileExistsError(
            f"{folder} is not empty: choose another folder with --out, or give --overwrite to replace an earlier demo's files in it"
        )
    ours = [NUMBERS, PAGE, *(name(spec.key) for spec in RUNS for name in (trace_name, picture_name))]
    for name in ours:
        (folder / name).unlink(missing_ok=True)
    return folder
