"""Pretrained nets with a new head: what is kept, what is new, and who sees that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptlr.measure.provenance import of_groups
from adaptlr.records import Provenance
from experiments.recovery import LRS, Run
from experiments.transfer import runs as transfer
from experiments.transfer.runs import BODIES, GROUPINGS, SMALL, all_runs, body_of, error, groups_of, pretrain, train, with_new_head

pytestmark = pytest.mark.usefixtures("blobs")


def test_the_body_is_kept_and_the_head_is_new(tmp_path: Path) -> None:
    pretrain("mlp", data="", out=tmp_path, steps=30)
    pretrain("mlp", data="", out=tmp_path, steps=10**9)  # once
    saved = torch.load(tmp_path / "mlp.pt")
    net, head = with_new_head("mlp", data="", out=tmp_path)
    new = {name for name, p in net.named_parameters() if not torch.equal(p, saved[name])}
    assert {id(dict(net.named_parameters())[name]) for name in new} == {id(p) for p in head.parameters()}
    one, two = ([g["params"] for g in groups_of(net, head, f"mlp, {grouping}")] for grouping in GROUPINGS)
    assert [len(g) for g in one] == [len(list(net.parameters()))]
    assert {id(p) for p in two[1]} == {id(p) for p in head.parameters()}
    assert len(two[0]) + len(two[1]) == len(one[0])


def test_a_run_from_digits_to_clothes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transfer._STEPS, "mlp", 70)
    pretrain("mlp", data="", out=tmp_path / "pretrained", steps=300)
    net, head = with_new_head("mlp", data="", out=tmp_path / "pretrained")
    groups = [g["params"] for g in groups_of(net, head, "two groups")]
    assert of_groups(groups) == (Provenance.TRAINED, Provenance.RANDOM)

    def run(lr: float, method: str) -> dict[str, Any]:
        one = Run(task="mlp, two groups", optimizer="adamw", schedule="one-cycle", lr=lr, seed=0, method=method)
        train(one, out=tmp_path, data="")
        return json.loads((tmp_path / one.name / "run.json").read_text())

    good, watched = run(1e-2, "plain"), run(1e-2, "adaptlr")
    assert watched["decisions"] == []
    assert watched["loss"] == good["loss"] < 0.1 < good["begin"]
    cold, rescued = run(1e-6, "plain"), run(1e-6, "adaptlr")
    assert cold["loss"] > 0.5
    assert rescued["loss"] < 0.15


def test_error_is_the_share_of_wrong_answers() -> None:
    net = torch.nn.Identity()
    x = torch.eye(10).repeat(100, 1)
    y = torch.arange(10).repeat(100)
    y[:50] = (y[:50] + 1) % 10
    assert error(net, x, y) == 0.05


def test_runs_have_names_of_their_own() -> None:
    runs = all_runs((0, 1), BODIES)
    assert len({r.name for r in runs}) == len(runs) == len(BODIES) * 2 * 2 * len(LRS) * 2 * 2
    assert {body_of(r.task) for r in runs} == set(BODIES) == {*SMALL, "resnet18"}
