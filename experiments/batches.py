"""A fastai loader over tensors in memory, cut into batches by index: what loading costs is not what is measured here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import torch
from fastai.data.core import TfmdDL
from fasttransform import Pipeline
from torch import Tensor


class Batches(TfmdDL):
    """Batches ``make(index)`` of ``n`` rows; fastai's loader does the shuffling, and the transforms on whole batches.

    Args:
        n: rows of the data set.
        make: indices ``[b]`` of the rows -> the batch, a tuple of inputs and targets.
        changes: fastai's batch transforms.
        train: shuffle, leave out a last batch that is not full, and run those transforms that are for training only.
        bs: rows a batch.
    """

    def __init__(self, n: int, make: Callable[[Tensor], tuple[Tensor, ...]], *, changes: list[Any], train: bool, bs: int) -> None:
        self.make = make
        self._n_inp = 1  # or fastai would make a batch of its own to find out
        after = Pipeline(changes, split_idx=0 if train else 1)
        super().__init__(range(n), bs=bs, shuffle=train, drop_last=train, num_workers=0, after_batch=after)

    def create_batches(self, samps: Iterable[int]) -> Generator[tuple[Tensor, ...], None, None]:
        rows = list(samps)
        size = self.bs or 1
        for at in range(0, len(rows) - (len(rows) % size if self.drop_last else 0), size):
            yield self.make(torch.tensor(rows[at : at + size]))
