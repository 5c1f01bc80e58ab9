"""ImageNet's ResNet-18: where its weights lie in a data folder, and small grey images as such nets take them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

BODY = "weights/resnet18_imagenet_body.pth"
_BLACK = -0.81  # of Fashion-MNIST, normalised


def in_colour(images: Tensor, size: int) -> Tensor:
    """Square grey images, shape (n, 1, side, side), on a black ground of ``size`` by ``size`` and with three channels."""
    return F.pad(images, [(size - images.shape[-1]) // 2] * 4, value=_BLACK).expand(-1, 3, -1, -1)
