"""Which submodules are observed, which weights belong to each, and which optimizer group holds those weights.

Modules are taken in the order in which they are registered, as the order in which they run: a stage owns the weights that are
registered after the former stage and up to its own end, so that the ReLU after ``bn1`` owns ``conv1`` and ``bn1``. Rules are
tried from the most to the least specific, and none needs a model library to be installed.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from torch import nn
from torch.nn.parameter import is_lazy

MAX_STAGES = 12  # of a long row of blocks or activations, this many are observed, first and last included
MIN_BULK_FRAC = 0.25  # rows of blocks with a smaller share of the weights are a detail (one branch of an Inception block)
MAX_HEAD_ACTIVATIONS = 6  # a head may be a whole decoder

T = TypeVar("T")
Choice = str | nn.Module
Stages = Choice | Sequence[Choice] | Mapping[str, Choice]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WEIGHTED = (*_CONVS, nn.Linear, nn.Bilinear)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ATOMS = (*_WEIGHTED, *_RECURRENT, *_NORMS, nn.Embedding, nn.EmbeddingBag, nn.MultiheadAttention)  # never looked into
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.GLU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Threshold),
)
_GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.LogSigmoid)  # mostly gates and outputs: observed only where there is nothing else
_ACTIVATION_WORDS = ("relu", "gelu", "silu", "swish", "mish", "snake", "activation")  # classes of other packages


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """An observed submodule and the weights whose work shows in its output."""

    name: str  # short label, "conv2_x"
    path: str  # qualified name in the unwrapped model, "layer1"
    module: nn.Module
    params: tuple[nn.Parameter, ...]  # each parameter of a model found by rule is in one stage at most

    @property
    def numel(self) -> int:
        return sum(map(_numel, self.params))


class _Pick(NamedTuple):
    label: str
    at: int  # of the module in _Tree.modules
    end: int  # last module whose weights belong to it


class _Tree:
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
            if isinstance(module, _ATOMS):
                inside = self.ends[i]
                self.leaves.append(i)
            elif self.ends[i] == i:
                self.leaves.append(i)

    def pick(self, label: str, index: int) -> _Pick:
        return _Pick(label, index, self.ends[index])

    def weights_in(self, first: int, last: int) -> list[nn.Parameter]:
        return [p for i, p in self.owned if first <= i <= last]

    def leaves_in(self, first: int, last: int, keep: Callable[[nn.Module], bool]) -> list[int]:
        return [i for i in self.leaves if first <= i <= last and keep(self.modules[i])]

    def activations(self, first: int = 0, last: int | None = None) -> list[int]:
        last = len(self.modules) if last is None else last
        return self.leaves_in(first, last, _is_activation) or self.leaves_in(first, last, lambda m: isinstance(m, _GATES))


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


def find_stages(model: nn.Module, stages: Stages | None = None) -> tuple[Stage, ...]:
    """The submodules of ``model`` to observe, by rule or as named.

    Args:
        model: any module; wrappers (see :func:`unwrap`) are looked through, and names are those of the model inside.
        stages: qualified names or submodules, or a mapping from labels to them. A submodule with weights owns its own; one
            without (a ReLU) owns those that come before it in its parent and belong to no earlier stage.

    Returns:
        The stages in registration order; by rule, labels are ``conv1, conv2_x … conv5_x, head`` for a ResNet, ``block1 …`` for
        repeated blocks and the blocks of a VGG, ``conv1, fc1 …`` for the activations of a plain net.

    Raises:
        ValueError: a name or module is not in the model, is given twice, or nothing in the model can be observed.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> [(s.name, s.path, s.numel) for s in find_stages(net)]
    [('fc1', '1', 40), ('head', '2', 18)]
    """
    tree = _Tree(unwrap(model))
    if stages is not None:
        return _chosen(tree, stages)
    for rule in (_staged, _recurrent, _pooled, _plain, _repeated, _any):
        picks = rule(tree)
        if picks:
            return _build(tree, _with_head(tree, picks))
    return _build(tree, _with_head(tree, []))


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
                share[group_of[id(param)]] += _numel(param)
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


# Rules: each returns the picks in order, or nothing where it does not apply.


def _staged(tree: _Tree) -> list[_Pick]:
    """ResNets and their kin: a stem, then two or more Sequentials each of one kind of block."""
    for parent in tree.modules:
        rows = [tree.index[id(c)] for c in parent.children() if _is_row(c)]
        if len(rows) >= 2 and _is_bulk(tree, rows):
            break
    else:
        return []
    first, last = rows[0], tree.ends[rows[-1]]
    is_resnet = len(rows) <= 4 and all(any(isinstance(m, _CONVS) for m in tree.modules[i].modules()) for i in rows)
    stem = tree.activations(0, first - 1) or tree.leaves_in(0, first - 1, _has_weights)
    picks = [_Pick("conv1" if is_resnet else "stem", stem[-1], first - 1)] if stem else []
    picks += [tree.pick(f"conv{n + 2}_x" if is_resnet else f"stage{n + 1}", i) for n, i in enumerate(rows)]
    tail = _thin(tree.activations(last + 1), MAX_HEAD_ACTIVATIONS)
    picks += [tree.pick("head" if i == tail[-1] else f"head{n + 1}", i) for n, i in enumerate(tail)]
    if tail:  # what is left belongs to the last hidden activation of the head
        picks[-1] = picks[-1]._replace(end=len(tree.modules))
    return picks


def _recurrent(tree: _Tree) -> list[_Pick]:
    """LSTM, GRU and RNN modules, with the activations around them."""
    rnns = tree.leaves_in(0, len(tree.modules), lambda m: isinstance(m, _RECURRENT))
    if not rnns:
        return []
    chosen = _thin(sorted({*rnns, *tree.activations()}), MAX_STAGES)
    return _with_stem(tree, [tree.pick(label, i) for label, i in zip(_labels(tree, chosen), chosen, strict=True)])


def _pooled(tree: _Tree) -> list[_Pick]:
    """VGG-likes: blocks of convolutions between two or more pools, then a classifier."""
    convs = tree.leaves_in(0, len(tree.modules), lambda m: isinstance(m, _CONVS))
    pools = tree.leaves_in(0, len(tree.modules), lambda m: isinstance(m, _POOLS))
    if not (_is_plain(tree) and convs and len(pools) >= 2):
        return []
    linears = tree.leaves_in(convs[-1], len(tree.modules), lambda m: isinstance(m, nn.Linear))
    stop = linears[0] if linears else len(tree.modules)
    picks: list[_Pick] = []
    start = 0
    for pool in [*(p for p in pools if p < stop), stop]:
        block = tree.activations(start, pool - 1) or [i for i in convs if start <= i < pool]
        if block:
            picks.append(tree.pick(f"block{len(picks) + 1}", block[-1]))
        start = pool
    classifier = _thin(tree.activations(stop), MAX_HEAD_ACTIVATIONS)
    return picks + [tree.pick(f"fc{n + 1}", i) for n, i in enumerate(classifier)]


def _plain(tree: _Tree) -> list[_Pick]:
    """Nets made of Sequentials alone: each activation, or without any each weighted layer but the last."""
    if not _is_plain(tree):
        return []
    chosen = tree.activations() or tree.leaves_in(0, len(tree.modules), lambda m: isinstance(m, _WEIGHTED))[:-1]
    chosen = _thin(chosen, MAX_STAGES)
    return [tree.pick(label, i) for label, i in zip(_labels(tree, chosen), chosen, strict=True)]


def _repeated(tree: _Tree) -> list[_Pick]:
    """Transformers, and all else that is a row of blocks of one kind; the outermost rows are taken."""
    rows: list[list[int]] = []
    i = 0
    while i < len(tree.modules):
        children = list(tree.modules[i].children())
        if isinstance(tree.modules[i], nn.ModuleList | nn.Sequential) and len(children) >= 2 and _are_blocks(children):
            rows.append([tree.index[id(c)] for c in children])
            i = tree.ends[i]
        i += 1
    if not _is_bulk(tree, [i for row in rows for i in row]):
        return []
    numbered = [(f"block{n + 1}" if len(rows) == 1 else tree.paths[i], i) for row in rows for n, i in enumerate(row)]
    return _with_stem(tree, [tree.pick(label, i) for label, i in _thin(numbered, MAX_STAGES)])


def _any(tree: _Tree) -> list[_Pick]:
    """Anything: activation modules, else leaves with weights (the last of them is the head), by their paths."""
    found = tree.activations() or tree.leaves_in(0, len(tree.modules), _has_weights)[:-1]
    return [tree.pick(tree.paths[i] or "head", i) for i in _thin(found, MAX_STAGES)]


def _with_stem(tree: _Tree, picks: list[_Pick]) -> list[_Pick]:
    """Weights before the first block are not the block's: they get a stage at the largest of their layers (the embedding)."""
    before = tree.leaves_in(0, picks[0].at - 1, _has_weights) if picks else []
    if not before or _is_activation(tree.modules[picks[0].at]):
        return picks
    largest = max(before, key=lambda i: sum(map(_numel, tree.modules[i].parameters())))
    return [_Pick("stem", largest, picks[0].at - 1), *picks]


def _with_head(tree: _Tree, picks: list[_Pick]) -> list[_Pick]:
    """Weights after the last stage get one at the last of their layers; its output is the logits, as a rule."""
    end = picks[-1].end if picks else -1
    after = tree.leaves_in(end + 1, len(tree.modules), _has_weights)
    left = tree.weights_in(end + 1, len(tree.modules))
    if after and left:
        return [*picks, _Pick("head", after[-1], len(tree.modules))]
    return [*picks[:-1], picks[-1]._replace(end=len(tree.modules))] if picks else []


def _build(tree: _Tree, picks: Sequence[_Pick]) -> tuple[Stage, ...]:
    if not picks:
        raise ValueError(
            f"found nothing to observe in {type(tree.modules[0]).__name__}: it has no activation module and no layer with "
            'weights. Name the submodules to observe: AdaptLR(stages=["encoder", "decoder"])'
        )
    stages, start = [], 0
    for pick in picks:
        params = tuple(tree.weights_in(start, pick.end))
        stages.append(Stage(name=pick.label, path=tree.paths[pick.at], module=tree.modules[pick.at], params=params))
        start = max(start, pick.end + 1)
    return tuple(stages)


# The user's own choice.


def _chosen(tree: _Tree, stages: Stages) -> tuple[Stage, ...]:
    if isinstance(stages, str | nn.Module):
        stages = [stages]
    pairs = list(stages.items()) if isinstance(stages, Mapping) else [(None, s) for s in stages]
    if not pairs:
        raise ValueError('stages is empty, so nothing would be observed. Name submodules: AdaptLR(stages=["layer1", "layer2"])')
    index_of = {path: tree.index[id(m)] for path, m in tree.modules[0].named_modules(remove_duplicate=False)}
    found = sorted((_lookup(tree, index_of, choice), label) for label, choice in pairs)
    indices = [i for i, _ in found]
    labels = [label or tree.paths[i] or "model" for i, label in found]
    for given in (labels, [tree.paths[i] for i in indices]):
        for name, times in Counter(given).items():
            if times > 1:
                raise ValueError(f"stages names {name!r} {times} times; name each submodule once")
    result, former = [], -1
    for label, i in zip(labels, indices, strict=True):
        module = tree.modules[i]
        params = tuple(module.parameters()) or tuple(_weights_before(tree, i, former))
        result.append(Stage(name=label, path=tree.paths[i], module=module, params=params))
        former = max(former, tree.ends[i])
    return tuple(result)


def _lookup(tree: _Tree, index_of: Mapping[str, int], choice: Choice) -> int:
    if isinstance(choice, nn.Module):
        index = tree.index.get(id(unwrap(choice)))
        if index is None:
            raise ValueError(
                f"the {type(choice).__name__} given in stages is not a submodule of the model: pass the one that is in it"
            )
        return index
    if choice not in index_of:
        close = difflib.get_close_matches(choice, filter(None, index_of), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(
            f"the model has no submodule named {choice!r}.{hint} To list the names: [name for name, _ in model.named_modules()]"
        )
    return index_of[choice]


def _weights_before(tree: _Tree, index: int, former: int) -> list[nn.Parameter]:
    """Weights registered before a module without any, in its parent if there are some, and after the former stage."""
    parent = tree.index[id(_parent(tree, index))]
    return tree.weights_in(max(parent, former + 1), index) or tree.weights_in(former + 1, index)


def _parent(tree: _Tree, index: int) -> nn.Module:
    return tree.modules[0].get_submodule(tree.paths[index].rpartition(".")[0])


# Small questions about modules.


def _numel(param: nn.Parameter) -> int:
    return 0 if is_lazy(param) else param.numel()  # a lazy layer has no size before its first forward pass


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _is_activation(module: nn.Module) -> bool:
    if isinstance(module, _ACTIVATIONS):
        return True
    word = type(module).__name__.lower()
    return not _has_weights(module) and next(module.children(), None) is None and any(w in word for w in _ACTIVATION_WORDS)


def _is_plain(tree: _Tree) -> bool:
    """No module of its own but the root: the order of the layers is the order of the computation."""
    known = {0, *tree.leaves, *tree.hidden}
    return all(i in known or isinstance(m, _CONTAINERS) or not _has_weights(m) for i, m in enumerate(tree.modules))


def _are_blocks(children: Sequence[nn.Module]) -> bool:
    """One class, with weights and with an inside."""
    return len({type(c) for c in children}) == 1 and all(
        _has_weights(c) and not isinstance(c, _ATOMS) and next(c.children(), None) is not None for c in children
    )


def _is_bulk(tree: _Tree, indices: Sequence[int]) -> bool:
    """The modules hold a fair share of the weights, embeddings and linear heads aside: they are no detail of a larger net."""
    inside = sum(sum(map(_numel, tree.modules[i].parameters())) for i in indices)
    aside = {j for i in indices for j in range(i, tree.ends[i] + 1)}
    outside = sum(_numel(p) for i, p in tree.owned if i not in aside and not isinstance(tree.modules[i], nn.Linear | nn.Embedding))
    return inside > 0 and inside >= MIN_BULK_FRAC * (inside + outside)


def _is_row(module: nn.Module) -> bool:
    children = list(module.children())
    if not isinstance(module, nn.Sequential) or not children or not _are_blocks(children):
        return False
    return not isinstance(children[0], nn.Sequential)


def _labels(tree: _Tree, chosen: Sequence[int]) -> list[str]:
    """conv1, conv2, fc1, rnn1 …: after the weighted layer that each one follows."""
    count: Counter[str] = Counter()
    labels = []
    for i in chosen:
        before = tree.leaves_in(0, i, lambda m: isinstance(m, (*_WEIGHTED, *_RECURRENT)))
        layer = tree.modules[before[-1]] if before else None
        kind = "conv" if isinstance(layer, _CONVS) else "rnn" if isinstance(layer, _RECURRENT) else "fc" if layer else "act"
        count[kind] += 1
        labels.append(f"{kind}{count[kind]}")
    return labels


def _thin(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of the items, evenly spread, first and last included."""
    if len(items) <= most:
        return list(items)
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]
