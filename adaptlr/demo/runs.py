"""The six runs of the demo, and how one is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastai.callback.core import (
    Callback,
    CancelValidException,  # pyright: ignore[reportAttributeAccessIssue]  (fastai makes it at run time)
)

from adaptlr.demo.setup import LAST_STAGE, Digits, Setup, learner
from adaptlr.fastai import AdaptLR
from adaptlr.trace import Trace

Rates = float | slice


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One run, as a user would write it.

    ``acts`` is whether adaptlr may step in. The two ruinous runs are only watched, so that one sees what happens without it, and so
    that there is a picture of it. The two sound runs are left to an adaptlr that may act: that it decides nothing there is
    part of the claim, and while it decides nothing they are bit-identical to runs without it.
    """

    key: str
    schedule: str  # the method of fastai's Learner: fit or fit_one_cycle
    lr: Rates
    lr_text: str  # as written in code
    acts: bool
    twin: str | None = None  # the same without adaptlr's help
    reference: str | None = None  # the sound run that it should come near to

    @property
    def name(self) -> str:
        return f"({self.key}) {self.schedule}, lr {self.lr_text}"

    @property
    def mode(self) -> str:
        return "acts" if self.acts else "only watches"


RUNS = (
    Spec(key="a", schedule="fit", lr=1e-2, lr_text="1e-2", acts=True),
    Spec(key="b", schedule="fit", lr=1.0, lr_text="1", acts=False),
    Spec(key="c", schedule="fit", lr=1.0, lr_text="1", acts=True, twin="b", reference="a"),
    Spec(key="d", schedule="fit_one_cycle", lr=slice(1e-6, 1e-2), lr_text="slice(1e-6, 1e-2)", acts=False),
    Spec(key="e", schedule="fit_one_cycle", lr=slice(1e-6, 1e-2), lr_text="slice(1e-6, 1e-2)", acts=True, twin="d", reference="f"),
    Spec(key="f", schedule="fit_one_cycle", lr=1e-2, lr_text="1e-2", acts=True),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one run came out."""

    spec: Spec
    accuracy: float  # on the validation half, after the last step
    trace: Trace

    @property
    def near_zero_last_stage(self) -> float:
        """Share of conv5_x's activations whose size is at most 1% of the stage's RMS: mean of the last five samples."""
        fracs = [stage.quiet_frac for r in self.trace.readings for stage in r.stages if stage.name == LAST_STAGE][-5:]
        return sum(fracs) / len(fracs)


def train(spec: Spec, setup: Setup, data: Digits, trace: Path, on_step: Callable[[], object]) -> Result:
    """Train one run from the shared start, and measure it. ``on_step`` is called after every training step."""
    learn: Any = learner(setup, data)  # fastai patches methods in: no type checker knows them
    watcher = AdaptLR(act=spec.acts, trace=trace)
    fit = getattr(learn, spec.schedule)
    with learn.no_bar(), learn.no_logging():
        fit(setup.epochs, spec.lr, cbs=[watcher, _TrainOnly(), _Tick(on_step)])
        accuracy = float(learn.validate()[1])
    return Result(spec=spec, accuracy=accuracy, trace=watcher.trace)


class _TrainOnly(Callback):
    """Validates no epoch: the demo asks once, at the end."""

    def before_validate(self) -> None:
        raise CancelValidException


class _Tick(Callback):
    """Tells the progress bar of every training step."""

    run_valid = False

    def __init__(self, on_step: Callable[[], object]) -> None:
        super().__init__()
        self._on_step = on_step

    def after_batch(self) -> None:
        self._on_step()
