"""Several processes (gloo, on this machine's CPU) that train one model decide as one. Each test starts its ranks once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adaptlr import AdaptLRWarning, Controller
from tests.ranks.launch import launch
from tests.ranks.net import adam, model, told, train


def alone(lr: float, *, low: float | None = None) -> dict[str, Any]:
    """One process, on the whole batch."""
    net = model()
    optimizer = adam(net, lr, low=low)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptLRWarning)
        with Controller(net, optimizer) as ctl:
            train(net, optimizer, ctl)
    return told(ctl, net)


def bits(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    if isinstance(value, float):
        return repr(value)  # NaN equals NaN
    return [bits(v) for v in value] if isinstance(value, list | tuple) else value


def same_on_all(runs: list[dict[str, Any]], *but: str) -> None:
    keep = [{k: bits(v) for k, v in r.items() if k not in ("own losses", "said", *but)} for r in runs]
    assert all(k == keep[0] for k in keep[1:])


def as_one_process(run: dict[str, Any], one: dict[str, Any]) -> None:
    assert run["decisions"] == one["decisions"] != []
    assert run["provenance"] == one["provenance"]
    assert run["scales"] == pytest.approx(one["scales"], rel=1e-3)
    assert run["losses"] == pytest.approx(one["losses"], rel=1e-3, nan_ok=True)
    assert run["ratios"][0] == pytest.approx(one["ratios"][0], rel=1e-4)
    assert run["rho"][5] == pytest.approx(one["rho"][5], rel=1e-2)


class TestData:
    def test_the_ranks_of_ddp_decide_as_one(self, tmp_path: Path) -> None:
        names = (
            "healthy",
            "ruined",
            "starved",
            "skewed",
            "skewed_and_each_for_itself",
            "poisoned",
            "one_reports_nan",
            "traced",
            "skipped",
        )
        ran = launch(tmp_path, 2, *names, "at_odds")
        for run in ran["healthy"]:
            assert bits(run[True]) == bits(run[False])  # weights, moments, random state
            assert run["told"]["decisions"] == []
        same_on_all([r["told"] for r in ran["healthy"]])
        for name, lr, low in (("ruined", 1.0, None), ("starved", 3e-3, 1e-9)):
            same_on_all(ran[name])
            as_one_process(ran[name][0], alone(lr, low=low))
        # Batches that differ so that each rank by itself would have decided otherwise.
        apart = ran["skewed_and_each_for_itself"]
        assert apart[0]["decisions"] != apart[1]["decisions"]
        same_on_all(ran["skewed"])
        assert ran["skewed"][0]["decisions"]
        assert ran["skewed"][0]["own losses"] != ran["skewed"][1]["own losses"]
        same_on_all(ran["skipped"])
        assert [d[1:3] for d in ran["skipped"][0]["decisions"]] == [("roll back", ["non-finite"])]
        assert ran["skipped"][0]["scale"] == 1024.0
        for name in ("poisoned", "one_reports_nan"):
            same_on_all(ran[name])
            assert [d[:3] for d in ran[name][0]["decisions"]] == [(20, "roll back", ["non-finite"])]
        assert ran["poisoned"][0]["said"] == 1  # and the other rank says nothing
        assert ran["poisoned"][1]["said"] == 0
        assert ran["traced"] == [(5, tmp_path / "trace.jsonl"), (5, None)]
        for text in ran["at_odds"]:
            assert "no longer agrees" in text
            assert "rank 0: step 3, 0 on their way, scales (1.0, 1.0)" in text
            assert "rank 1: step 3, 0 on their way, scales (0.25, 1.0)" in text

    def test_four_ranks(self, tmp_path: Path) -> None:
        ran = launch(tmp_path, 4, "ruined", "skewed", "fsdp_with_replicas", "fsdp_same_coordinates")
        for name in ("ruined", "skewed", "fsdp_with_replicas"):
            same_on_all(ran[name])
        one = alone(1.0)
        for name in ("ruined", "fsdp_with_replicas"):
            as_one_process(ran[name][0], one)
        each_place_once(ran["fsdp_same_coordinates"])


class TestUneven:
    def test_ranks_whose_data_ends_early(self, tmp_path: Path) -> None:
        names = ("uneven", "uneven_and_ruined", "uneven_and_poisoned")
        ran = launch(tmp_path, 2, *names, "uneven_and_late", "uneven_and_accumulating", "join_before_the_controller")
        for first, last in (*(ran[name] for name in names), *zip(*ran["uneven_and_late"], strict=True)):
            assert bits(first["weights"]) == bits(last["weights"])
            for a, b in zip(first["states"], last["states"], strict=True):  # at each join's end
                assert repr(a) == repr(b)
            assert first["trace"] == last["trace"]  # what one sat out is on its record too
            assert len(first["losses"]) in (3 * 14, 3 * 14 - 1)  # of a step after a late rollback's cause there is no reading
        assert ran["uneven"][0]["decisions"] == []
        assert ran["uneven_and_ruined"][0]["decisions"][0][:2] == (1, "roll back")
        assert [d[:2] for d in ran["uneven_and_poisoned"][0]["decisions"]] == [(26, "roll back")]  # the first rank was not there
        assert [r["decisions"][0][:2] for r in ran["uneven_and_late"][0]] == [(26, "roll back"), (27, "roll back")]
        assert ran["uneven_and_accumulating"] == [(4, 4), (4, 4)]
        assert all("was begun before the Controller was entered" in text for text in ran["join_before_the_controller"])

    @pytest.mark.parametrize(("name", "limit_s"), [("one_dies", 3.0), ("one_is_stuck", 6.0)])
    def test_a_rank_that_does_not_come_is_not_waited_for_without_end(self, tmp_path: Path, name: str, limit_s: float) -> None:
        """The process group's timeout is 3 s."""
        text, seconds, readings = launch(tmp_path, 2, name, lost=1)[name][0]
        assert "rank 0 of 2: another rank did not bring its numbers of step 4" in text
        assert seconds < limit_s
        assert readings == 4


def each_place_once(ran: list[list[torch.Tensor]]) -> None:
    for layout in zip(*ran, strict=True):
        assert sorted(torch.cat(layout).tolist()) == [0, 1, 9, 34, 35, 52, 69, 70, 103, 104]


class TestShards:
    def test_ranks_with_a_part_of_the_weights_each_decide_as_one_process(self, tmp_path: Path) -> None:
        ran = launch(
            tmp_path,
            2,
            *("fsdp_healthy", "fsdp_ruined", "fsdp_starved", "fsdp_rolls_back_bit_by_bit", "fsdp_provenance"),
            *("fsdp_stops_and_goes_on", "fsdp_same_coordinates", "fsdp_with_one_weight_on_every_rank", "refused"),
        )
        for run in ran["fsdp_healthy"]:
            assert bits(run[True]) == bits(run[False])
            assert run["told"]["decisions"] == []
        for name, lr, low in (("fsdp_ruined", 1.0, None), ("fsdp_starved", 3e-3, 1e-9)):
            same_on_all(ran[name])
            as_one_process(ran[name][0], alone(lr, low=low))
        whole = sum(p.numel() * 4 for p in model().parameters())
        for run in ran["fsdp_rolls_back_bit_by_bit"]:
            assert run["back"]
            assert run["moved"]
        assert sum(run["bytes"] for run in ran["fsdp_rolls_back_bit_by_bit"]) == whole  # a rank keeps its own part
        for through, stopped in ran["fsdp_stops_and_goes_on"]:
            assert through["trace"][-len(stopped["trace"]) :] == stopped["trace"]
            assert bits(through["weights"]) == bits(stopped["weights"])
            first, *then = [d[0] for d in through["decisions"]]
            assert first == 1
            assert min(then, default=0) >= 10  # it was decided on with what came before the stop
        for weights, (whole_ratio, cut_ratio) in ran["fsdp_provenance"]:
            assert [w for w, _ in weights] == ["random", "trained", "unknown", "unknown"]
            assert all(cut == [w] * 3 for w, cut in weights)
            assert cut_ratio == pytest.approx(whole_ratio, rel=1e-5)
        each_place_once(ran["fsdp_same_coordinates"])
        same_on_all(ran["fsdp_with_one_weight_on_every_rank"], "weights")
        for tensor_parallel, flat in ran["refused"]:
            assert "parameter 0.weight is a DTensor, but not of fully_shard" in tensor_parallel
            assert "FullyShardedDataParallel" in flat


def test_one_process_makes_no_collective(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor does one that torch.distributed knows of, among others, while nothing says that they train the same model."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *args, **kwargs: pytest.fail("a collective"))
    alone(3e-3)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net = nn.parallel.DistributedDataParallel(model())
        optimizer = adam(net, 3e-3)
        with Controller(net, optimizer) as ctl:
            train(net, optimizer, ctl, steps=range(3))
        assert len(ctl.trace.readings) == 3
    finally:
        torch.distributed.destroy_process_group()
