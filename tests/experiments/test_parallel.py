"""Runs side by side: what is finished is kept, what failed is run again."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.parallel import run_all, unfinished
from experiments.record import finite, write


@dataclass(frozen=True)
class Job:
    name: str


def work(job: Job, *, out: Path, slot: int = 0, fail: str = "") -> None:
    if job.name == fail:
        raise ValueError(f"{job.name} failed")
    folder = out / job.name
    folder.mkdir(exist_ok=True)
    with (folder / "count").open("a") as file:
        file.write("x")
    write(folder / "run.json", {"slot": slot})


@pytest.mark.parametrize("jobs", [1, 2])
def test_it_goes_on_where_it_was(tmp_path: Path, jobs: int) -> None:
    runs = [Job("a"), Job("b"), Job("c")]
    with pytest.raises(ValueError, match="b failed"):
        run_all(runs, work, tmp_path, jobs=jobs, fail="b")
    assert Job("b") in unfinished(runs, tmp_path)
    run_all(runs, work, tmp_path, jobs=jobs)
    assert unfinished(runs, tmp_path) == []
    assert [(tmp_path / r.name / "count").read_text() for r in runs] == ["x", "x", "x"], "each ran once to its end"


def sleep(job: Job, *, out: Path, slot: int = 0) -> None:
    (out / job.name).write_text(str(os.getpid()))
    time.sleep(60)


def _sleeps(out: Path) -> None:
    run_all([Job("a"), Job("b")], sleep, out, jobs=2)


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux's /proc whether a process is alive")
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=_sleeps, args=(tmp_path,))
    parent.start()
    wait_for(lambda: all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in "ab"), "the children began")
    parent.kill()
    parent.join()
    wait_for(lambda: not any(_alive(int((tmp_path / name).read_text())) for name in "ab"), "the children ended")


def wait_for(true: Callable[[], bool], what: str, *, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def test_what_a_spawned_process_could_not_find_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "__module__", "__main__")
    with pytest.raises(ValueError, match="work is defined in __main__"):
        run_all([Job("a")], work, tmp_path, jobs=2)


def test_a_row_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(path, {"loss": math.nan})
    assert not path.exists()
    write(path, {"loss": finite(math.nan), "error": finite(0.5)})
    assert path.read_text() == '{\n "loss": null,\n "error": 0.5\n}\n'
    assert list(tmp_path.iterdir()) == [path]
