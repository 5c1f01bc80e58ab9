"""What is trained while the cost is measured: a net, its batch and its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A net on one batch of random data: what is in it does not change the time of a step."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of the batch

    def model(self, device: str) -> nn.Module:
        torch.manual_seed(0)
        return self.make().to(device).train()

    def batch(self, device: str) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(self.shape, generator=generator).to(device), torch.randint(10, self.shape[:1], generator=generator).to(
            device
        )

    def loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y)


class Encoder(nn.Module):
    """A transformer encoder of six layers on sequences of vectors, and a head on their mean."""

    def __init__(self, dim: int, layers: int = 6, heads: int = 4) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean(1))


def vit(size: int, patch: int, depth: int, heads: int, dim: int) -> nn.Module:
    return torchvision.models.VisionTransformer(size, patch, depth, heads, dim, 4 * dim, num_classes=10)


def mlp(width: int) -> nn.Module:
    """Three layers, for the sweep."""
    return nn.Sequential(nn.Linear(256, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def resnet18() -> nn.Module:
    return torchvision.models.resnet18(num_classes=10)


FULL = (
    Workload(name="resnet18-64px-b64", make=resnet18, shape=(64, 3, 64, 64)),
    Workload(name="resnet18-224px-b32", make=resnet18, shape=(32, 3, 224, 224)),
    Workload(name="vit-small-224px-b8", make=lambda: vit(224, 16, 12, 6, 384), shape=(8, 3, 224, 224)),
    Workload(name="encoder-6x256-b16", make=lambda: Encoder(256), shape=(16, 64, 256)),
)
QUICK = (
    Workload(name="vit-tiny-32px-b8", make=lambda: vit(32, 8, 2, 2, 32), shape=(8, 3, 32, 32)),
    Workload(name="encoder-6x32-b8", make=lambda: Encoder(32), shape=(8, 16, 32)),
)


def sweep(widths: tuple[int, ...]) -> list[Workload]:
    return [Workload(name=f"mlp-{w}", make=lambda w=w: mlp(w), shape=(64, 256)) for w in widths]
