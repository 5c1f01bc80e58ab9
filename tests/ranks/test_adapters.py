"""What each framework makes of several processes (DDP on gloo) is found by its adapter: they decide as one process does."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch

from adaptlr import AdaptLRWarning, Controller
from tests.ranks.launch import launch
from tests.ranks.net import STEPS, adam, model, train


@pytest.mark.parametrize("framework", ["accelerate", "fastai", "lightning", "transformers"])
def test_two_ranks_decide_as_one_process(framework: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"needs {framework}")
    ran = launch(tmp_path, 2, f"with_{framework}", module="tests.ranks.adapters")[f"with_{framework}"]
    net = model()
    optimizer = adam(net, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptLRWarning)
        # a framework knows how long its run is; Accelerate leaves the loop to the user, who here does not say
        with Controller(net, optimizer, total_steps=None if framework == "accelerate" else STEPS) as ctl:
            train(net, optimizer, ctl)
    for run in ran:
        assert run["decisions"] == [(d.step, str(d.action)) for d in ctl.decisions] != []
        assert run["losses"] == pytest.approx([r.loss for r in ctl.trace.readings], rel=1e-3)
        assert run["scales"] == ran[0]["scales"] == pytest.approx(ctl.scales, rel=1e-3)
        assert all(torch.equal(a, b) for a, b in zip(run["weights"], ran[0]["weights"], strict=True))
