"""The fits that a callback has watched: what every adapter offers beside its framework's events."""

from __future__ import annotations

import itertools
import os
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptlr import arguments
from adaptlr.act.optimizer import OptimizerPort
from adaptlr.act.snapshot import Stateful, all_of
from adaptlr.callers import warn
from adaptlr.controller import STATE_VERSION, AdaptLRWarning, Controller
from adaptlr.judge.control import Settings
from adaptlr.judge.outlook import Lesson
from adaptlr.judge.thresholds import Thresholds
from adaptlr.measure.stages import Stages, unwrap
from adaptlr.observer import Sampling
from adaptlr.records import Decision, Finding
from adaptlr.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Fits:
    """One controller a fit, and the records of each, oldest first in ``runs``. An adapter begins them and ends them."""

    def _configure(
        self,
        *,
        trace: str | os.PathLike[str] | None,
        snapshot_device: torch.device | str | None,
        also: Stateful | Sequence[Stateful] | None,
        announce: Callable[[Finding | Decision], None] | None,
        **options: Any,
    ) -> None:
        """Take what an adapter was made with; ``options`` are the Controller's own."""
        arguments.check(also=also, announce=announce, **options)
        self._trace_path = None if trace is None else Path(trace)
        self._snapshot_device = None if snapshot_device is None else torch.device(snapshot_device)
        self._also = also
        self._announce = announce
        self._options = options
        self._forget()

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

    def plot(self, *, stages: Sequence[str] | None = None, figsize: tuple[float, float] | None = None) -> Figure:
        """The newest fit in one picture, as :meth:`adaptlr.trace.Trace.plot` draws it."""
        return self.trace.plot(stages=stages, figsize=figsize)

    # ------------------------------------------------------------------ a fit that is stopped, and goes on another day

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the fit that is under way, or else of the newest: scales and all that was seen, some kilobytes
        a group, and no snapshots. Empty where nothing was watched, and where every rank would have to save its own."""
        return self._over if self._controller is None else _memory_of(self._controller)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the fit that comes next go on with what :meth:`state_dict` gave."""
        if state_dict:
            arguments.check_state(state_dict, f"{type(self).__name__}.state_dict()")
        self._kept = state_dict

    def _lesson_about(self, model: torch.nn.Module) -> Lesson | None:
        """What the newest fit taught, if it was of this model."""
        return self._lesson if self._taught is not None and self._taught() is model else None

    def _begin(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | OptimizerPort,
        *,
        steps_left: int | None,
        peak_lrs: Sequence[float] | None,
        scaler: Stateful | None = None,
        beside: Sequence[Stateful] = (),
        process_group: torch.distributed.ProcessGroup | None = None,
    ) -> None:
        """A fit begins, or goes on with what was kept of an earlier one. ``beside`` is what its framework has that goes back with
        it, as averages of the weights."""
        self._end()  # of a fit that broke where its framework tells nobody
        controller = Controller(
            model,
            optimizer,
            scaler=scaler,
            also=all_of(*beside, self._also),
            trace=None if self._trace_path is None else free_path(self._trace_path),
            snapshot_device=self._snapshot_device,
            total_steps=self._length(steps_left),
            peak_lrs=peak_lrs,
            lesson=self._lesson_about(unwrap(model)),
            announce=self._say,
            process_group=process_group,
            **self._options,
        )
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

    def _say(self, record: Finding | Decision) -> None:
        if self._announce is None:
            self._warn(str(record))
        else:
            self._announce(record)

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


class TqdmFits(Fits):
    """What Lightning's and the Trainer's callbacks share: how they are made, and how they warn beside a progress bar.

    Args:
        act: False watches and warns, and touches nothing.
        stages: names or modules to observe, or a mapping of label to either; None finds them by rule.
        trace: a path for the JSON Lines trace, numbered where there is a file already (later fits); None keeps traces in memory.
        thresholds, settings, sampling: what counts as wrong, what may be done, how much is measured.
        snapshot_device: where snapshots are kept; None keeps them beside the model.
        also: what else goes back with a rollback, by ``state_dict`` and ``load_state_dict``: a moving average of the weights, say.
        announce: called with every new finding and decision; None warns with :class:`~adaptlr.controller.AdaptLRWarning`.
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
        announce: Callable[[Finding | Decision], None] | None = None,
    ) -> None:
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

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle keeps the records, and watches nothing."""
        return {**self.__dict__, "_controller": None, "_taught": None}

    def _warn(self, text: str) -> None:
        from tqdm import tqdm  # noqa: PLC0415  (what draws the bars of these frameworks)

        with tqdm.external_write_mode(file=sys.stderr):  # half-drawn bars make room, and are drawn again below
            warn(text, AdaptLRWarning, *self._frameworks)


def free_path(path: Path) -> Path:
    """``run.jsonl``, or else the first of ``run-2.jsonl``, ``run-3.jsonl``, ... that does not exist."""
    numbered = (path.with_stem(f"{path.stem}-{n}") for n in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not p.exists())
