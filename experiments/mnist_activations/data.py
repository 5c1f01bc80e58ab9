"""MNIST as the seed had it: a random half for validation, 32x32, in three channels; flips, small affine changes.

Where there is no MNIST, a quick look takes scikit-learn's embedded digits (1,797 of 8x8 pixels) in its place.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from fastai.data.core import DataLoaders
from fastai.data.transforms import Normalize
from fastai.torch_core import TensorCategory, TensorImage
from fastai.vision.augment import aug_transforms
from fastai.vision.core import imagenet_stats
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision import datasets

from experiments.batches import Batches

DIGITS = "digits"  # in place of a folder: scikit-learn's
SIZE = 32
BATCH = 64
HALVES_SEED = 2019


@lru_cache(maxsize=1)
def halves(folder: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images ``[n, 1, 32, 32]`` as bytes and labels, then validation images and labels: a random half each.

    35,000 of MNIST's; 898 of scikit-learn's if ``folder`` is :data:`DIGITS`.

    Raises:
        FileNotFoundError: the folder holds no MNIST in torchvision's layout.
    """
    images, labels = _digits() if folder == DIGITS else _mnist(folder)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(HALVES_SEED))
    images, labels = images[order, None], labels[order]
    large = torch.cat([nn.functional.interpolate(x.float(), SIZE, mode="bilinear", antialias=True) for x in images.split(10_000)])
    large, half = large.round_().byte(), len(labels) // 2
    return large[:half], labels[:half], large[half:], labels[half:]


def has_mnist(folder: str) -> bool:
    """The folder holds MNIST in torchvision's layout."""
    return (Path(folder) / "MNIST" / "raw").is_dir()


def _digits() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels * 255 / 16).round().byte().view(-1, 8, 8), torch.tensor(labels)


def _mnist(folder: str) -> tuple[Tensor, Tensor]:
    if not has_mnist(folder):
        raise FileNotFoundError(
            f"no MNIST/raw in {folder!r}: pass --data FOLDER with torchvision's layout, or fetch it there with "
            f'python -c "from torchvision.datasets import MNIST; MNIST({folder!r}, download=True)"'
        )
    parts = [datasets.MNIST(folder, train=train, download=False) for train in (True, False)]
    return torch.cat([p.data for p in parts]), torch.cat([p.targets for p in parts])


def loaders(folder: str, n_train: int, n_valid: int) -> DataLoaders:
    """The first ``n_train`` and ``n_valid`` images of the two halves, as fastai loaders of 64."""
    x, y, x_valid, y_valid = halves(folder)
    changes = aug_transforms(do_flip=True, max_rotate=10, max_zoom=1.1, max_lighting=0, max_warp=0)
    norm = Normalize.from_stats(*imagenet_stats, cuda=torch.cuda.is_available())

    def loader(images: Tensor, labels: Tensor, *, train: bool) -> Batches:
        def make(index: Tensor) -> tuple[TensorImage, TensorCategory]:
            return TensorImage(images[index].float().div_(255).expand(-1, 3, -1, -1)), TensorCategory(labels[index])

        return Batches(
            len(labels), make, changes=[*changes, norm] if train else [norm], train=train, bs=BATCH if train else 8 * BATCH
        )

    return DataLoaders(loader(x[:n_train], y[:n_train], train=True), loader(x_valid[:n_valid], y_valid[:n_valid], train=False))
