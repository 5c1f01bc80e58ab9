"""A run in half precision, whose steps a GradScaler may skip."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from adaptlr import Controller
from tests.nets import batches, convnet, quiet


class InHalf:
    """A net in half precision under a GradScaler, one batch at a time."""

    def __init__(self, lr: float, *, fused: bool, micro_batches: int = 1, **kwargs: Any) -> None:
        torch.manual_seed(0)
        self.model = convnet(norm=False)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr, fused=fused)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        self.controller = Controller(self.model, self.optimizer, scaler=self.scaler, announce=quiet, **kwargs)
        self.losses: list[float] = []
        self.micro_batches = micro_batches

    def train(self, steps: int, spoilt: range = range(0)) -> Controller:
        with self.controller as ctl:
            for i, (x, y) in enumerate(batches(steps)):
                with torch.autocast("cpu", torch.float16):
                    loss = nn.functional.cross_entropy(self.model(x * (math.nan if i in spoilt else 1.0)), y)
                self.scaler.scale(loss).backward()
                if (i + 1) % self.micro_batches == 0:
                    self.scaler.step(self.optimizer)
                    self.scaler.update()
                    self.optimizer.zero_grad()
                ctl.step(loss)
                self.losses.append(loss.item())
        return ctl
