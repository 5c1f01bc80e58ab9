"""The report is one file, escapes what it is given, and says in words what happened."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from adaptlr.records import Action, Decision, Finding, Kind
from adaptlr.show.report import html_report
from adaptlr.show.table import text_table
from adaptlr.trace import Trace
from tests.show.fake import fake_trace
from tests.show.pages import without_pictures


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    runs = [
        ("before: plain, lr=1", fake_trace(cured=False), {"accuracy": 0.1, "seed": 0}),
        ("after: adaptlr, lr=1", fake_trace(), {"accuracy": 0.83124, "seed": 0, "recovered": True}),
    ]
    assert html_report(runs, path, title="Is it <better>?", intro="One run & its twin.") == path
    return path.read_text(encoding="utf-8")


def test_advice_is_said_once_of_what_was_done_and_of_what_was_only_watched(tmp_path: Path) -> None:
    advice = "Next time: a learning rate of about 0.002"
    found = Finding(step=3, kind=Kind.TOO_HOT, groups=(0,), stages=(), message="seen", advice=advice)
    same: dict[str, Any] = {"scales_before": (1.0,), "scales_after": (0.1,), "findings": (Kind.TOO_HOT,)}
    done = Decision(step=3, action=Action.RESCALE, message="done", advice=advice, **same)
    for record in (found, done):
        trace = Trace()
        trace.append(record)
        text = html_report([("run", trace, {})], tmp_path / f"{record.message}.html", title="", intro="").read_text(
            encoding="utf-8"
        )
        assert text.count("Next time") == 1
        assert "<code>a learning rate of about 0.002</code>" in text


def test_golden_text(page: str) -> None:
    text = re.sub(r'src="data:image/png;base64,[^"]*"', "", page[page.index("<body>") :])
    words = [w.strip() for w in re.sub(r"<[^>]*>", "\n", text).splitlines() if w.strip()]
    assert words == [
        "Is it &lt;better&gt;?",
        "One run &amp; its twin.",
        "before: plain, lr=1",
        "0.1",
        "accuracy",
        "seed 0",
        "Step 59, collapse: warned",
        *["step", "what", "in words"],
        *["59", "found: collapse"],
        "conv4_x and conv5_x have gone to zero (98% near zero, 45% when healthy), and the loss is that of guessing.",
        *["59", "warned", "Warned only: adaptlr was told not to act.", "Next time:", "fit_one_cycle(4, lr_max=3e-3)"],
        "after: adaptlr, lr=1",
        "0.8312",
        "accuracy",
        "seed 0, recovered yes",
        "Step 59, collapse: rolled back to 0, x1/300, and 1 more decision",
        *["step", "what", "in words"],
        *["59", "found: collapse"],
        "conv4_x and conv5_x have gone to zero (98% near zero, 45% when healthy), and the loss is that of guessing.",
        *["59", "rolled back to 0, x1/300", "Went back to step 0 and divided every learning rate by 300."],
        *["Next time:", "fit_one_cycle(4, lr_max=3e-3)"],
        *["66", "group 0 x10"],
        "Group 0 (conv1, conv2_x, conv3_x) is at its random start and hardly moves: its learning rate x10.",
    ]


def test_self_contained(page: str) -> None:
    assert "http" not in without_pictures(page)
    assert "<script" not in page
    pictures = re.findall(r'src="([^"]*)"', page)
    assert len(pictures) == 2
    for src in pictures:
        assert base64.b64decode(src.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_every_tag_is_closed(page: str) -> None:
    class Stack(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in {"meta", "img", "br"}:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    stack = Stack()
    stack.feed(page)
    assert stack.open == []


def test_all_text_is_escaped(tmp_path: Path) -> None:
    evil = '<img src=x onerror="alert(1)">'
    trace = Trace()
    trace.append(Finding(step=1, kind=Kind.TOO_HOT, groups=(), stages=(evil,), message=evil))
    path = html_report([(evil, trace, {evil: evil, "more": evil})], tmp_path / "r.html", title=evil, intro=evil)
    page = path.read_text(encoding="utf-8")
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;") == 8
    assert "No step was recorded" in page


def test_text_table() -> None:
    rows = [
        {"run": "plain", "accuracy": 0.1, "seed": 0, "note": None},
        {"run": "adaptlr", "accuracy": float("nan"), "seed": 11},
    ]
    assert text_table(rows) == (
        "run      accuracy  seed  note\n-------  --------  ----  ----\nplain         0.1     0     -\nadaptlr       nan    11     -"
    )
    assert text_table(rows, ["seed"]) == "seed\n----\n   0\n  11"
    assert text_table([], ["a", "b"]) == "a  b\n-  -"
