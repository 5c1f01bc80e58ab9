"""Tables: a trace as a DataFrame, and rows as aligned text for a terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptlr.records import GroupReading, Reading, StageReading
from adaptlr.trace import FLOAT_FIELDS, Table, Trace

if TYPE_CHECKING:
    import pandas as pd

_INDEX: dict[str, list[str]] = {
    "steps": ["step"],
    "groups": ["step", "group"],
    "stages": ["step", "stage"],
    "findings": ["step"],
    "decisions": ["step"],
}


def frame(trace: Trace, what: Table = "steps") -> pd.DataFrame:
    """The trace as a DataFrame; see :meth:`adaptlr.trace.Trace.to_frame`. Raises ImportError without pandas."""
    if what not in _INDEX:
        raise ValueError(f"to_frame({what!r}): choose one of {', '.join(map(repr, _INDEX))}")
    try:
        import pandas as pd  # noqa: PLC0415  (optional, and slow to import)
    except ImportError as error:
        raise ImportError("a trace becomes a DataFrame only with pandas: pip install pandas") from error
    rows = list(_rows(trace, what))
    return pd.DataFrame(rows).set_index(_INDEX[what]) if rows else pd.DataFrame(columns=_INDEX[what]).set_index(_INDEX[what])


def text_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> str:
    """Rows as aligned text: numbers to the right, words to the left, a missing or unmeasured value as ``-``.

    ``columns`` are the keys to show, in order; by default every key in the order in which it first comes up.

    >>> print(text_table([{"run": "plain", "accuracy": 0.1}, {"run": "adaptlr", "accuracy": 0.8312}]))
    run      accuracy
    -------  --------
    plain         0.1
    adaptlr    0.8312
    """
    columns = list(dict.fromkeys(k for row in rows for k in row)) if columns is None else list(columns)
    cells = [[cell(row.get(c)) for c in columns] for row in rows]
    numeric = [all(isinstance(row.get(c), (int, float, type(None))) for row in rows) for c in columns]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    lines = [columns, ["-" * w for w in widths], *cells]
    aligned = ([c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, numeric, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def cell(value: object) -> str:
    """One value as text: four digits for a float, ``-`` for what was not measured.

    >>> [cell(v) for v in (0.123456, 1e-7, 3, None, float("nan"), True)]
    ['0.1235', '1e-07', '3', '-', 'nan', 'yes']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rows(trace: Trace, what: Table) -> Iterator[dict[str, Any]]:
    match what:
        case "steps":
            yield from map(_wide, trace.readings)
        case "groups":
            yield from ({"step": r.step, **_group_row(g)} for r in trace.readings for g in r.groups)
        case "stages":
            yield from ({"step": r.step, **_stage_row(s)} for r in trace.readings for s in r.stages)
        case "findings":
            yield from map(_row, trace.findings)
        case "decisions":
            yield from map(_row, trace.decisions)


def _row(record: Any) -> dict[str, Any]:
    """Fields as columns; a float that was not measured is nan, so that its column stays numeric."""
    fields = ((f.name, getattr(record, f.name)) for f in dataclasses.fields(record))
    return {name: math.nan if value is None and name in FLOAT_FIELDS else value for name, value in fields}


def _group_row(group: GroupReading) -> dict[str, Any]:
    row = _row(group)
    return {"group": row.pop("index"), **row, "effective_lr": group.effective_lr}


def _stage_row(stage: StageReading) -> dict[str, Any]:
    row = _row(stage)
    return {"stage": row.pop("name"), **row}


def _wide(reading: Reading) -> dict[str, Any]:
    row = {k: v for k, v in _row(reading).items() if k not in {"stages", "groups"}}
    for group in map(_group_row, reading.groups):
        row |= {f"group{group['group']}.{k}": v for k, v in group.items() if k not in {"group", "stages"}}
    for stage in map(_stage_row, reading.stages):
        row |= {f"{stage['stage']}.{k}": v for k, v in stage.items() if k not in {"stage", "path", "hist", "hist_max"}}
    return row
