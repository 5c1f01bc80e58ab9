"""A long run's trace stays within bounds, and what stays is spread evenly."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from adaptlr.records import Finding, Kind, Reading
from adaptlr.thin import thin
from adaptlr.trace import KEEP, Trace
from tests.judge.runs import stage

KEPT = 200


def reading(step: int) -> Reading:
    return Reading(step=step, loss=1.0, stages=(stage(),) if step % 5 == 0 else ())


def long_run(steps: int, keep: int | None = KEPT, path: Path | None = None) -> Trace:
    trace = Trace(path, keep=keep)
    for step in range(steps):
        trace.append(reading(step))
        if step % 100 == 50:
            trace.append(Finding(step=step, kind=Kind.TOO_COLD, groups=(), stages=(), message=f"step {step}"))
    return trace


@pytest.mark.parametrize("steps", [201, 999, 10_000, 12_345])
def test_first_and_newest_readings_stay_and_an_even_choice_between(steps: int) -> None:
    trace = long_run(steps)
    kept = [r.step for r in trace.readings]
    assert len(kept) <= KEPT
    assert kept == sorted(set(kept))
    assert kept[: KEPT // 8] == list(range(KEPT // 8))
    assert kept[-KEPT // 2 :] == list(range(steps - KEPT // 2, steps))
    gaps = [b - a for a, b in itertools.pairwise(kept)]
    assert max(gaps) <= max(4, 20 * steps / KEPT)


def test_those_with_activations_are_preferred() -> None:
    kept = long_run(10_000).readings
    between = [r for r, later in itertools.pairwise(kept) if later.step - r.step > 5]  # one of five steps is sampled
    assert len(between) > KEPT // 8
    assert all(r.stages for r in between)


def test_findings_stay_in_their_order() -> None:
    trace = long_run(5000)
    assert [f.step for f in trace.findings] == list(range(50, 5000, 100))
    assert [r for r in trace if isinstance(r, Reading)] == trace.readings
    assert [r.step for r in trace] == sorted(r.step for r in trace)
    assert len(trace) == len(trace.readings) + len(trace.findings)


def test_a_file_has_every_step(tmp_path: Path) -> None:
    long_run(1000, path=tmp_path / "run.jsonl").close()
    assert [r.step for r in Trace.load(tmp_path / "run.jsonl").readings] == list(range(1000))


def test_none_keeps_all() -> None:
    assert len(long_run(3000, keep=None).readings) == 3000


def test_nothing_is_dropped_from_runs_of_usual_length() -> None:
    assert len(long_run(KEEP, keep=KEEP).readings) == KEEP


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="keep must be at least 64 readings, or None for all of them; got 10"):
        Trace(keep=10)


def test_steps_that_do_not_advance_are_thinned_too() -> None:
    readings = [Reading(step=0, loss=float(i)) for i in range(101)]
    thin(readings, 100)
    assert len(readings) < 101
