"""What must hold on a GPU: a step costs at most a hundredth more, and nothing on the training path waits for the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from experiments.overhead.methods import Acting, Plain
from experiments.overhead.models import Workload

MOST = 1.01


def slow(ratios: Mapping[str, Mapping[str, float]], most: float = MOST) -> list[str]:
    """What costs more than it may: adaptlr on the ResNets."""
    return [
        f"{model}: {method} takes {by_method[method]:.3f} of a plain step, more than {most}"
        for model, by_method in ratios.items()
        if model.startswith("resnet18")
        for method in ("adaptlr", "adaptlr, act=False")
        if by_method[method] > most
    ]


def waits(workload: Workload, *, method: type[Plain] = Acting, steps: int = 40, first: int = 4) -> str | None:
    """The error of the first thing that waits for the GPU in a step, by torch's own watch; None if nothing does.

    The first steps are left out: there the weights' provenance is read, once a run, and memory for the transfers is set aside.
    Snapshots and sampled activations fall into the steps that are watched. Reading a step's numbers one step later waits at most
    for the step before, while a whole step lies in the GPU's queue: it cannot run dry for that.
    """
    trainer = method(workload, "cuda")
    try:
        for step in range(steps):
            if step == first:
                torch.cuda.set_sync_debug_mode("error")
            trainer.step()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        return str(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        trainer.close()
    return None
