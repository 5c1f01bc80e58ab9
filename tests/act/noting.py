"""An optimizer that notes what its steps work with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Noting(torch.optim.SGD):
    """Notes the learning rates that its step works with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inside: list[list[float]] = []
        self.worked_with: list[Any] = []  # the newest step's, as they are

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        self.inside.append([float(g["lr"]) for g in self.param_groups])
        self.worked_with = [g["lr"] for g in self.param_groups]
        return super().step(closure)
