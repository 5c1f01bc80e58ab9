"""A made-up run that looks like a real one: a ResNet of 5 stages in 3 groups under one-cycle, dead by step 60 and brought back."""

from __future__ import annotations

import math

import numpy as np

from adaptlr.records import Action, Decision, Finding, GroupReading, Kind, Provenance, Reading, StageReading
from adaptlr.trace import Trace

STAGES = ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x")
GROUP_OF = {"conv1": 0, "conv2_x": 0, "conv3_x": 0, "conv4_x": 1, "conv5_x": 2}
COLLAPSE_STEP = 60  # the first step after the rollback
RAISE_STEP = 66
CUT = 1 / 300


def fake_trace(*, steps: int = 200, every: int = 2, lr_max: float = 1.0, cured: bool = True, path: str | None = None) -> Trace:
    """``every``: stages are sampled on each n-th step only. ``cured=False``: the same run without a rollback, dead to the end."""
    rng = np.random.default_rng(0)
    trace = Trace(path, {"lr": lr_max, "seed": 0}, stages=STAGES)
    progress = 0.0  # healthy training done so far
    for step in range(steps):
        scale = CUT if cured and step >= COLLAPSE_STEP else 1.0
        scales = (scale * (10 if cured and step > RAISE_STEP else 1), scale, scale)
        sickness = 0.0 if scale < 1 else min(max((step - 40) / 15, 0.0), 1.0)
        progress = 0.0 if step == COLLAPSE_STEP and cured else progress + (1 - sickness) / steps
        lr = one_cycle(step, steps, lr_max)
        trace.append(
            Reading(
                step=step,
                loss=_loss(rng, progress, sickness),
                epoch=step / 64,
                stages=tuple(_stage(rng, i, progress, sickness) for i in range(5)) if step % every == 0 else (),
                groups=tuple(_group(rng, i, lr * 4.0 ** (i - 2), scales[i], sickness) for i in range(3)),
            )
        )
        if step == COLLAPSE_STEP - 1:
            _collapse(trace, step, cured)
        if cured and step == RAISE_STEP:
            trace.append(
                Decision(
                    step=step,
                    action=Action.RESCALE,
                    scales_before=(CUT,) * 3,
                    scales_after=(CUT * 10, CUT, CUT),
                    message="Group 0 (conv1, conv2_x, conv3_x) is at its random start and hardly moves: its learning rate x10.",
                    findings=(Kind.STARVED,),
                )
            )
    return trace


def one_cycle(step: int, steps: int, lr_max: float) -> float:
    up = 0.25 * steps
    if step < up:
        return lr_max * (1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / up)) / 2)
    return lr_max * max((1 + math.cos(math.pi * (step - up) / (steps - up))) / 2, 1e-5)


def _collapse(trace: Trace, step: int, cured: bool) -> None:
    trace.append(
        Finding(
            step=step,
            kind=Kind.COLLAPSE,
            groups=(1, 2),
            stages=("conv4_x", "conv5_x"),
            message="conv4_x and conv5_x have gone to zero (98% near zero, 45% when healthy), and the loss is that of guessing.",
            evidence={"quiet_frac": 0.98, "baseline_frac": 0.45, "loss": 2.303, "update_ratio": 6.1},
        )
    )
    trace.append(
        Decision(
            step=step,
            action=Action.ROLLBACK if cured else Action.HOLD,
            scales_before=(1.0,) * 3,
            scales_after=(CUT,) * 3 if cured else (1.0,) * 3,
            message="Went back to step 0 and divided every learning rate by 300."
            if cured
            else "Warned only: adaptlr was told not to act.",
            findings=(Kind.COLLAPSE,),
            restored_step=0 if cured else None,
            advice="fit_one_cycle(4, lr_max=3e-3)",
        )
    )


def _loss(rng: np.random.Generator, progress: float, sickness: float) -> float:
    healthy = 0.35 + 1.95 * math.exp(-5 * progress) + 0.08 * rng.normal() * math.exp(-2 * progress)
    hump = 8 * sickness * (1 - sickness)
    return float((1 - sickness) * healthy + sickness * 2.303 + hump * abs(rng.normal()) + 0.01 * rng.normal())


def _stage(rng: np.random.Generator, index: int, progress: float, sickness: float) -> StageReading:
    n = 4096
    depth_sickness = min(1.0, sickness * (0.5 + 0.25 * index))  # deep stages die first, and wholly
    scale = (
        (1.6 - 0.22 * index + 0.8 * progress) * (1 + 6 * depth_sickness * (1 - depth_sickness)) * (1 - 0.999 * depth_sickness**3)
    )
    a = np.abs(rng.normal(size=n)) * scale
    a[rng.random(n) < 0.45 + 0.54 * depth_sickness] = 0.0  # what the ReLU cuts off
    a[: n // 200] *= 3  # a long tail
    rms = float(np.sqrt((a**2).mean()))
    hist, _ = np.histogram(a, bins=40, range=(0, 10))
    return StageReading(
        name=STAGES[index],
        path=f"layer{index}",
        group=GROUP_OF[STAGES[index]],
        n=n,
        mean=float(a.mean()),
        std=float(a.std()),
        rms=rms,
        quiet_frac=float((a <= 1e-2 * rms).mean()),
        near_zero_seed_frac=float(hist[:2].sum() / max(hist.sum(), 1)),
        near_zero_fastai_frac=float((a <= 0.05).mean()),
        near_zero_miniai_frac=float(hist[0] / n),
        negative_frac=0.0,
        over_range_frac=float((a > 10).mean()),
        nonfinite_frac=0.0,
        dormant_frac=0.9 * depth_sickness,
        hist=tuple(int(c) for c in hist),
        hist_max=10.0,
    )


def _group(rng: np.random.Generator, index: int, lr: float, scale: float, sickness: float) -> GroupReading:
    ratio = (
        4
        * lr
        * scale
        * 3.0 ** (2 - index)
        * math.exp(0.15 * rng.normal())
        * (1 - 0.9 * sickness)
        / (100 if index == 0 and scale < 1 else 1)
    )
    return GroupReading(
        index=index,
        stages=tuple(s for s, g in GROUP_OF.items() if g == index),
        lr=lr,
        scale=scale,
        weight_decay=0.01,
        frozen=False,
        update_ratio=ratio * 0.6**index,
        travel=None,
        weight_rms=0.03,
        grad_rms=1e-3,
        grad_agreement=0.2,
        distance_index=0.5,
        nonfinite=False,
        provenance=Provenance.RANDOM,
    )
