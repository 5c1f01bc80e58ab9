"""Methods by name: the user's own loop, adaptlr, and its peers, each from its own package and on its own terms."""

from __future__ import annotations

from experiments.gauntlet.methods.ablation import ABLATIONS
from experiments.gauntlet.methods.adapt import AdaptLR, Blind, Watch
from experiments.gauntlet.methods.auto_trainer import AutoTrainer
from experiments.gauntlet.methods.base import Event, Events, Plain
from experiments.gauntlet.methods.clip import Clip
from experiments.gauntlet.methods.lr_find import LRFind
from experiments.gauntlet.methods.parameter_free import DAdaptation, DoG, Prodigy
from experiments.gauntlet.methods.plateau import Plateau
from experiments.gauntlet.methods.schedule_free import ScheduleFree, ScheduleFreeDefault

METHODS: dict[str, type[Plain]] = {
    m.name: m
    for m in (
        Plain,
        AdaptLR,
        Blind,
        Watch,
        Plateau,
        Clip,
        LRFind,
        Prodigy,
        DAdaptation,
        DoG,
        ScheduleFree,
        ScheduleFreeDefault,
        AutoTrainer,
        *ABLATIONS,
    )
}

__all__ = ["METHODS", "Event", "Events", "Plain"]
