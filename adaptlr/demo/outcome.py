"""The six results in words: a table, a list for a program to read, a sentence a rescue, and one page with the pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from adaptlr.demo.runs import Result
from adaptlr.demo.setup import LAST_STAGE
from adaptlr.show.plot import plot
from adaptlr.show.report import html_report
from adaptlr.show.table import text_table
from adaptlr.show.words import short

PAGE, NUMBERS = "report.html", "results.json"
NEAR_ZERO = "an activation is near zero if its size is at most 1% of the root mean square of its stage's"
_SIDE_BY_SIDE = "bcdeaf"  # before and after, in pairs; then the two runs that show what was to be had
_ROLE = {
    "a": "sound, for reference",
    "b": "before: without adaptlr",
    "c": "after: with adaptlr",
    "d": "before: without adaptlr",
    "e": "after: with adaptlr",
    "f": "sound, for reference",
}


def table(results: Sequence[Result]) -> str:
    """The results for a terminal, with the definition of near zero below."""
    rows = [
        {
            "run": f"({r.spec.key}) {r.spec.schedule}",
            "lr": r.spec.lr_text,
            "adaptlr": r.spec.mode,
            "accuracy": f"{r.accuracy:.1%}".rjust(8),
            f"near zero in {LAST_STAGE}": f"{r.near_zero_last_stage:.1%}".rjust(len(f"near zero in {LAST_STAGE}")),
            "decisions": len(r.trace.decisions),
        }
        for r in results
    ]
    return f"{text_table(rows)}\n\nNear zero: {NEAR_ZERO}; {LAST_STAGE} is the last stage."


def as_rows(results: Sequence[Result]) -> list[dict[str, object]]:
    """What ``results.json`` holds. Shares are fractions in [0, 1]; ``decisions`` counts them (the traces hold their words)."""
    return [
        {
            "run": r.spec.key,
            "schedule": r.spec.schedule,
            "lr": r.spec.lr_text,
            "adaptlr": r.spec.mode,
            "accuracy": r.accuracy,
            "near_zero_last_stage": r.near_zero_last_stage,
            "decisions": len(r.trace.decisions),
        }
        for r in results
    ]


def sentences(results: Sequence[Result]) -> list[str]:
    """One for each run that adaptlr was to rescue: what it did, and what came of it."""
    by_key = {r.spec.key: r for r in results}
    out = []
    for result in results:
        spec = result.spec
        if spec.twin is None or spec.reference is None:
            continue
        before, sound = by_key[spec.twin], by_key[spec.reference]
        came = (
            f"it ended at {result.accuracy:.1%}, against {before.accuracy:.1%} without adaptlr ({spec.twin}) "
            f"and {sound.accuracy:.1%} at lr {sound.spec.lr_text} ({spec.reference})"
        )
        out.append(f"{spec.name}: {_done(result)}; {came}.")
    return out


def _done(result: Result) -> str:
    if not result.trace.decisions:
        return "adaptlr decided nothing"
    deeds = [f"at step {d.step} ({', '.join(d.findings)}: {short(d)})" for d in result.trace.decisions]
    return f"adaptlr stepped in {', '.join(deeds)}"


def write(results: Sequence[Result], folder: Path) -> Path:
    """Numbers, a picture a run and the page, into an existing folder; returns the page."""
    (folder / NUMBERS).write_text(json.dumps(as_rows(results), indent=2) + "\n", encoding="utf-8")
    for r in results:
        plot(r.trace).savefig(folder / picture_name(r.spec.key))
    by_key = {r.spec.key: r for r in results}
    runs = [
        (
            f"{r.spec.name}: {_ROLE[r.spec.key]}",
            r.trace,
            {
                "accuracy": f"{r.accuracy:.1%}",
                f"near zero in {LAST_STAGE}:": f"{r.near_zero_last_stage:.1%}",
                "decisions:": len(r.trace.decisions),
            },
        )
        for r in (by_key[key] for key in _SIDE_BY_SIDE)
    ]
    intro = (
        "torchvision's ResNet-18, from scratch, under fastai, on scikit-learn's handwritten digits; half of them for validation. "
        f"Every run starts from the same weights and sees the same batches. {' '.join(sentences(results))} "
        f"Near zero: {NEAR_ZERO}."
    )
    return html_report(runs, folder / PAGE, title="adaptlr: six runs, before and after", intro=intro)


def trace_name(key: str) -> str:
    return f"run-{key}.jsonl"


def picture_name(key: str) -> str:
    return f"run-{key}.png"
