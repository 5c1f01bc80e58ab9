"""Short runs made by hand, for the rules to look at: a loss and an update ratio a step, and whatever else a test needs to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adaptlr.judge.detect import observe
from adaptlr.judge.history import History
from adaptlr.judge.outlook import Outlook
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Finding, GroupReading, Provenance, Reading, StageReading


def group(
    index: int = 0,
    *,
    ratio: float | None = 0.01,
    lr: float = 1e-3,
    scale: float = 1.0,
    decay: float = 0.0,
    frozen: bool = False,
    grad: float | None = 1.0,
    rho: float | None = 1.0,
    nonfinite: bool = False,
    agreement: float = 0.0,
    provenance: Provenance = Provenance.RANDOM,
    stages: tuple[str, ...] = (),
) -> GroupReading:
    return GroupReading(
        index=index,
        stages=stages,
        lr=lr,
        scale=scale,
        weight_decay=decay,
        frozen=frozen,
        update_ratio=None if frozen else ratio,
        travel=0.1,
        weight_rms=0.05,
        grad_rms=None if frozen else grad,
        grad_agreement=agreement,
        distance_index=rho,
        nonfinite=nonfinite,
        provenance=provenance,
    )


def stage(name: str = "conv1", *, quiet: float = 0.5, dormant: float = 0.0) -> StageReading:
    return StageReading(
        name=name,
        path=name,
        group=0,
        n=1024,
        mean=0.5,
        std=0.5,
        rms=0.7,
        quiet_frac=quiet,
        near_zero_seed_frac=quiet,
        near_zero_fastai_frac=quiet,
        near_zero_miniai_frac=quiet,
        negative_frac=0.0,
        over_range_frac=0.0,
        nonfinite_frac=0.0,
        dormant_frac=dormant,
        hist=(1024,),
        hist_max=10.0,
    )


def reading(step: int, loss: float, *groups: GroupReading, stages: tuple[StageReading, ...] = ()) -> Reading:
    return Reading(step=step, loss=loss, groups=groups or (group(),), stages=stages)


def play(
    readings: Iterable[Reading], limits: Thresholds | None = None, *, outlook: Outlook | None = None
) -> tuple[History, list[tuple[Finding, ...]]]:
    """The history after all readings, and the findings of each."""
    history, out = History(outlook=outlook or Outlook()), []
    for r in readings:
        history, findings = observe(history, r, limits or Thresholds())
        out.append(findings)
    return history, out


def simple(losses: Sequence[float], ratios: Sequence[float] | float = 0.01) -> list[Reading]:
    """One group; the last ratio goes on where there are fewer ratios than losses."""
    many = [ratios] if isinstance(ratios, int | float) else list(ratios)
    return [reading(i, x, group(ratio=many[min(i, len(many) - 1)])) for i, x in enumerate(losses)]


def kinds(found: Sequence[tuple[Finding, ...]]) -> dict[int, list[str]]:
    """Step -> kinds, for the steps on which anything was found."""
    return {i: [str(f.kind) for f in fs] for i, fs in enumerate(found) if fs}
