"""The fastai callback. It translates a Learner's events for a :class:`~adaptlr.controller.Controller`, and decides nothing."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import LRFinder
from fastprogress.fastprogress import ConsoleProgressBar, printing

from adaptlr.controller import AdaptLRWarning, Controller, Sampling
from adaptlr.fastai.optimizer import port_of
from adaptlr.fastai.standin import StandIn
from adaptlr.judge.policy import Settings
from adaptlr.judge.thresholds import Thresholds
from adaptlr.measure.stages import Stages
from adaptlr.records import Decision, Finding
from adaptlr.show.live import line
from adaptlr.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AdaptLR(Callback):
    """Watches a Learner train, says when a learning rate is wrong, and puts it right.

    Give it to one fit (``learn.fit_one_cycle(10, 1e-2, cbs=AdaptLR())``) or to a Learner for all its fits (``Learner(..., cbs=AdaptLR())``).
    Every fit is watched from its beginning by a new Controller; ``lr_find``, ``validate`` and ``get_preds`` are left alone. While no
    decision fires, training is bit-identical to training without it, and the Recorder always shows the schedule as the user set it.

    Args:
        act: False watches and warns, and touches nothing.
        stages: names or modules to observe, or a mapping of label to either; None finds them by rule.
        trace: a path for the JSON Lines trace of the first fit; later ones go to the same name with a number. None keeps them in memory.
        thresholds, settings, sampling: what counts as wrong, what may be done, how much is measured.
        snapshot_device: where snapshots are kept; None keeps them beside the model.

    What it says comes as :class:`~adaptlr.controller.AdaptLRWarning`, at the line that called fit. Records outlive the fit, but are left
    out of copies and pickles of the callback (``learn.export``): save them with ``cb.trace.save(path)``.

    Raises (at the first batch of a fit):
        ValueError: no stage was found, or the optimizer holds none of the model's parameters.
        TypeError: the optimizer is neither fastai's nor an ``OptimWrapper`` around one of torch's.
    """

    # Before every other callback: a roll-back is done before any of them sees the batch's end (TerminateOnNaN raises there), and
    # hooks are gone before any sees the fit's end (SaveModelCallback loads weights there).
    order = -100
    run_valid = False
    _stateattrs = ("runs", "_controller", "_guard", "_inner_fits", "_has_loss")

    def __init__(
        self,
        *,
        act: bool = True,
        stages: Stages | None = None,
        trace: str | os.PathLike[str] | None = None,
        thresholds: Thresholds | None = None,
        settings: Settings | None = None,
        sampling: Sampling | None = None,
        snapshot_device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self._trace_path = None if trace is None else Path(trace)
        self._snapshot_device = None if snapshot_device is None else torch.device(snapshot_device)
        self._options: dict[str, Any] = {
            "act": act,
            "stages": stages,
            "thresholds": thresholds,
            "settings": settings,
            "sampling": sampling,
        }
        self._init_state()

    def _init_state(self) -> None:
        """fastai calls it after unpickling too: a copy starts with no records and watches nothing yet."""
        self.runs: list[Trace] = []
        self._controller: Controller | None = None
        self._guard: StandIn | None = None
        self._inner_fits = 0
        self._has_loss = False

    # ------------------------------------------------------------------ what a user reads

    @property
    def trace(self) -> Trace:
        """All records of the newest fit. ``runs`` holds those of every fit, oldest first."""
        if not self.runs:
            raise RuntimeError("nothing has been recorded yet: fit with this callback first")
        return self.runs[-1]

    @property
    def findings(self) -> list[Finding]:
        """What was found wrong in the newest fit, each event once."""
        return self.runs[-1].findings if self.runs else []

    @property
    def decisions(self) -> list[Decision]:
        """What was done in the newest fit."""
        return self.runs[-1].decisions if self.runs else []

    @property
    def scales(self) -> tuple[float, ...]:
        """Each parameter group's multiplier on its scheduled learning rate, now or at the newest fit's end; 1 is untouched."""
        return self._controller.scales if self._controller is not None else ()

    def plot(self, **kwargs: Any) -> Figure:
        """The newest fit in one picture; arguments as in :func:`adaptlr.show.plot.plot`."""
        from adaptlr.show.plot import plot  # noqa: PLC0415  (matplotlib loads only when asked for)

        return plot(self.trace, **kwargs)

    # ------------------------------------------------------------------ events

    def before_fit(self) -> None:
        if self._guard is not None:  # learn.validate() or learn.get_preds(), called within a fit
            self._inner_fits += 1
            return
        # fastai calls after_fit neither after an error nor after Ctrl-C. Every epoch, its data loading and its callbacks run within
        # _with_events, so that is where to learn that the fit is over.
        self._guard = StandIn(self.learn, "_with_events", self._close_after_error)

    def before_train(self) -> None:
        # Not in before_fit: learn.validate() and learn.get_preds() call that too, and train nothing.
        if self._controller is None or self._controller.closed: ...

    def after_loss(self) -> None:
        self._has_loss = len(self.learn.yb) > 0

    def after_batch(self) -> None: ...
