"""The nouns that travel: measure writes readings, judge writes findings and decisions, act obeys, show draws.

All are frozen and keyword-only, hold plain numbers (no tensors) and import nothing beyond the standard library, so that a trace
written on one machine is read on any other. Fractions end in ``_frac`` and lie in [0, 1]. A number that was not measured is
``None``; a number that was measured and is not finite is kept as ``nan`` or ``inf``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Provenance(StrEnum):
    """Where a group's weights came from, as far as the weights tell."""

    RANDOM = "random"  # still distributed as a random initialisation
    TRAINED = "trained"  # carries structure that no random initialisation has
    MIXED = "mixed"  # trained, with a last layer that is still random: a new head
    UNKNOWN = "unknown"  # too few weights to tell

    @property
    def begins(self) -> bool:
        """Some of it has yet to learn anything at all."""
        return self in (Provenance.RANDOM, Provenance.MIXED)

    @property
    def has_learned(self) -> bool:
        """Some of it is worth keeping."""
        return self in (Provenance.TRAINED, Provenance.MIXED)


class Kind(StrEnum):
    """What a finding says is wrong."""

    NON_FINITE = "non-finite"  # a loss, a gradient or a weight is NaN or infinite
    BAD_BATCH = "bad batch"  # one batch far out of scale, which poisons what optimizer or normalisation remember
    DIVERGENCE = "divergence"  # the loss has left the range that it started in
    COLLAPSE = "collapse"  # activations have gone to zero and the loss is stuck at guessing
    TOO_HOT = "too hot"  # the updates are too large for the weights, and the loss agrees
    STARVED = "starved group"  # a group at its random initialisation that hardly moves, while others do
    TOO_COLD = "too cold"  # every group moves too little for the net to be trained in a sensible time
    RUINED = "ruined before"  # weights, or data, that were wrong when the run began: no learning rate mends that
    SHIFT = "data shift"  # the loss has leapt, and no update did that: the data has changed
    DECAY_DOMINATED = "decay-dominated"  # lr x weight decay shrinks the weights faster than the gradient shapes them


class Trait(StrEnum):
    """What a finding rests on, or is about, as far as that decides what is done."""

    STALLED = "stalled"  # a loss that does not fall is all that is held against the learning rate
    DYING = "dying"  # and units that die
    LOST = "lost"  # what had been learned is lost again
    REPLACED = "replaced"  # large updates have made other weights of these
    STUCK = "stuck"  # and the loss has not been lower since
    AT_START = "at the start"  # before any loss that was finite
    ALIVE = "alive"  # what is wrong does not keep the net from learning
    TO_LEARN = "to learn"  # some of the net is new
    STRAIGHT = "straight"  # it goes straight on: there is more of the way
    FAR = "far"  # all batches ask for what is far away, so that steps have to be large


class Action(StrEnum):
    """What a decision does."""

    HOLD = "hold"  # nothing: a warning only
    RESCALE = "rescale"  # change groups' learning-rate scales
    ROLLBACK = "roll back"  # restore a healthy snapshot, then change scales
    STOP = "stop"  # the budget is spent: say so, and leave the run alone from here on


@dataclass(frozen=True, kw_only=True, slots=True)
class StageReading:
    """One stage's activations in one training step, from a sample of them.

    Three definitions of "near zero" are in use and disagree; each has its exact name here. ``quiet_frac`` is the detectors' own:
    it is relative to the stage's RMS, so that it does not depend on the scale that an architecture happens to have.
    """

    name: str  # short label, "conv2_x"
    path: str  # qualified name of the module in the model, "layer1"
    group: int | None  # optimizer group that holds the stage's weights (the largest share); None if none does
    n: int  # activations sampled
    mean: float
    std: float
    rms: float
    quiet_frac: float  # |a| <= 1e-2 x rms of the stage; exactly 1 when all are zero
    near_zero_seed_frac: float  # histc(40, 0, 10) of the signed values: first two bins over the in-range total (fastai v1)
    near_zero_fastai_frac: float  # a <= 0.05, so every negative counts (fastai v2)
    near_zero_miniai_frac: float  # first of 40 bins of |a| on 0..10 (miniai)
    negative_frac: float
    over_range_frac: float  # |a| above the histogram's upper edge
    nonfinite_frac: float
    dormant_frac: float | None  # units whose mean |a| is at most 0.025 of the layer's mean (Sokar et al. 2023)
    hist: tuple[int, ...]  # counts of |a| in equal bins over [0, hist_max]
    hist_max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupReading:
    """One optimizer parameter group in one optimizer step, from sampled coordinates of its weights of two or more dimensions."""

    index: int
    stages: tuple[str, ...]  # short labels of the stages whose weights are in it
    lr: float  # scheduled, as the user's code wrote it
    scale: float  # adaptlr's multiplier in this step; effective lr = lr * scale
    weight_decay: float
    frozen: bool  # no weight of it received a gradient
    update_ratio: float | None  # ||w after - w before|| / ||w before||, of this step alone; of weights near 0, see measure.weights
    travel: float | None  # ||w after - w at start|| / ||w before||; the start is that of the run, or of the newest change of scales
    weight_rms: float | None
    grad_rms: float | None
    grad_agreement: float | None  # cosine of this step's sampled gradient with the last one's, in [-1, 1]
    distance_index: float | None  # rho = u / (d a): step over the distance estimate; small means too cold: adaptlr.measure.weights
    nonfinite: bool  # a sampled weight or gradient is NaN or infinite
    provenance: Provenance

    @property
    def effective_lr(self) -> float:
        return self.lr * self.scale

    @property
    def lr_weight_decay(self) -> float:
        """Share of a weight that decoupled weight decay removes in a step."""
        return self.effective_lr * self.weight_decay


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """All that was measured in one optimizer step. ``step`` counts steps from 0 and never goes back, after a rollback neither."""

    step: int
    loss: float
    epoch: float | None = None  # fractional, where the loop knows it
    stages: tuple[StageReading, ...] = ()  # empty on steps on which activations were not sampled
    groups: tuple[GroupReading, ...] = ()
    norm_var: float | None = None  # mean running variance of the net's first normalisation, if it keeps one
    skipped: int = 0  # batches in a row whose steps a GradScaler skipped, if this stands for them: no step was made


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong, with the numbers that say so and one sentence that a person understands."""

    step: int
    kind: Kind
    groups: tuple[int, ...]
    stages: tuple[str, ...]
    message: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    advice: str | None = None  # what to write in the code instead, next time, where that is only watched
    traits: tuple[Trait, ...] = ()

    def __str__(self) -> str:
        return _sentence(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What was done about one or more findings."""

    step: int
    action: Action
    scales_before: tuple[float, ...]
    scales_after: tuple[float, ...]
    message: str
    findings: tuple[Kind, ...] = ()
    restored_step: int | None = None  # the optimizer step whose beginning was restored
    advice: str | None = None  # what to write in the code instead, next time

    def __str__(self) -> str:
        return _sentence(self)


def _sentence(record: Finding | Decision) -> str:
    """What it says to the user, with what to write next time."""
    return f"{record.message}. {record.advice}" if record.advice else record.message


Record = Reading | Finding | Decision


def to_dict(record: Record) -> dict[str, Any]:
    """The record as plain containers for JSON, without its type.

    >>> to_dict(Finding(step=3, kind=Kind.TOO_HOT, groups=(0,), stages=(), message="m"))["step"]
    3
    """
    return dataclasses.asdict(record)


def reading_from_dict(data: Mapping[str, Any]) -> Reading:
    """The inverse of :func:`to_dict` for a reading; raises TypeError or KeyError if fields are missing or unknown."""
    stages = tuple(StageReading(**{**s, "hist": tuple(s["hist"])}) for s in data["stages"])
    groups = tuple(
        GroupReading(**{**g, "stages": tuple(g["stages"]), "provenance": Provenance(g["provenance"])}) for g in data["groups"]
    )
    return Reading(**{**data, "stages": stages, "groups": groups})


def finding_from_dict(data: Mapping[str, Any]) -> Finding:
    """The inverse of :func:`to_dict` for a finding."""
    return Finding(
        **{
            **data,
            "kind": Kind(data["kind"]),
            "groups": tuple(data["groups"]),
            "stages": tuple(data["stages"]),
            "traits": tuple(Trait(t) for t in data.get("traits", ())),
        }
    )


def decision_from_dict(data: Mapping[str, Any]) -> Decision:
    """The inverse of :func:`to_dict` for a decision."""
    return Decision(
        **{
            **data,
            "action": Action(data["action"]),
            "findings": tuple(Kind(k) for k in data["findings"]),
            "scales_before": tuple(data["scales_before"]),
            "scales_after": tuple(data["scales_after"]),
        }
    )
