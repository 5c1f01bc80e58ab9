"""A small net with all that a step can change, batches for it, and every optimizer that the tests go through."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

Maker = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Maker] = {
    "sgd": partial(torch.optim.SGD, lr=0.05),
    "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
    "adam": partial(torch.optim.Adam, lr=1e-2),
    "amsgrad": partial(torch.optim.Adam, lr=1e-2, amsgrad=True),
    "adamw": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
    "adamw-fused": partial(torch.optim.AdamW, lr=1e-2, fused=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-3, momentum=0.9, centered=True),
    "adagrad": partial(torch.optim.Adagrad, lr=1e-2),
}


class Net(nn.Module):
    """BatchNorm (running statistics and a count), tied weights, a persistent buffer and one that no state_dict shows."""

    unsaved: Tensor
    saved: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 6, bias=False)
        self.norm = nn.BatchNorm1d(6)
        self.decode = nn.Linear(6, 6)
        self.decode.weight = self.encode.weight
        self.register_buffer("unsaved", torch.zeros(6), persistent=False)
        self.register_buffer("saved", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.unsaved += x.detach().mean(0)
            self.saved += 1
        return self.decode(torch.relu(self.norm(self.encode(x)))) + self.unsaved


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def batches(n: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 6, generator=generator) for _ in range(n)]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, xs: Iterable[Tensor]) -> list[float]:
    losses = []
    for x in xs:
        optimizer.zero_grad()
        loss = (model(x) - x.flip(1)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def bits(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, bytes]:
    """Every byte that training changes, so that two runs can be compared without a tolerance."""
    out = {name: t.detach().numpy().tobytes() for name, t in (*model.named_parameters(), *model.named_buffers())}
    for group in optimizer.param_groups:
        for i, p in enumerate(group["params"]):
            for key, value in optimizer.state.get(p, {}).items():
                out[f"state {i} {key}"] = value.numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode()
    return out
