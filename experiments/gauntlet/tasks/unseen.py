"""Tasks of kinds that the standard ones are not: text, ratings, segmentation, reconstruction.

Nothing here needs a download but the images of ``garments``.
"""

from __future__ import annotations

from functools import partial

import torch
from sklearn import datasets as sk

from experiments.fashion import images
from experiments.gauntlet.nets.pixels import Autoencoder, UNet, patch_conv_net, tanh_lenet, tanh_mlp
from experiments.gauntlet.nets.sequences import CharacterLSTM, PostNormEncoder, VanillaRNN
from experiments.gauntlet.nets.tables import Factors, dropout_mlp
from experiments.gauntlet.tasks.record import Data, Goal, Task, split
from experiments.gauntlet.tasks.sequences import RECALL

# -- characters: the next one, in the English descriptions that scikit-learn ships with its data sets
_TEXT_LENGTH, _CHARACTERS = 32, 64
# -- ratings: users and items with hidden tastes; a rating is seen with noise
_USERS, _ITEMS, _TASTES, _RATING_NOISE = 200, 150, 3, 0.5
# -- shapes: discs and squares on a noisy ground; each pixel is to be named
_SHAPES_SIZE, _SHAPES_NOISE = 16, 0.7


def _characters(_: str) -> Data:
    sets = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")
    text = "".join(getattr(sk, f"load_{name}")()["DESCR"] for name in sets)
    known = {c: i for i, c in enumerate(sorted(set(text), key=lambda c: (-text.count(c), c))[: _CHARACTERS - 1])}
    codes = torch.tensor([known.get(c, _CHARACTERS - 1) for c in text])
    pieces = codes.unfold(0, _TEXT_LENGTH + 1, 4)
    n = int(0.8 * len(pieces))
    train, valid = pieces[:n], pieces[n + _TEXT_LENGTH // 4 + 1 :]  # what lies across the cut belongs to neither
    return Data(x=train[:, :-1], y=train[:, 1:], x_valid=valid[:, :-1], y_valid=valid[:, 1:])


def _ratings(_: str) -> Data:
    g = torch.Generator().manual_seed(4)
    users, items = (torch.randn(n, _TASTES, generator=g) for n in (_USERS, _ITEMS))
    x = torch.stack([torch.randint(n, (12_000,), generator=g) for n in (_USERS, _ITEMS)], 1)
    y = (users[x[:, 0]] * items[x[:, 1]]).sum(1) / _TASTES**0.5
    y = y + _RATING_NOISE * torch.randn(len(y), generator=g)
    x[:, 1] += _USERS  # one table of rows for both
    return split(x, y / y.std(), valid_frac=0.2)


def _shapes(_: str) -> Data:
    g, s, n = torch.Generator().manual_seed(5), _SHAPES_SIZE, 3072
    across, down = torch.meshgrid(torch.arange(s), torch.arange(s), indexing="xy")
    y = torch.zeros(n, s, s, dtype=torch.long)
    for kind in (1, 2):
        for _each in range(2):
            cx, cy = (torch.randint(s, (n, 1, 1), generator=g) for _ in range(2))
            size = torch.randint(2, 4, (n, 1, 1), generator=g)
            dx, dy = (across - cx).abs(), (down - cy).abs()
            inside = dx**2 + dy**2 <= size**2 if kind == 1 else torch.maximum(dx, dy) < size
            y[inside] = kind
    x = (y > 0).float() + _SHAPES_NOISE * torch.randn(n, s, s, generator=g)
    return split(x[:, None], y, valid_frac=0.25)


def _friedman(_: str) -> Data:
    x, y = sk.make_friedman1(n_samples=4000, n_features=10, noise=1.0, random_state=6)
    y = (y - y.mean()) / y.std()
    return split(2 * torch.tensor(x, dtype=torch.float32) - 1, torch.tensor(y, dtype=torch.float32), valid_frac=0.25)


def _garments(folder: str) -> Data:
    x, y, x_valid, y_valid = images(folder)
    return Data(x=x, y=y, x_valid=x_valid[:1536], y_valid=y_valid[:1536])


def _pixels(folder: str) -> Data:
    data = _garments(folder)
    small = [torch.nn.functional.avg_pool2d(x, 2) for x in (data.x, data.x_valid[:768])]
    return Data(x=small[0], y=small[0].flatten(1), x_valid=small[1], y_valid=small[1].flatten(1))


CHARACTERS = Task(
    name="characters",
    load=_characters,
    nets={"lstm": partial(CharacterLSTM, _CHARACTERS)},
    steps=400,
    batch=32,
)
RATINGS = Task(
    name="ratings",
    load=_ratings,
    nets={"factors": partial(Factors, _USERS + _ITEMS)},
    steps=600,
    batch=64,
    goal=Goal.NUMBER,
)
SHAPES = Task(name="shapes", load=_shapes, nets={"unet": UNet}, steps=160, batch=16)
FRIEDMAN = Task(name="friedman", load=_friedman, nets={"mlp": partial(dropout_mlp, 10)}, steps=500, batch=32, goal=Goal.NUMBER)
GARMENTS = Task(
    name="garments",
    load=_garments,
    nets={"lenet": tanh_lenet, "tanh-mlp": tanh_mlp, "patch-conv": patch_conv_net},
    steps=240,
    batch=32,
)
PIXELS = Task(name="pixels", load=_pixels, nets={"autoencoder": Autoencoder}, steps=300, batch=32, goal=Goal.NUMBER)
MARKERS = Task(
    name="markers",
    load=RECALL.load,
    nets={"rnn": partial(VanillaRNN, 7, 6), "post-norm": partial(PostNormEncoder, 7, 6, 10)},
    steps=400,
    batch=32,
    best=RECALL.best,
)

UNSEEN = (CHARACTERS, RATINGS, SHAPES, FRIEDMAN, GARMENTS, PIXELS, MARKERS)
