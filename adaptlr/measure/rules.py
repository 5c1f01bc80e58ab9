"""Rules that find a model's stages, from the most to the least specific; none needs a model library to be installed.

Each rule returns its picks in order, or nothing where it does not apply.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from torch import nn

from adaptlr.measure.kinds import (
    CONTAINERS,
    CONVS,
    POOLS,
    RECURRENT,
    WEIGHTED,
    are_blocks,
    has_weights,
    is_activation,
    numel,
)
from adaptlr.measure.tree import Pick, Tree

MAX_STAGES = 12  # of a long row of blocks or activations, this many are observed, first and last included
MIN_BULK_FRAC = 0.25  # rows of blocks with a smaller share of the weights are a detail (one branch of an Inception block)
MAX_HEAD_ACTIVATIONS = 6  # a head may be a whole decoder

T = TypeVar("T")


def pick_stages(tree: Tree) -> list[Pick]:
    """The picks of the first rule that applies, with a head for the weights after them; none if nothing can be observed."""
    for rule in (_staged, _recurrent, _pooled, _plain, _repeated, _any):
        picks = rule(tree)
        if picks:
            return _with_head(tree, picks)
    return _with_head(tree, [])


def _staged(tree: Tree) -> list[Pick]:
    """ResNets and their kin: a stem, then two or more Sequentials each of one kind of block."""
    for parent in tree.modules:
        rows = [tree.index[id(c)] for c in parent.children() if _is_row(c)]
        if len(rows) >= 2 and _is_bulk(tree, rows):
            break
    else:
        return []
    first, last = rows[0], tree.ends[rows[-1]]
    is_resnet = len(rows) <= 4 and all(any(isinstance(m, CONVS) for m in tree.modules[i].modules()) for i in rows)
    stem = tree.activations(0, first - 1) or tree.leaves_in(0, first - 1, has_weights)
    picks = [Pick("conv1" if is_resnet else "stem", stem[-1], first - 1)] if stem else []
    picks += [tree.pick(f"conv{n + 2}_x" if is_resnet else f"stage{n + 1}", i) for n, i in enumerate(rows)]
    tail = _thin(tree.activations(last + 1), MAX_HEAD_ACTIVATIONS)
    picks += [tree.pick("head" if i == tail[-1] else f"head{n + 1}", i) for n, i in enumerate(tail)]
    if tail:  # what is left belongs to the last hidden activation of the head
        picks[-1] = picks[-1]._replace(end=len(tree.modules))
    return picks


def _recurrent(tree: Tree) -> list[Pick]:
    """LSTM, GRU and RNN modules, with the activations around them."""
    rnns = tree.leaves_in(0, len(tree.modules), lambda m: isinstance(m, RECURRENT))
    if not rnns:
        return []
    chosen = _thin(sorted({*rnns, *tree.activations()}), MAX_STAGES)
    return _with_stem(tree, [tree.pick(label, i) for label, i in zip(_labels(tree, chosen), chosen, strict=True)])


def _pooled(tree: Tree) -> list[Pick]:
    """VGG-likes: blocks of convolutions between two or more pools, then a classifier."""
    convs = tree.leaves_in(0, len(tree.modules), lambda m: isinstance(m, CONVS))
    pools = tree.leaves_in(0, len(tree.modules), lambda m: isinstance(m, POOLS))
    if not (_is_plain(tree) and convs and len(pools) >= 2):
        return []
    linears = tree.leaves_in(convs[-1], len(tree.modules), lambda m: isinstance(m, nn.Linear))
    stop = linears[0] if linears else len(tree.modules)
    picks: list[Pick] = []
    start = 0
    for pool in [*(p for p in pools if p < stop), stop]:
        block = tree.activations(start, pool - 1) or [i for i in convs if start <= i < pool]
        if block:
            picks.append(tree.pick(f"block{len(picks) + 1}", block[-1]))
        start = pool
    classifier = _thin(tree.activations(stop), MAX_HEAD_ACTIVATIONS)
    return picks + [tree.pick(f"fc{n + 1}", i) for n, i in enumerate(classifier)]


def _plain(tree: Tree) -> list[Pick]:
    """Nets made of Sequentials alone: each activation, or without any each weighted layer but the last."""
    if not _is_plain(tree):
        return []
    chosen = tree.activations() or tree.leaves_in(0, len(tree.modules), lambda m: isinstance(m, WEIGHTED))[:-1]
    chosen = _thin(chosen, MAX_STAGES)
    return [tree.pick(label, i) for label, i in zip(_labels(tree, chosen), chosen, strict=True)]


def _repeated(tree: Tree) -> list[Pick]:
    """Transformers, and all else that is a row of blocks of one kind; the outermost rows are taken."""
    rows: list[list[int]] = []
    i = 0
    while i < len(tree.modules):
        children = list(tree.modules[i].children())
        if isinstance(tree.modules[i], nn.ModuleList | nn.Sequential) and len(children) >= 2 and are_blocks(children):
            rows.append([tree.index[id(c)] for c in children])
            i = tree.ends[i]
        i += 1
    if not _is_bulk(tree, [i for row in rows for i in row]):
        return []
    numbered = [(f"block{n + 1}" if len(rows) == 1 else tree.paths[i], i) for row in rows for n, i in enumerate(row)]
    return _with_stem(tree, [tree.pick(label, i) for label, i in _thin(numbered, MAX_STAGES)])


def _any(tree: Tree) -> list[Pick]:
    """Anything: activation modules, else leaves with weights (the last of them is the head), by their paths."""
    found = tree.activations() or tree.leaves_in(0, len(tree.modules), has_weights)[:-1]
    return [tree.pick(tree.paths[i] or "head", i) for i in _thin(found, MAX_STAGES)]


def _with_stem(tree: Tree, picks: list[Pick]) -> list[Pick]:
    """Weights before the first block are not the block's: they get a stage at the largest of their layers (the embedding)."""
    before = tree.leaves_in(0, picks[0].at - 1, has_weights) if picks else []
    if not before or is_activation(tree.modules[picks[0].at]):
        return picks
    largest = max(before, key=lambda i: sum(map(numel, tree.modules[i].parameters())))
    return [Pick("stem", largest, picks[0].at - 1), *picks]


def _with_head(tree: Tree, picks: list[Pick]) -> list[Pick]:
    """Weights after the last stage get one at the last of their layers; its output is the logits, as a rule."""
    end = picks[-1].end if picks else -1
    after = tree.leaves_in(end + 1, len(tree.modules), has_weights)
    left = tree.weights_in(end + 1, len(tree.modules))
    if after and left:
        return [*picks, Pick("head", after[-1], len(tree.modules))]
    return [*picks[:-1], picks[-1]._replace(end=len(tree.modules))] if picks else []


def _is_plain(tree: Tree) -> bool:
    """No module of its own but the root: the order of the layers is the order of the computation."""
    known = {0, *tree.leaves, *tree.hidden}
    return all(i in known or isinstance(m, CONTAINERS) or not has_weights(m) for i, m in enumerate(tree.modules))


def _is_bulk(tree: Tree, indices: Sequence[int]) -> bool:
    """The modules hold a fair share of the weights, embeddings and linear heads aside: they are no detail of a larger net."""
    inside = sum(sum(map(numel, tree.modules[i].parameters())) for i in indices)
    aside = {j for i in indices for j in range(i, tree.ends[i] + 1)}
    outside = sum(numel(p) for i, p in tree.owned if i not in aside and not isinstance(tree.modules[i], nn.Linear | nn.Embedding))
    return inside > 0 and inside >= MIN_BULK_FRAC * (inside + outside)


def _is_row(module: nn.Module) -> bool:
    children = list(module.children())
    if not isinstance(module, nn.Sequential) or not children or not are_blocks(children):
        return False
    return not isinstance(children[0], nn.Sequential)


def _labels(tree: Tree, chosen: Sequence[int]) -> list[str]:
    """conv1, conv2, fc1, rnn1 …: after the weighted layer that each one follows."""
    count: Counter[str] = Counter()
    labels = []
    for i in chosen:
        before = tree.leaves_in(0, i, lambda m: isinstance(m, (*WEIGHTED, *RECURRENT)))
        layer = tree.modules[before[-1]] if before else None
        kind = "conv" if isinstance(layer, CONVS) else "rnn" if isinstance(layer, RECURRENT) else "fc" if layer else "act"
        count[kind] += 1
        labels.append(f"{kind}{count[kind]}")
    return labels


def _thin(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of the items, evenly spread, first and last included."""
    if len(items) <= most:
        return list(items)
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]
