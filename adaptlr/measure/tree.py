"""A model's submodules in the order of their registration, and the weights that each holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from adaptlr.measure.kinds import ATOMS, GATES, is_activation


class Pick(NamedTuple):
    """A submodule to observe, and how far the weights reach that belong to it."""

    label: str
    at: int  # of the module in Tree.modules
    end: int  # last module whose weights belong to it


class Tree:
    """A model's submodules in registration order, each once."""

    def __init__(self, model: nn.Module) -> None:
        self.paths, self.modules = map(list, zip(*model.named_modules(), strict=True))
        self.index = {id(m): i for i, m in enumerate(self.modules)}
        self.ends = [max(self.index[id(c)] for c in m.modules()) for m in self.modules]
        self.owned: list[tuple[int, nn.Parameter]] = []  # (index of the owner, parameter), each parameter once
        self.leaves: list[int] = []
        seen: set[int] = set()
        self.hidden: set[int] = set()  # inside an atom: may never be called as a module (attention's out_proj)
        inside = -1  # end of the atom that we are in
        for i, module in enumerate(self.modules):
            for param in module.parameters(recurse=False):
                if id(param) not in seen:
                    seen.add(id(param))
                    self.owned.append((i, param))
            if i <= inside:
                self.hidden.add(i)
                continue
            if isinstance(module, ATOMS):
                inside = self.ends[i]
                self.leaves.append(i)
            elif self.ends[i] == i:
                self.leaves.append(i)

    def pick(self, label: str, index: int) -> Pick:
        """The submodule with the weights up to its own end."""
        return Pick(label, index, self.ends[index])

    def weights_in(self, first: int, last: int) -> list[nn.Parameter]:
        """Weights of the modules ``first`` to ``last``, both included."""
        return [p for i, p in self.owned if first <= i <= last]

    def leaves_in(self, first: int, last: int, keep: Callable[[nn.Module], bool]) -> list[int]:
        """Those of the modules ``first`` to ``last`` that are not looked into and that ``keep`` is true of."""
        return [i for i in self.leaves if first <= i <= last and keep(self.modules[i])]

    def activations(self, first: int = 0, last: int | None = None) -> list[int]:
        """The activations among them; where there are none, the gates."""
        last = len(self.modules) if last is None else last
        return self.leaves_in(first, last, is_activation) or self.leaves_in(first, last, lambda m: isinstance(m, GATES))


def unwrap(model: nn.Module) -> nn.Module:
    """The user's own model, out of DataParallel, DistributedDataParallel and ``torch.compile``.

    >>> net = nn.Linear(2, 1)
    >>> unwrap(nn.DataParallel(net)) is net
    True
    """
    while True:
        inner = getattr(model, "_orig_mod", None)  # torch.compile's OptimizedModule
        if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner
