"""What is said, where, and that the table of epochs survives it."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from fastprogress import fastprogress

from adaptlr import AdaptLRWarning, Decision, Finding
from adaptlr.fastai import AdaptLR
from tests.fastai_adapter.small import learner


def on_screen(text: str) -> list[str]:
    """The lines that a terminal shows in the end: a carriage return sends the cursor back to write over what stands there."""
    lines = []
    for raw in text.split("\n"):
        row: list[str] = []
        for part in raw.split("\r"):
            row[: len(part)] = part
        lines.append("".join(row).rstrip())
    return lines


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Progress bars and warnings on one screen, as in a terminal; call it for the lines to be seen."""

    def show(*args: Any) -> None:  # as Python does it, where pytest would collect
        sys.stdout.write(warnings.formatwarning(*args[:4]))

    monkeypatch.setattr(warnings, "showwarning", show)
    monkeypatch.setattr(fastprogress, "NO_BAR", False)
    return lambda: on_screen(capsys.readouterr().out)


def test_on_a_terminal_each_event_is_a_line_of_its_own_and_the_table_is_whole(console: Any) -> None:
    cb, learn = AdaptLR(), learner(bar=True)
    warnings.simplefilter("default", AdaptLRWarning)  # pytest puts the filters back
    learn.fit(2, 10.0, cbs=cb)
    seen = console()
    said = [i for i, row in enumerate(seen) if "AdaptLRWarning" in row]
    assert len(said) == len(cb.decisions) >= 1
    assert seen[said[0]].startswith(f"{__file__}:")
    assert cb.decisions[0].message in seen[said[0]]
    assert "learn.fit(2, 10.0, cbs=cb)" in seen[said[0] + 1]
    table = [row.split() for row in seen if row[:6].strip() in ("epoch", "0", "1")]
    assert [row[0] for row in table] == ["epoch", "0", "1"]
    assert {len(row) for row in table} == {4}
    assert not [row for row in seen if "AdaptLR" in row and "Epoch" in row]


def test_without_a_bar_nothing_is_printed_but_the_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(AdaptLRWarning) as caught:
        learner().fit(1, 10.0, cbs=AdaptLR())
    assert capsys.readouterr().out == ""
    assert {Path(w.filename) for w in caught} == {Path(__file__)}


def test_a_second_fit_says_the_same_again() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            learner().fit(1, 10.0, cbs=AdaptLR())
    assert len([w for w in caught if w.category is AdaptLRWarning]) == 2


def test_watching_alone_warns_too() -> None:
    cb = AdaptLR(act=False)
    with pytest.warns(AdaptLRWarning) as caught:
        learner().fit(1, 10.0, cbs=cb)
    assert [str(w.message) for w in caught] == [str(f) for f in cb.findings]


def test_who_listens_hears_the_records_and_no_warning() -> None:
    heard: list[Finding | Decision] = []
    cb = AdaptLR(announce=heard.append)
    learner().fit(1, 10.0, cbs=cb)  # a warning would be an error here
    assert [r for r in heard if isinstance(r, Decision)] == cb.decisions != []
