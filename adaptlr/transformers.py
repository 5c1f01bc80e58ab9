"""adaptlr in a Hugging Face Trainer: ``Trainer(..., callbacks=[AdaptLR()])``. It translates events, and decides nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

try:
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise ModuleNotFoundError(
        "adaptlr.transformers needs transformers and accelerate: pip install 'transformers[torch]>=5'", name="transformers"
    ) from error

from adaptlr.act.optimizer import peak_lrs
from adaptlr.fits import TqdmFits
from adaptlr.standin import StandIn
from adaptlr.wrapped import group_of

if TYPE_CHECKING:
    from types import FrameType

    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["AdaptLR"]

_FILE = "adaptlr.pt"  # in a checkpoint's folder


class AdaptLR(TqdmFits, TrainerCallback):
    """Watches a Trainer's model train, says when a learning rate is wrong, and puts it right.

    Every ``trainer.train()`` is watched from its beginning by a new Controller; one that goes on from a checkpoint, with what was
    written there, as ``adaptlr.pt``. Evaluation and prediction are left alone. While no decision fires, training is bit-identical
    to training without it; the learning rates that the Trainer logs are the schedule's.

    The loss of a step is what the Trainer's own ``training_step`` returns, summed over accumulated batches: the number that it
    logs, whatever computes it (the model, ``compute_loss_func``, label smoothing, a subclass).

    Args:
        act: False watches and warns, and touches nothing.
        stages: names or modules to observe, or a mapping of label to either; None finds them by rule.
        trace: a path for the JSON Lines trace, numbered where there is a file already (later fits); None keeps traces in memory.
        thresholds, settings, sampling: what counts as wrong, what may be done, how much is measured.
        snapshot_device: where snapshots are kept; None keeps them beside the model.
        also: what else goes back with a rollback, by ``state_dict`` and ``load_state_dict``: a moving average of the weights, say.
        announce: called with every new finding and decision; None warns with :class:`~adaptlr.controller.AdaptLRWarning`.

    What it says comes as :class:`~adaptlr.controller.AdaptLRWarning`, at the line that called train.

    Raises (when training begins):
        ValueError: no stage was found, or the optimizer holds none of the model's parameters.
        RuntimeError: it was not a Trainer that called.
    """

    _frameworks = ("transformers", "accelerate")
    _guards: tuple[StandIn, ...] = ()
    _loss: Tensor | None = None  # of this step's batches so far
    _trainer: Trainer | None = None  # while it trains

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_guards": (), "_loss": None, "_trainer": None}

    # ------------------------------------------------------------------ events

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        frame = _calling_frame()
        trainer: Trainer = frame.f_locals["self"]
        self._kept = _kept(frame.f_locals.get("resume_from_checkpoint")) or self._kept
        self._begin(
            kwargs["model"],
            kwargs["optimizer"],
            steps_left=state.max_steps - state.global_step,
            peak_lrs=peak_lrs(kwargs["optimizer"]),
            scaler=trainer.accelerator.scaler,
            process_group=group_of(trainer.model_wrapped),
        )
        self._trainer = trainer
        # No event follows an error or Ctrl-C, so we stand where they pass: an epoch has its batches and their loading within it.
        places = [name for name in ("_run_epoch", "_evaluate", "_finalize_training") if hasattr(trainer, name)]
        self._guards = (
            StandIn(trainer, "training_step", self._add_loss),
            *(StandIn(trainer, name, self._until_it_fails) for name in places),
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss, self._loss = self._loss, None
        if self._controller is not None and loss is not None:
            self._controller.step(loss, epoch=state.epoch)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        memory = self.state_dict()  # asked of every rank: what is on its way is carried out
        if memory and self._trainer is not None and state.is_world_process_zero:
            folder = Path(self._trainer._get_output_dir(trial=None)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            if folder.is_dir():
                torch.save(memory, folder / _FILE)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._end()

    # ------------------------------------------------------------------ where no event comes

    def _add_loss(self, training_step: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        loss = self._until_it_fails(training_step, *args, **kwargs)
        # Already a share of the step's loss: summed, as the Trainer does. It stays on the device.
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()
        return loss

    def _until_it_fails(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        for guard in self._guards:
            guard.remove()
        self._guards, self._loss, self._trainer = (), None, None
        super()._end()


def _kept(checkpoint: str | None) -> dict[str, Any]:
    """What a checkpoint keeps of ours; nothing if there is none, or if it was written without us."""
    file = None if checkpoint is None else Path(checkpoint) / _FILE
    return torch.load(file, map_location="cpu", weights_only=True) if file is not None and file.is_file() else {}


def _calling_frame() -> FrameType:
    """Where the Trainer whose event this is trains. It hands its callbacks all but itself, and so the loss but in its logs."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), Trainer):
            return frame
        frame = frame.f_back
    raise RuntimeError(
        "on_train_begin was called, but not by a transformers.Trainer: in a loop of your own, use adaptlr.Controller instead"
    )
