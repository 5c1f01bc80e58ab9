"""docs/rules.md, "How it decides": it names what is asked and compared with, and no number in it is another than the code's."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from fractions import Fraction
from pathlib import Path

import pytest

from adaptlr import Kind, Settings, Thresholds, Trait
from adaptlr.judge import detect

TEXT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
DEFAULTS = {f.name: f.default for kind in (Thresholds, Settings) for f in dataclasses.fields(kind)}
BRACKETED = re.findall(r"`([a-z_]+)`\s+\[([^\]:]+)[^\]]*\]", TEXT)


def asked() -> list[str]:
    """The rules that ``detect.observe`` asks, in its order, as ``heat.bad_batch``: from its own code."""
    tree = ast.parse(inspect.getsource(detect.observe))
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    out = list[str]()
    for node in sorted(found, key=lambda n: (n.lineno, n.col_offset)):
        assert isinstance(node.value, ast.Name)
        module = getattr(detect, node.value.id, None)
        if not inspect.ismodule(module) or module.__name__.partition(".")[0] != "adaptlr":
            continue
        here = module.__name__.rpartition(".")[2]
        rules = module.RULES if node.attr == "RULES" else (getattr(module, node.attr),)
        out += [f"{here}.{rule.__name__}" for rule in rules]
    return out


def test_every_rule_has_its_row_in_the_order_in_which_they_are_asked() -> None:
    rows = re.findall(r"^\| `(\w+\.\w+)` \|", TEXT, flags=re.MULTILINE)
    assert rows == asked()
    assert {"starved.count_starved", "shift.shift", "heat.non_finite", "stalled.stuck", "cold.decay_dominated"} <= set(rows)


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_threshold_and_setting_is_named_with_its_default(name: str) -> None:
    assert name in dict(BRACKETED)


def test_no_default_is_another_than_the_codes() -> None:
    wrong = [(name, said) for name, said in BRACKETED if (said == "None") != (DEFAULTS[name] is None)]
    wrong += [(name, said) for name, said in BRACKETED if said != "None" and float(Fraction(said)) != DEFAULTS[name]]
    assert not wrong


def test_what_it_points_to_is_there() -> None:
    for module, name in re.findall(r"`(\w+)\.(\w+)`", TEXT):
        assert hasattr(importlib.import_module(f"adaptlr.judge.{module}"), name), f"{module}.{name}"


def test_every_kind_of_finding_is_named_and_every_trait_that_decides_what_is_done() -> None:
    told = {Trait.TO_LEARN, Trait.ALIVE, Trait.AT_START}  # in other words
    assert [k for k in Kind if str(k) not in TEXT] == []
    assert [t for t in Trait if t not in told and f"*{t}*" not in TEXT] == []
