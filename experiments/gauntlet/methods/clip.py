"""Gradient clipping by norm, as torch's documentation has it: between backward and step."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from experiments.gauntlet.methods.base import Event, Plain

MAX_NORM = 1.0


class Clip(Plain):
    name: ClassVar[str] = "clip"
    steps_in: ClassVar[bool] = True
    settings: ClassVar[str] = f"torch.nn.utils.clip_grad_norm_(max_norm={MAX_NORM}); the first clipped step counts as its decision"

    def before_update(self) -> None:
        norm = nn.utils.clip_grad_norm_(self.job.model.parameters(), MAX_NORM)
        if not self.events.decisions and not norm <= MAX_NORM:
            self.events.decisions.append(Event(step=self.at, kinds=(), changes=True, lower=True, text=f"gradient norm {norm:.3g}"))
