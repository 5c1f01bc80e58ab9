"""adaptlr in a Lightning Trainer: ``Trainer(callbacks=[AdaptLR()])``. It translates events, and decides nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

try:
    import lightning.pytorch as pl
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "lightning":
        raise
    raise ModuleNotFoundError("adaptlr.lightning needs Lightning: pip install 'lightning>=2'", name="lightning") from error

from adaptlr.act.optimizer import peak_lrs
from adaptlr.act.snapshot import Stateful
from adaptlr.fits import TqdmFits
from adaptlr.judge.control import Settings
from adaptlr.judge.thresholds import Thresholds
from adaptlr.measure.stages import Stages
from adaptlr.observer import Sampling
from adaptlr.ranges import whole
from adaptlr.records import Decision, Finding
from adaptlr.wrapped import group_of

__all__ = ["AdaptLR"]


class AdaptLR(TqdmFits, pl.Callback):
    """Watches a LightningModule train, says when a learning rate is wrong, and puts it right.

    Every ``trainer.fit`` is watched from its beginning by a new Controller; one that goes on from a checkpoint, with what this
    callback remembered in it. Validation, testing and the Tuner are left alone. While no decision fires, training is bit-identical
    to training without it; schedulers and LearningRateMonitor see what they wrote.

    A module with several optimizers (manual optimization) takes one callback for each, which names its optimizer, the submodule
    that this trains, and its loss in what ``training_step`` returns::

        callbacks=[
            AdaptLR(optimizer=0, model="generator", loss="g_loss"),
            AdaptLR(optimizer=1, model="critic", loss="c_loss"),
        ]

    Args:
        optimizer: index in what ``configure_optimizers`` returns; None is the only one.
        model: name of the submodule to watch, as in ``named_modules``; None is the whole LightningModule. A rollback restores this
            submodule and what else the optimizer holds.
        loss: key of the loss where ``training_step`` returns a mapping.
        act: False watches and warns, and touches nothing.
        stages: names or modules to observe, or a mapping of label to either; None finds them by rule.
        trace: a path for the JSON Lines trace, numbered where there is a file already (later fits); None keeps traces in memory.
        thresholds, settings, sampling: what counts as wrong, what may be done, how much is measured.
        snapshot_device: where snapshots are kept; None keeps them beside the model.
        also: what else goes back with a rollback, by ``state_dict`` and ``load_state_dict``. The averages that WeightAveraging and
            StochasticWeightAveraging keep do by themselves.
        announce: called with every new finding and decision; None warns with :class:`~adaptlr.controller.AdaptLRWarning`.

    What it says comes as :class:`~adaptlr.controller.AdaptLRWarning`, at the line that called fit.

    Raises (when training begins):
        ValueError: there are several optimizers and none was named, ``model`` is no submodule, no stage was found, or the optimizer
            holds none of the model's parameters.
    """

    _frameworks = ("lightning", "lightning_fabric", "lightning_utilities", "pytorch_lightning")

    def __init__(
        self,
        *,
        optimizer: int | None = None,
        model: str | None = None,
        loss: str = "loss",
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
        super().__init__(
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
        self._optimizer = None if optimizer is None else whole("optimizer", optimizer, see="it is an index, not a name")
        self._model, self._loss = model, loss
        self._loads = False  # Lightning is about to hand on what a checkpoint keeps,
        self._of_checkpoint = False  # and has

    @property
    def state_key(self) -> str:
        """Apart for each optimizer: Lightning refuses two callbacks with one key."""
        return self._generate_state_key(optimizer=self._optimizer)

    # ------------------------------------------------------------------ events

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._loads = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the fit that comes next go on with what :meth:`state_dict` gave: of what Lightning loads, only a resumed one."""
        super().load_state_dict(state_dict)
        self._of_checkpoint, self._loads = self._loads, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Here rather than in on_fit_start: a checkpoint's optimizer state is in place, and the sanity check is over.
        resumed = trainer.ckpt_path and trainer.global_step
        if self._of_checkpoint and not resumed:  # it was loaded to test, or by the Tuner or a finder
            self._kept = {}
        self._of_checkpoint = self._loads = False
        optimizer = self._optimizer_of(trainer)
        self._begin(
            self._model_of(pl_module),
            optimizer,
            steps_left=_steps_left(trainer),
            peak_lrs=peak_lrs(optimizer),
            scaler=getattr(trainer.precision_plugin, "scaler", None),
            beside=_averages(trainer),
            process_group=group_of(trainer.strategy.model),
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = self._loss_of(trainer, pl_module, outputs)
        if self._controller is None or loss is None:
            return
        n = trainer.num_training_batches
        self._controller.step(loss, epoch=trainer.current_epoch + (batch_idx + 1) / n if math.isfinite(n) else None)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._end()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._end()  # the one event of a fit that the Tuner ends

    # ------------------------------------------------------------------ what the controller asks for

    def _optimizer_of(self, trainer: pl.Trainer) -> torch.optim.Optimizer:
        optimizers = trainer.optimizers
        if self._optimizer is None and len(optimizers) != 1:
            raise ValueError(
                f"the module has {len(optimizers)} optimizers: give each a callback, AdaptLR(optimizer=0, model='generator', "
                f"loss='g_loss'), with the submodule that it trains and its loss in what training_step returns"
            )
        index = self._optimizer or 0
        if not 0 <= index < len(optimizers):
            raise ValueError(f"optimizer={index}, but the module has {len(optimizers)}: give an index below that")
        chosen: Any = optimizers[index]
        return chosen if isinstance(chosen, torch.optim.Optimizer) else chosen.optimizer  # out of a LightningOptimizer

    def _model_of(self, module: pl.LightningModule) -> nn.Module:
        if self._model is None:
            return module
        found = dict(module.named_modules()).get(self._model)
        if found is None:
            children = ", ".join(name for name, _ in module.named_children())
            raise ValueError(f"model={self._model!r} is no submodule of {type(module).__name__}, which has {children}")
        return found

    def _loss_of(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any) -> Tensor | float | None:
        """This batch's loss; None where the batch was skipped."""
        known = isinstance(outputs, Mapping) and self._loss in outputs
        if not module.automatic_optimization and not known:
            raise ValueError(
                f"training_step returned no {self._loss!r}: under manual optimization, return the loss, or a mapping with it "
                f"(None for a batch that does not train this optimizer)"
            )
        if not known or outputs[self._loss] is None:
            return None
        # Lightning divides the loss for accumulated gradients, but hands on other entries as they are.
        share = trainer.accumulate_grad_batches if module.automatic_optimization and self._loss == "loss" else 1
        return outputs[self._loss] if share == 1 else outputs[self._loss] * share


def _averages(trainer: pl.Trainer) -> list[nn.Module]:
    """Of the weights, as Lightning's callbacks keep them, who hand them to nobody: what was ruined would stay in them."""
    kept = [getattr(cb, "_average_model", None) for cb in trainer.callbacks]  # type: ignore[attr-defined]
    return [average for average in kept if isinstance(average, nn.Module)]


def _steps_left(trainer: pl.Trainer) -> int | None:
    """The optimizer steps of this fit that were not had before; None where it has no end."""
    steps, optimizers = trainer.estimated_stepping_batches, max(1, len(trainer.optimizers))
    if not (math.isfinite(steps) and steps >= 1):
        return None
    if trainer.max_steps > 0:  # of all optimizers together
        steps = min(steps, trainer.max_steps // optimizers)
    return int(steps) - trainer.global_step // optimizers
