"""Images that stand in for a data set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torchvision import datasets

from experiments.fashion import images


class Blobs:
    """Stands in for MNIST and Fashion-MNIST: ten classes, each a bright square at a place of its own."""

    def __init__(self, folder: str, *, train: bool, download: bool) -> None:
        generator = torch.Generator().manual_seed(int(train))
        self.targets = torch.randint(10, (2000,), generator=generator)
        self.data = torch.randint(60, (2000, 28, 28), generator=generator, dtype=torch.uint8)
        for image, label in zip(self.data, self.targets.tolist(), strict=True):
            image[14 * (label // 5) : 14 * (label // 5) + 10, 5 * (label % 5) : 5 * (label % 5) + 5] += 150


@pytest.fixture
def blobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MNIST and Fashion-MNIST are blobs, and nothing of the real ones is remembered."""
    monkeypatch.setattr(datasets, "MNIST", Blobs)
    monkeypatch.setattr(datasets, "FashionMNIST", Blobs)
    images.cache_clear()
    yield
    images.cache_clear()
