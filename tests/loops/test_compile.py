"""torch.compile of the whole model: the hooks break no graph, and what they count is what eager code counts."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import torch
import torch._dynamo as dynamo
from torch import Tensor, nn
from torch._dynamo.utils import counters

from adaptlr import Controller, Sampling, Trace
from tests.nets import batches, convnet, same

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler's own

STEPS = 8
SAMPLING = Sampling(activations_first=3, activations_every=5)  # so that steps of both kinds come


class Block(nn.Module):
    """Hooks deep within the compiled graph, on modules that return more than a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 16)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        y = self.act(self.mix(x))
        return x + y, {"y": y}


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 16)
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.flatten(1))
        for block in self.blocks:
            x, _ = block(x)
        return self.head(x)


MODELS = {"convnet": convnet, "blocks": Blocks}


def run(
    kind: str, *, backend: str | None, sampling: Sampling | None = SAMPLING, passes: int = 1, warm: bool = False
) -> tuple[Any, Trace | None, Counter[str]]:
    """Loss and weights, the trace, and what the compiler counted. ``sampling=None`` trains without a controller."""
    dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    model: Any = MODELS[kind]()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    controller = None if sampling is None else Controller(model, optimizer, sampling=sampling)
    step_model = model if backend is None else torch.compile(model, backend=backend)
    if warm:
        step_model(next(batches(1))[0]).sum().backward()
        optimizer.zero_grad()
    if controller is not None:
        controller.__enter__()
    losses, loss = [], torch.zeros(())
    for x, y in batches(STEPS):
        for _ in range(passes):
            loss = nn.functional.cross_entropy(step_model(x), y)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if controller is not None:
            controller.step(loss)
        losses.append(loss.item())
    if controller is not None:
        controller.close()
        assert controller.decisions == []
    found = Counter({"breaks": sum(counters["graph_break"].values()), "graphs": counters["stats"]["unique_graphs"]})
    dynamo.reset()
    return (losses, model.state_dict()), controller.trace if controller is not None else None, found


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_hooks_break_no_graph_and_change_no_bit(kind: str, backend: str) -> None:
    plain, _, without = run(kind, backend=backend, sampling=None)
    watched, trace, found = run(kind, backend=backend)
    assert without == {"breaks": 0, "graphs": 1}
    assert found == {"breaks": 0, "graphs": 2}  # one for steps whose activations are sampled, one for the others
    assert same(watched, plain)
    assert trace is not None
    assert [bool(r.stages) for r in trace.readings] == [True, True, True, False, False, True, False, False]


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_what_is_counted_is_what_eager_code_counts(kind: str, passes: int) -> None:
    _, eager, _ = run(kind, backend=None, passes=passes)
    _, compiled, found = run(kind, backend="eager", passes=passes)
    assert eager is not None
    assert compiled is not None
    assert compiled.readings == eager.readings
    assert found["breaks"] == 0


def test_without_activations_the_graph_is_the_users_own() -> None:
    plain, _, without = run("blocks", backend="aot_eager", sampling=None)
    watched, trace, found = run("blocks", backend="aot_eager", sampling=Sampling(activations=0))
    assert found == without
    assert same(watched, plain)
    assert trace is not None
    assert not any(r.stages for r in trace.readings)
    assert all(r.groups[0].update_ratio for r in trace.readings)


def test_a_model_that_ran_before_keeps_its_graph_and_its_weights_are_watched() -> None:
    """torch does not look again for hooks that came after compiling: enter the controller before the first pass."""
    _, trace, found = run("convnet", backend="eager", warm=True)
    assert found["breaks"] == 0
    assert trace is not None
    assert all(r.groups[0].update_ratio for r in trace.readings)


def test_importing_does_not_load_the_compiler() -> None:
    code = (
        "import sys, torch; before = 'torch._dynamo' in sys.modules; import adaptlr; print(before, 'torch._dynamo' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out[0] == out[1]
