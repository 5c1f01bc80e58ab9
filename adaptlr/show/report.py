"""One self-contained HTML page about several runs: what came out, what was found, what was done, and the picture of each."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from adaptlr.records import Decision, Finding
from adaptlr.show.plot import plot
from adaptlr.show.table import cell
from adaptlr.show.words import headline, short
from adaptlr.trace import Trace

_CSS = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --bad: #b3173f; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff7a9c; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 110rem; margin: 0 auto; padding: 1rem; }
.runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, max(34rem, 40%)), 1fr)); gap: 1rem; }
.run { border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; min-width: 0; }
h2 { margin: 0; font-size: 1.15rem; }
.number { font-size: 2.2rem; font-weight: 700; line-height: 1.2; margin: .3rem 0 0; }
.number small { font-size: 1rem; font-weight: 400; }
.others, .what { margin: 0 0 .8rem; opacity: .85; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin-bottom: 1rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
td:first-child { font-variant-numeric: tabular-nums; }
td b { color: var(--bad); }
code { background: var(--soft); padding: .1em .3em; border-radius: .2em; }
img { width: 100%; height: auto; background: white; border-radius: .4rem; }
"""


def html_report(
    runs: Sequence[tuple[str, Trace, Mapping[str, object]]], path: str | os.PathLike[str], *, title: str, intro: str
) -> Path:
    """Write one page with the runs side by side, and return its path.

    ``runs`` are (name, trace, numbers): the run before, then the run after, as they fill the page from left to right. The
    first of ``numbers`` is shown large. The page needs no other file and no network, and all text in it is escaped. An
    existing page is replaced.
    """
    cards = "\n".join(_run(name, trace, numbers) for name, trace, numbers in runs)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(intro)}</p>
<div class="runs">
{cards}
</div>
</body>
</html>
"""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page, encoding="utf-8")
    return Path(path)


def _run(name: str, trace: Trace, numbers: Mapping[str, object]) -> str:
    return f"""<section class="run">
<h2>{escape(name)}</h2>
{_numbers(numbers)}<p class="what">{escape(headline(trace))}</p>
{_events(trace)}{_picture(name, trace)}
</section>"""


def _numbers(numbers: Mapping[str, object]) -> str:
    if not numbers:
        return ""
    (key, value), *others = numbers.items()
    rest = ", ".join(f"{escape(k)} {escape(cell(v))}" for k, v in others)
    large = f'<p class="number">{escape(cell(value))} <small>{escape(key)}</small></p>\n'
    return large + (f'<p class="others">{rest}</p>\n' if rest else "")


def _events(trace: Trace) -> str:
    """Findings and decisions in the order in which they came, one row each."""
    rows = [_event(record) for record in trace if isinstance(record, (Finding, Decision))]
    if not rows:
        return "<p>Nothing was found wrong, and nothing was changed.</p>\n"
    head = "<tr><th>step</th><th>what</th><th>in words</th></tr>"
    return '<div class="scroll"><table>\n' + "\n".join([head, *rows]) + "\n</table></div>\n"


def _event(record: Finding | Decision) -> str:
    words = escape(record.message)
    what = f"found: {escape(record.kind)}" if isinstance(record, Finding) else f"<b>{escape(short(record))}</b>"
    if record.advice:
        words += f"<br>Next time: <code>{escape(record.advice.removeprefix('Next time: '))}</code>"
    return f"<tr><td>{record.step}</td><td>{what}</td><td>{words}</td></tr>"


def _picture(name: str, trace: Trace) -> str:
    if not trace.readings:
        return "<p>No step was recorded, so there is no picture.</p>"
    buffer = io.BytesIO()
    plot(trace).savefig(buffer, format="png")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    alt = f"{name}: activations of each stage, learning rates, update ratios and loss over the training steps. {headline(trace)}."
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
