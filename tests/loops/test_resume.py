"""A run that is stopped in mid-epoch and goes on from a file, with decisions before the stop and after it."""

from __future__ import annotations

import io
import math
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adaptlr import Controller, Decision
from tests.nets import convnet, digits, same

EPOCHS, STOP = 2, 41  # 29 batches an epoch
SPOILT = 52  # a batch after the stop


def run(stop: int | None) -> tuple[Any, list[Decision], list[float]]:
    def fresh() -> tuple[nn.Module, torch.optim.Optimizer, Controller]:
        torch.manual_seed(0)
        model = convnet()
        optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
        return model, optimizer, Controller(model, optimizer, announce=lambda _: None)

    model, optimizer, ctl = fresh()
    ctl.__enter__()
    decisions: list[Decision] = []
    losses: list[float] = []
    done = 0
    for epoch in range(EPOCHS):
        order = torch.Generator().manual_seed(epoch)
        loader = DataLoader(TensorDataset(*digits()), batch_size=64, shuffle=True, generator=order)
        for i, (x, y) in enumerate(loader):
            if done == stop:
                file = io.BytesIO()
                states = {"adaptlr": ctl.state_dict(), "model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(states, file)
                decisions += ctl.decisions
                ctl.close()
                file.seek(0)
                saved = torch.load(file, weights_only=True)
                model, optimizer, ctl = fresh()
                model.load_state_dict(saved["model"])
                optimizer.load_state_dict(saved["optimizer"])
                ctl.load_state_dict(saved["adaptlr"])
                ctl.__enter__()
                again = torch.Generator().manual_seed(epoch)  # another process skips the batches that it has had
                rest = DataLoader(TensorDataset(*digits()), batch_size=64, shuffle=True, generator=again)
                skipped = next(b for j, b in enumerate(rest) if j == i)
                assert torch.equal(skipped[0], x)
            loss = nn.functional.cross_entropy(model(x * (math.nan if done == SPOILT else 1.0)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ctl.step(loss, epoch=epoch + (i + 1) / len(loader))
            losses.append(loss.item())
            done += 1
    decisions += ctl.decisions
    ctl.close()
    return (model.state_dict(), optimizer.state_dict()), decisions, losses


def test_it_decides_the_same_before_and_after_and_ends_with_the_same_bits() -> None:
    whole, resumed = run(None), run(STOP)
    assert resumed[1] == whole[1]
    assert same(resumed[2], whole[2])
    assert same(resumed[0], whole[0])
    assert min(d.step for d in whole[1]) < STOP <= max(d.step for d in whole[1])  # the case is what it is called
