"""The seed's Learner: fastai's cnn_learner around ResNet-18, from ImageNet's weights or from none, under fastai v1's Adam."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from fastai.vision.learner import create_body, vision_learner
from torchvision.models import resnet18

# As fastai v1 had it, which the seed was trained with: torch's Adam with eps 1e-8 and a decoupled decay of every parameter, norms
# and biases included. fastai v2's default spares those and has eps 1e-5: there, BatchNorm's gains do not decay to zero at lr=1.
ADAM = partial(OptimWrapper, opt=torch.optim.AdamW, betas=(0.9, 0.99), eps=1e-8, fused=True)


def resnet18_learner(
    dls: DataLoaders, n_out: int, *, pretrained: bool, weights: str | os.PathLike[str] | None = None, **kwargs: Any
) -> Learner:
    """Three groups (up to conv3_x, conv4_x and conv5_x, head); a pretrained body is frozen but for its norms.

    Args:
        dls: three-channel batches.
        n_out: outputs of the head (concat pool, 512 hidden, dropout .25 and .5).
        pretrained: start from ImageNet's weights: those in ``weights``, or else torchvision's, a download.
        weights: file of a ResNet-18's state, with or without ``fc``.
        kwargs: of :class:`fastai.learner.Learner`.

    Raises:
        ValueError: the file holds no ResNet-18.
    """
    online = pretrained and weights is None
    learn = vision_learner(dls, resnet18, n_out=n_out, pretrained=online, normalize=False, opt_func=ADAM, wd_bn_bias=True, **kwargs)
    if pretrained and weights is not None:
        net = resnet18(weights=None)
        missing, unexpected = net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=False)
        if unexpected or any(not name.startswith("fc.") for name in missing):
            raise ValueError(f"{weights} is no ResNet-18 state: missing {missing}, unexpected {unexpected}")
        body: Any = create_body(net, cut=-2)
        model: Any = learn.model
        model[0].load_state_dict(body.state_dict())
        learn.freeze()
    return learn


class StepBar(Callback):
    """Moves one bar a training step: fastai's own draws a table an epoch, and two of them at once are unreadable."""

    learn: Any  # fastai sets it while it fits

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def after_batch(self) -> None:
        if self.learn.training:
            self.bar.update()
