"""The measurement of what watching costs: that it runs and adds up, not what it says of this machine."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from adaptlr.measure.stats import COUNTERS
from experiments.overhead import check
from experiments.overhead.__main__ import main
from experiments.overhead.measure import own_times, summarise
from experiments.overhead.methods import METHODS, Acting, Exact, Plain
from experiments.overhead.models import FULL, QUICK

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_quick_writes_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["overhead", "--quick", "--out", str(tmp_path)])
    main()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {*(w.name for w in QUICK), "details", "sweep", "machine", "versions"}
    for workload in QUICK:
        assert set(summary[workload.name]) == {m.name for m in METHODS}
        assert summary[workload.name]["plain"] == 1
    with (tmp_path / "steps.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(QUICK) * len(METHODS)
    assert (tmp_path / "overhead.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "sweep.csv").exists()


def test_every_method_trains_the_same_net() -> None:
    """Watching is all that they do: after three steps, weights are the plain run's to the bit."""
    trainers = [m(QUICK[1], "cpu") for m in METHODS]
    for trainer in trainers:
        for _ in range(3):
            trainer.step()
        trainer.close()
    plain = trainers[0].model.state_dict()
    for trainer in trainers[1:]:
        assert all(torch.equal(v, plain[k]) for k, v in trainer.model.state_dict().items()), trainer.name
        assert not any(m._forward_hooks for m in trainer.model.modules()), trainer.name


def test_the_exact_hook_sees_what_adaptlr_samples() -> None:
    exact, sampled = Exact(QUICK[1], "cpu"), Acting(QUICK[1], "cpu")
    for trainer in (exact, sampled):
        trainer.step()
    _, (w2, update2, *_), stages = exact.kept[0]
    (reading,) = sampled.controller.trace.readings
    assert (update2 / w2) ** 0.5 == pytest.approx(reading.groups[0].update_ratio, rel=0.1)
    for stage in reading.stages:  # tiny tensors: both read them whole
        assert [stages[stage.name][k] for k in ("n", "negative")] == [stage.n, round(stage.negative_frac * stage.n)]
    assert set(stages[reading.stages[0].name]) == set(COUNTERS)
    sampled.close()
    exact.close()


def test_own_time_is_part_of_the_step() -> None:
    own = own_times(QUICK[1], "cpu", steps=3, skip=1)
    assert len(own) == 3
    assert all(0 < s < 1 for s in own)


def test_summary_of_known_times() -> None:
    got = summarise({"plain": [1.0, 2.0, 3.0], "other": [2.0, 4.0, 9.0]})["other"]
    assert (got["ratio"], got["mean_ratio"], got["round_ratio_quartiles"]) == (2.0, 2.5, [2.0, 2.5])


def test_the_check_names_what_is_slow() -> None:
    ratios = {"resnet18-x": {"adaptlr": 1.02, "adaptlr, act=False": 1.0}, "vit": {"adaptlr": 9.0, "adaptlr, act=False": 9.0}}
    assert check.slow(ratios) == ["resnet18-x: adaptlr takes 1.020 of a plain step, more than 1.01"]


@needs_cuda
def test_nothing_waits_for_the_gpu() -> None:
    assert check.waits(QUICK[1]) is None


class Waiting(Plain):
    name: ClassVar[str] = "waiting"

    def after_update(self, loss: torch.Tensor) -> None:
        loss.item()


@needs_cuda
def test_what_waits_for_the_gpu_is_caught() -> None:
    assert check.waits(QUICK[1], method=Waiting) is not None


@needs_cuda
@pytest.mark.slow
def test_a_step_on_a_gpu_costs_at_most_a_hundredth_more() -> None:
    from experiments.overhead.measure import step_times

    numbers = summarise(step_times(FULL[0], "cuda", seconds=20.0, least=5))
    assert check.slow({FULL[0].name: {name: n["ratio"] for name, n in numbers.items()}}) == []
