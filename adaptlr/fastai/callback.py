"""The fastai callback. It translates a Learner's events for a :class:`~adaptlr.controller.Controller`, and decides nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import NonNativeMixedPrecision
from fastai.callback.schedule import LRFinder, ParamScheduler
from fastai.callback.training import GradientAccumulation
from fastai.learner import SkipToEpoch
from fastprogress.fastprogress import ConsoleProgressBar, printing

from adaptlr.act.snapshot import Stateful
from adaptlr.callers import warn
from adaptlr.controller import AdaptLRWarning
from adaptlr.fastai.optimizer import port_of
from adaptlr.fits import Fits
from adaptlr.judge.control import Settings
from adaptlr.judge.thresholds import Thresholds
from adaptlr.measure.stages import Stages
from adaptlr.observer import Sampling
from adaptlr.records import Decision, Finding
from adaptlr.standin import StandIn


class AdaptLR(Fits, Callback):
    """Watches a Learner train, says when a learning rate is wrong, and puts it right.

    Give it to one fit, ``learn.fit_one_cycle(10, 1e-2, cbs=AdaptLR())``, or to a Learner for all: ``Learner(..., cbs=AdaptLR())``.
    Every fit is watched from its beginning by a new Controller; ``lr_find``, ``validate`` and ``get_preds`` are left alone. While
    no decision fires, training is bit-identical to training without it; the Recorder always shows the schedule as the user set it.

    Args:
        act: False watches and warns, and touches nothing.
        stages: names or modules to observe, or a mapping of label to either; None finds them by rule.
        trace: a path for the JSON Lines trace, numbered where there is a file already (later fits); None keeps traces in memory.
        thresholds, settings, sampling: what counts as wrong, what may be done, how much is measured.
        snapshot_device: where snapshots are kept; None keeps them beside the model.
        also: what else goes back with a rollback, by ``state_dict`` and ``load_state_dict``: a moving average of the weights, say.
        announce: called with every new finding and decision; None warns with :class:`~adaptlr.controller.AdaptLRWarning`.

    What it says comes as :class:`~adaptlr.controller.AdaptLRWarning`, at the line that called fit. Records outlive the fit, but not
    a copy or a pickle of the callback (``learn.export``): keep them with ``cb.trace.save(path)``.

    Raises (when a fit's first epoch begins):
        ValueError: no stage was found, or the optimizer holds none of the model's parameters.
        TypeError: the optimizer is neither fastai's nor an ``OptimWrapper`` around one of torch's.
    """

    learn: Any  # the Learner, or None outside of its fits
    # Before every other callback: a roll-back is done before any of them sees the batch's end (TerminateOnNaN raises there), and
    # hooks are gone before any sees the fit's end (SaveModelCallback loads weights there).
    order = -100
    run_valid = False
    _stateattrs = ("runs", "_controller", "_scales", "_suggested", "_taught", "_guard", "_in_epoch", "_has_loss")

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
        also: Stateful | Sequence[Stateful] | None = None,
        announce: Callable[[Finding | Decision], None] | None = None,
    ) -> None:
        super().__init__()
        self._configure(
            act=act,
            stages=stages,
            trace=trace,
            thresholds=thresholds,
            settings=settings,
            sampling=sampling,
            snapshot_device=snapshot_device,
            also=also,
            announce=announce,
        )
        self._init_state()

    def _init_state(self) -> None:
        """fastai calls it after unpickling too: a copy starts with no records and watches nothing yet."""
        self._forget()
        self._guard: StandIn | None = None
        self._in_epoch = False
        self._has_loss = False  # this batch has got as far as its loss

    # ------------------------------------------------------------------ events

    def before_fit(self) -> None:
        if self._in_epoch:  # learn.validate() or learn.get_preds(), called by a callback within a fit
            return
        self._close()
        # fastai calls after_fit neither after an error nor after Ctrl-C. But every epoch runs within _with_events, its callbacks
        # and its data loading included, and what escapes from there has ended the fit.
        self._guard = StandIn(self.learn, "_with_events", self._watch_epochs)

    def before_train(self) -> None:
        # Here rather than in before_fit, which validate() and get_preds() call too; lr_find() means to ruin its run.
        if self._controller is None and not any(isinstance(cb, LRFinder) for cb in self.learn.cbs):
            self._start()

    def after_loss(self) -> None:
        self._has_loss = len(self.learn.yb) > 0

    def after_batch(self) -> None:
        if self._controller is None or not self._has_loss:  # without a loss, the batch was cancelled early
            return
        self._has_loss = False
        learn = self.learn
        loss = learn.loss.detach().as_subclass(torch.Tensor).mean()  # the mean, as fastai's Recorder takes it
        self._controller.step(loss, epoch=learn.epoch + (learn.iter + 1) / learn.n_iter)

    def after_fit(self) -> None:
        if not self._in_epoch:
            self._close()

    # ------------------------------------------------------------------ the length of a fit

    def _start(self) -> None:
        learn = self.learn
        if any(isinstance(cb, NonNativeMixedPrecision) for cb in learn.cbs):
            raise TypeError(
                "NonNativeMixedPrecision has the optimizer step copies of the weights, which adaptlr cannot watch as the model's: "
                "train with learn.to_fp16() or learn.to_bf16(), which is MixedPrecision, or without AdaptLR"
            )
        self._begin(
            learn.model,
            port_of(learn.opt, self._snapshot_device),
            steps_left=_optimizer_steps(learn),
            peak_lrs=_peak_lrs(learn),
            scaler=vars(learn).get("scaler"),  # MixedPrecision's; by vars, since a Learner also has whatever its model has
        )

    def _close(self) -> None:
        if self._guard is not None:
            self._guard.remove()
            self._guard = None
        self._end()

    def _watch_epochs(self, with_events: Callable[..., None], what: Callable[[], None], event: str, *args: Any) -> None:
        if event != "epoch":
            with_events(what, event, *args)
            return
        self._in_epoch = True
        try:
            with_events(what, event, *args)
        except BaseException:
            self._close()
            raise
        finally:
            self._in_epoch = False

    def _warn(self, text: str) -> None:
        """Warn, and nothing else, so that a thing is said once: a terminal shows warnings and progress bar on one screen, and in a
        notebook what is written through the bar is lost when the table gets its next row."""
        _clear_bar_line(getattr(getattr(self.learn, "progress", None), "pbar", None))
        warn(text, AdaptLRWarning, "fastai", "fastcore")


def _optimizer_steps(learn: Any) -> int:
    """Of this fit, as far as can be told before: ``GradientAccumulation`` steps as soon as it has so many samples."""
    skipped = next((cb._skip_to for cb in learn.cbs if isinstance(cb, SkipToEpoch)), 0)  # fit(..., start_epoch=): had before
    batches = max(0, learn.n_epoch - skipped) * len(learn.dls.train)
    samples = next((cb.n_acc for cb in learn.cbs if isinstance(cb, GradientAccumulation)), 0)
    size = getattr(learn.dls.train, "bs", None) or samples
    return max(1, batches // max(1, math.ceil(samples / max(1, size))))


def _peak_lrs(learn: Any) -> list[float]:
    """The largest learning rate that this fit's schedule gives each group, as the user wrote it."""
    lrs = np.array([h["lr"] for h in learn.opt.hypers], dtype=float)
    for cb in learn.cbs:
        if isinstance(cb, ParamScheduler) and "lr" in cb.scheds:
            lrs = np.max(
                [np.broadcast_to(np.asarray(cb.scheds["lr"](at), dtype=float), lrs.shape) for at in np.linspace(0, 1, 101)], axis=0
            )
    return lrs.tolist()


def _clear_bar_line(bar: object) -> None:
    """On a terminal the cursor stands behind a half-drawn bar: blank it, or the text is appended. It is drawn again below."""
    if isinstance(bar, ConsoleProgressBar) and bar.display and printing():
        print("\r" + " " * bar.max_len, end="\r", flush=True)
