"""Which submodules are observed, which weights belong to each, and which optimizer group holds those weights.

Modules are taken in the order in which they are registered, as the order in which they run: a stage owns the weights that are
registered after the former stage and up to its own end, so that the ReLU after ``bn1`` owns ``conv1`` and ``bn1``. Stages are
found by rule (``rules.py``) or as the user names them (``named.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from adaptlr.measure.kinds import numel
from adaptlr.measure.named import Stages, look_up
from adaptlr.measure.rules import MAX_STAGES, pick_stages
from adaptlr.measure.tree import Pick, Tree, unwrap

__all__ = ["MAX_STAGES", "Stage", "Stages", "assign_groups", "find_stages", "stages_of_group", "unwrap"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """An observed submodule and the weights whose work shows in its output."""

    name: str  # short label, "conv2_x"
    path: str  # qualified name in the unwrapped model, "layer1"
    module: nn.Module
    params: tuple[nn.Parameter, ...]  # each parameter of a model found by rule is in one stage at most

    @property
    def numel(self) -> int:
        return sum(map(numel, self.params))


def find_stages(model: nn.Module, stages: Stages | None = None, *, needed: bool = True) -> tuple[Stage, ...]:
    """The submodules of ``model`` to observe, by rule or as named.

    Args:
        model: any module; wrappers (see :func:`unwrap`) are looked through, and names are those of the model inside.
        stages: qualified names or submodules, or a mapping from labels to them. A submodule with weights owns its own; one
            without (a ReLU) owns those that come before it in its parent and belong to no earlier stage.
        needed: False takes a model in which nothing is found.

    Returns:
        The stages in registration order; by rule, labels are ``conv1, conv2_x … conv5_x, head`` for a ResNet, ``block1 …`` for
        repeated blocks and the blocks of a VGG, ``conv1, fc1 …`` for the activations of a plain net.

    Raises:
        ValueError: a name or module is not in the model, is given twice, or nothing in the model can be observed.
        TypeError: ``stages`` holds what is neither a name nor a module.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> [(s.name, s.path, s.numel) for s in find_stages(net)]
    [('fc1', '1', 40), ('head', '2', 18)]
    """
    tree = Tree(unwrap(model))
    if stages is not None:
        return _own(tree, look_up(tree, stages))
    return _build(tree, pick_stages(tree), needed=needed)


def assign_groups(stages: Sequence[Stage], groups: Sequence[Sequence[nn.Parameter]]) -> tuple[int | None, ...]:
    """For each stage, the index of the optimizer group that holds the largest share of its weights; None if none does.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> assign_groups(find_stages(net), [list(net[2].parameters()), list(net[0].parameters())])
    (1, 0)
    """
    group_of = {id(p): g for g, params in enumerate(groups) for p in params}
    found: list[int | None] = []
    for stage in stages:
        share: Counter[int] = Counter()
        for param in stage.params:
            if id(param) in group_of:
                share[group_of[id(param)]] += numel(param)
        found.append(max(sorted(share), key=lambda g, share=share: share[g]) if share else None)
    return tuple(found)


def stages_of_group(stages: Sequence[Stage], group: Sequence[nn.Parameter]) -> tuple[str, ...]:
    """Labels of the stages that have any weight in the group, in order.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> stages_of_group(find_stages(net), list(net[0].parameters()))
    ('fc1',)
    """
    ids = {id(p) for p in group}
    return tuple(s.name for s in stages if any(id(p) in ids for p in s.params))


def _build(tree: Tree, picks: Sequence[Pick], *, needed: bool) -> tuple[Stage, ...]:
    """Stages found by rule: each owns the weights from the former one's end to its own."""
    if needed and not picks:
        raise ValueError(
            f"found nothing to observe in {type(tree.modules[0]).__name__}: it has no activation module and no layer with "
            'weights. Name the submodules to observe, stages=["encoder", "decoder"], or watch its weights alone, '
            "sampling=Sampling(activations=0)"
        )
    stages, start = [], 0
    for pick in picks:
        params = tuple(tree.weights_in(start, pick.end))
        stages.append(Stage(name=pick.label, path=tree.paths[pick.at], module=tree.modules[pick.at], params=params))
        start = max(start, pick.end + 1)
    return tuple(stages)


def _own(tree: Tree, choices: Sequence[tuple[str, int]]) -> tuple[Stage, ...]:
    """Stages named by the user: each owns its own weights, or else those before it."""
    result, former = [], -1
    for label, i in choices:
        module = tree.modules[i]
        params = tuple(module.parameters()) or tuple(_weights_before(tree, i, former))
        result.append(Stage(name=label, path=tree.paths[i], module=module, params=params))
        former = max(former, tree.ends[i])
    return tuple(result)


def _weights_before(tree: Tree, index: int, former: int) -> list[nn.Parameter]:
    """Weights registered before a module without any, in its parent if there are some, and after the former stage."""
    parent = tree.index[id(_parent(tree, index))]
    return tree.weights_in(max(parent, former + 1), index) or tree.weights_in(former + 1, index)


def _parent(tree: Tree, index: int) -> nn.Module:
    return tree.modules[0].get_submodule(tree.paths[index].rpartition(".")[0])
