"""The user's own choice of stages: names and submodules, looked up in the model."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from adaptlr.measure.tree import Tree, unwrap

Choice = str | nn.Module
Stages = Choice | Sequence[Choice] | Mapping[str, Choice]


def look_up(tree: Tree, stages: Stages) -> list[tuple[str, int]]:
    """Label and index in ``tree.modules`` of each choice, in registration order.

    Raises ValueError for what is empty, not in the model, or given twice; see :func:`adaptlr.measure.stages.find_stages`.
    """
    if isinstance(stages, str | nn.Module):
        stages = [stages]
    pairs = list(stages.items()) if isinstance(stages, Mapping) else [(None, s) for s in stages]
    if not pairs:
        raise ValueError('stages is empty, so nothing would be observed. Name submodules: AdaptLR(stages=["layer1", "layer2"])')
    index_of = {path: tree.index[id(m)] for path, m in tree.modules[0].named_modules(remove_duplicate=False)}
    found = sorted((_index(tree, index_of, choice), label) for label, choice in pairs)
    indices = [i for i, _ in found]
    labels = [label or tree.paths[i] or "model" for i, label in found]
    for given in (labels, [tree.paths[i] for i in indices]):
        for name, times in Counter(given).items():
            if times > 1:
                raise ValueError(f"stages names {name!r} {times} times; name each submodule once")
    return list(zip(labels, indices, strict=True))


def _index(tree: Tree, index_of: Mapping[str, int], choice: Choice) -> int:
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
