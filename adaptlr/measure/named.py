"""The user's own choice of stages: names and submodules, looked up in the model."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from adaptlr.measure.tree import Tree, unwrap

Choice = str | nn.Module
Stages = Choice | Sequence[Choice] | Mapping[str, Choice]
_WANTED = "names or modules, or a mapping of label to either"


def look_up(tree: Tree, stages: Stages) -> list[tuple[str, int]]:
    """Label and index in ``tree.modules`` of each choice, in registration order.

    Raises ValueError for what is empty, not in the model, or given twice, and TypeError for what is neither a name nor a module:
    see :func:`adaptlr.measure.stages.find_stages`.
    """
    pairs = labelled(stages)
    if not pairs:
        raise ValueError('stages is empty, so nothing would be observed. Name submodules: stages=["layer1", "layer2"]')
    index_of = {path: tree.index[id(m)] for path, m in tree.modules[0].named_modules(remove_duplicate=False)}
    found = sorted((_index(tree, index_of, choice), label) for label, choice in pairs)
    indices = [i for i, _ in found]
    labels = [label or tree.paths[i] or "model" for i, label in found]
    for given in (labels, [tree.paths[i] for i in indices]):
        for name, times in Counter(given).items():
            if times > 1:
                raise ValueError(f"stages names {name!r} {times} times; name each submodule once")
    return list(zip(labels, indices, strict=True))


def labelled(stages: Stages) -> list[tuple[str | None, Choice]]:
    """Each choice with the label that it was given, if any.

    Raises:
        TypeError: there is something among them that is neither a name nor a module, or a label that is no text.
    """
    if isinstance(stages, str | nn.Module):
        return [(None, stages)]
    if not isinstance(stages, Iterable):
        raise TypeError(f"stages must be {_WANTED}, got {stages!r}")
    pairs: list[tuple[str | None, Choice]] = [*stages.items()] if isinstance(stages, Mapping) else [(None, s) for s in stages]
    for label, choice in pairs:
        if not (isinstance(choice, str | nn.Module) and isinstance(label, str | None)):
            raise TypeError(f"stages must be {_WANTED}, got {choice!r}{f' for {label!r}' if label is not None else ''} among them")
    return pairs


def _index(tree: Tree, index_of: Mapping[str, int], choice: Choice) -> int:
    if isinstance(choice, nn.Module):
        index = tree.index.get(id(unwrap(choice)))
        if index is None:
            raise ValueError(
                f"the {type(choice).__name__} given in stages is not a submodule of the model: pass the one that is in it"
            )
        return index
    if choice not in index_of:
        raise ValueError(f"the model has no submodule named {choice!r}.{_nearest(choice, list(filter(None, index_of)))}")
    return index_of[choice]


def _nearest(choice: str, names: Sequence[str]) -> str:
    """What to write in place of a name that there is none of."""
    if not names:
        return " It has no submodules"
    shown = 'To see all: print(model); a submodule within another is named as "layer1.0.conv1"'
    close = difflib.get_close_matches(choice, names, n=3, cutoff=0.5)
    if close:
        return f" Did you mean {' or '.join(map(repr, close))}? {shown}"
    nearest = difflib.get_close_matches(choice, names, n=5, cutoff=0.0)
    return f" The nearest that it has are {', '.join(map(repr, nearest))}. {shown}"
