"""Runs side by side: what is finished is kept, what failed is run again."""

from __future__ import annotations

import math
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
