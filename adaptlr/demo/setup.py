"""What the demo trains, on what: torchvision's ResNet-18 from scratch, on the handwritten digits that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import no_random, params
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.models import ResNet, resnet18

CLASSES = 10
SIDE = 32  # pixels; the digits come in 8 x 8
N_IMAGES = 1797
LAST_STAGE = "conv5_x"  # the last whose activations went through a ReLU: behind it comes the head


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all runs of the demo share.

    ``epochs`` and ``batch`` are as many and as small as the plain run at lr 1e-2 needs to be clearly trained: BatchNorm's running
    statistics follow with a lag of tens of steps, so a run of a few dozen steps looks worse in validation than it is.

    Raises:
        ValueError: a number is out of its range; the message quotes it.
    """

    epochs: int = 6  # of every run, at least 1
    batch: int = 32  # images, at least 2: BatchNorm needs them
    images: int = N_IMAGES  # of which half are for validation, 200 to 1797
    seed: int = 0  # of the split, the initial weights and the batches, 0 to 2^32 - 1

    def __post_init__(self) -> None:
        ranges = (("epochs", 1, 1000), ("images", 200, N_IMAGES), ("batch", 2, self.images // 2), ("seed", 0, 2**32 - 1))
        for name, low, high in ranges:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must lie in [{low}, {high}], got {value!r}")

    @property
    def steps(self) -> int:
        """Optimizer steps of one run. The last batch of an epoch is left out if it is not full."""
        return self.epochs * (self.images // 2 // self.batch)


@dataclass(frozen=True)
class Digits:
    """Images [n, 3, 32, 32] and labels [n], one half each."""

    train: TensorDataset
    valid: TensorDataset


def digits(setup: Setup) -> Digits:
    """The digits, enlarged, in three equal channels and standardised; split in halves with as many of each digit in both."""
    pixels, targets = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(targets)
    images = F.interpolate(images, size=SIDE, mode="bilinear", align_corners=False)
    images = ((images - images.mean()) / images.std()).expand(-1, 3, -1, -1)
    half = setup.images // 2
    train, valid = train_test_split(
        range(N_IMAGES), train_size=half, test_size=setup.images - half, random_state=setup.seed, stratify=targets
    )
    return Digits(TensorDataset(images[train], labels[train]), TensorDataset(images[valid], labels[valid]))


def learner(setup: Setup, data: Digits) -> Learner:
    """A new Learner on the CPU. Two that are made from equal arguments have equal weights and see equal batches."""
    with no_random(setup.seed):  # the DataLoader draws the seed of its shuffling when it is made
        loaders = DataLoaders(
            DataLoader(data.train, bs=setup.batch, shuffle=True, drop_last=True),
            DataLoader(data.valid, bs=128),
            device=torch.device("cpu"),
        )
        net = resnet18(weights=None, num_classes=CLASSES)
    return Learner(loaders, net, loss_func=CrossEntropyLossFlat(), metrics=accuracy, splitter=resnet_split)


def resnet_split(net: ResNet) -> list[list[nn.Parameter]]:
    """Three parameter groups as fastai's ``vision_learner`` splits a ResNet: up to conv3_x, conv4_x and conv5_x, the head."""
    parts: list[list[nn.Module]] = [[net.conv1, net.bn1, net.layer1, net.layer2], [net.layer3, net.layer4], [net.fc]]
    return [params(nn.ModuleList(part)) for part in parts]
