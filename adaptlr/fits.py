"""The fits that a callback has watched: what every adapter offers beside its framework's events."""

from __future__ import annotations

import itertools
import os
import sys
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptlr.act.optimizer import peak_lrs
from adaptlr.act.snapshot import Stateful, all_of
from adaptlr.controller import STATE_VERSION, AdaptLRWarning, Controller, sentence
from adaptlr.judge.control import Settings
from adaptlr.judge.outlook import Lesson
from adaptlr.judge.thresholds import Thresholds
from adaptlr.measure.stages import Stages, unwrap
from adaptlr.observer import Sampling
from adaptlr.records import Decision, Finding
from adaptlr.trace import Trace
from adaptlr.wrapped import group_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Records:
    """What a user reads of the fits that a callback has watched, oldest first in ``runs``. Begins with :meth:`_forget`."""

    def _forget(self) -> None:
        self.runs: list[Trace] = []
        self._over: dict[str, Any] = {}  # what the controller remembered when the newest fit was over
        self._kept: dict[str, Any] = {}  # what the fit that comes next is to go on with
        self._lesson: Lesson | None = None  # of the newest fit, when it was over,
        self._taught: weakref.ref[torch.nn.Module] | None = None  # and the model that it is about
        self._controller: Controller | None = None  # of the fit that is under way
        self._scales: tuple[float, ...] = ()  # of the newest fit, when it was over
        self._suggested: tuple[float, ...] = ()

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
        return self._scales if self._controller is None else self._controller.scales

    @property
    def suggested_lrs(self) -> tuple[float, ...]:
        """What to write next time: each group's largest effective lr since the last decision, in the newest fit."""
        return self._suggested if self._controller is None else self._controller.suggested_lrs

    def plot(self, **kwargs: Any) -> Figure:
        """The newest fit in one picture; arguments as in :func:`adaptlr.show.plot.plot`."""
        from adaptlr.show.plot import plot  # noqa: PLC0415  (matplotlib loads only when asked for)

        return plot(self.trace, **kwargs)

    # ------------------------------------------------------------------ a fit that is stopped, and goes on another day

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the fit that is under way, or else of the newest: scales and all that was seen, some kilobytes
        a group, and no snapshots. Empty where nothing was watched, and where every rank would have to save its own."""
        return self._over if self._controller is None else _memory_of(self._controller)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the fit that comes next go on with what :meth:`state_dict` gave."""
        self._kept = state_dict

    def _lesson_about(self, model: torch.nn.Module) -> Lesson | None:
        """What the newest fit taught, if it was of this model."""
        return self._lesson if self._taught is not None and self._taught() is model else None

    def _go_on(self, controller: Controller) -> None:
        """Enter the controller of a fit that begins; with what was kept of an earlier one, if anything was."""
        kept, self._kept = self._kept, {}
        if kept:
            controller.load_state_dict(kept)
        self.runs.append(controller.trace)
        self._controller = controller.__enter__()

    def _length(self, steps_left: int | None) -> int | None:
        """Steps of the whole run, of which so many are left; what is kept, if it can be read, knows of those before."""
        version = self._kept.get("version", STATE_VERSION)
        if version != STATE_VERSION:
            self._warn(
                f"the checkpoint keeps what adaptlr remembered in version {version}, and this one reads version {STATE_VERSION}: "
                f"this fit begins without it"
            )
            self._kept = {}
        had = self._kept["observer"]["step"] if self._kept else 0
        return None if steps_left is None else had + max(1, steps_left)

    def _warn(self, text: str) -> None:
        """Say it at the line that called fit."""
        raise NotImplementedError

    def _end(self) -> None:
        if self._controller is not None:
            self._controller.close()
            self._scales = self._controller.scales
            self._suggested = self._controller.suggested_lrs
            self._lesson, self._taught = self._controller.lesson, weakref.ref(self._controller.model)
            self._over = _memory_of(self._controller)
            self._controller = None  # it holds the model and the optimizer; the records do not


def _memory_of(controller: Controller) -> dict[str, Any]:
    """All but the snapshots; nothing where each rank has its own: a checkpoint keeps one for all."""
    return {} if controller.sharded else controller.state_dict(snapshots=False)


class Fits(Records):
    """One controller a fit, and the records of each, readable when it is over. An adapter begins and ends them.

    Args:
        act: False watches and warns, and touches nothing.
        stages: names or modules to observe, or a mapping of label to either; None finds them by rule.
        trace: a path for the JSON Lines trace, numbered where there is a file already (later fits); None keeps traces in memory.
        thresholds, settings, sampling: what counts as wrong, what may be done, how much is measured.
        snapshot_device: where snapshots are kept; None keeps them beside the model.
        also: what else goes back with a rollback, by ``state_dict`` and ``load_state_dict``: a moving average of the weights, say.
    """

    _frameworks: tuple[str, ...] = ()  # packages between the user's call and ours: warnings name the line before them

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
    ) -> None:
        self._trace_path = None if trace is None else Path(trace)
        self._options: dict[str, Any] = {
            "act": act,
            "stages": stages,
            "thresholds": thresholds,
            "settings": settings,
            "sampling": sampling,
            "snapshot_device": snapshot_device,
        }
        self._also = also
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle keeps the records, and watches nothing."""
        return {**self.__dict__, "_controller": None, "_taught": None}

    # ------------------------------------------------------------------ the length of a fit

    def _begin(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        beside: Sequence[Stateful | None] = (),
        wrapped: torch.nn.Module | None = None,
        total_steps: int | None = None,
        had_steps: int = 0,
    ) -> None:
        """A fit begins, or goes on: of ``total_steps`` so many were had before. ``wrapped`` is the model as the framework runs it:
        several processes are told by its DDP wrapper. ``beside`` is what its framework has that goes back with it: a GradScaler."""
        self._end()  # of a fit that broke where its framework tells nobody
        controller = Controller(
            model,
            optimizer,
            scaler=all_of(*beside, self._also),
            trace=None if self._trace_path is None else free_path(self._trace_path),
            total_steps=self._length(None if total_steps is None else total_steps - had_steps),
            peak_lrs=peak_lrs(optimizer),
            lesson=self._lesson_about(unwrap(model)),
            announce=self._say,
            process_group=None if wrapped is None else group_of(wrapped),
            **self._options,
        )
        self._go_on(controller)

    def _say(self, record: Finding | Decision) -> None:
        self._warn(sentence(record))

    def _warn(self, text: str) -> None:
        from tqdm import tqdm  # noqa: PLC0415  (what draws the bars of these frameworks)

        file, number, module = caller_outside("adaptlr", "contextlib", "torch", *self._frameworks)
        with tqdm.external_write_mode(file=sys.stderr):  # half-drawn bars make room, and are drawn again below
            warnings.warn_explicit(text, AdaptLRWarning, file, number, module)


def caller_outside(*packages: str) -> tuple[str, int, str]:
    """File, line and module of the nearest caller that is in none of these packages: where fit was called."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in packages:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__", "")


def free_path(path: Path) -> Path:
    """``run.jsonl``, or else the first of ``run-2.jsonl``, ``run-3.jsonl``, ... that does not exist."""
    numbered = (path.with_stem(f"{path.stem}-{n}") for n in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not p.exists())
