"""The command line: a small gauntlet from end to end, killed and started again, and its verdict."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from experiments.gauntlet import cli, engine, provenance
from experiments.gauntlet.cells import Cell, Column, uniform
from experiments.gauntlet.cost import estimate_s, n_runs, total_s
from experiments.gauntlet.draw import draw
from experiments.gauntlet.provenance import fingerprint
from experiments.gauntlet.published import Published
from experiments.gauntlet.recovered import Oracle
from experiments.gauntlet.store import Store
from experiments.gauntlet.tiers import TIERS, first_runs, other_runs
from experiments.gauntlet.timing import wall_over_plain, walls
from tests.experiments.gauntlet.rows import row

KEYS = {
    "mean",
    "p5",
    "worst",
    "detection",
    "diagnosis",
    "false_positive_rate",
    "harm_rate",
    "steps_to_first_right_decision",
    "wall_over_plain",
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> str:
    """A tier of one cheap column."""
    column = "wine/mlp/sgd/flat"
    tier = dataclasses.replace(
        TIERS["smoke"],
        columns=(column,),
        late=("nan-batch",),
        late_columns=None,
        edges=(2.0,),
        seeds=(0,),
        timing_columns=(column,),
    )
    monkeypatch.setitem(TIERS, "smoke", tier)
    return column


@pytest.mark.filterwarnings("ignore")  # of matplotlib's and joblib's own
def test_a_gauntlet_writes_everything_and_goes_on_where_it_was(small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ["--tier", "smoke", "--methods", "plain,adaptlr,clip", "--out", str(tmp_path), "--jobs", "1"]
    status = cli.main(args)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["methods"]) == {"plain", "adaptlr", "clip"}
    assert all(set(line) >= KEYS for line in summary["methods"].values())
    assert set(summary["halves"]) == {"tuned", "held-out"}
    assert summary["methods"]["adaptlr"]["wall_over_plain"] == summary["timings"][0]["ratio"] > 1
    assert summary["settings"]["adaptlr"]["thresholds"]["hot_ratio"] > 0
    assert {"command", "commit", "versions", "settings"} <= set(summary)
    assert status == int(summary["methods"]["adaptlr"]["worst"] < cli.FLOOR)
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    assert len(frame) == 3 * (8 + 3 + 1 + 1)
    assert frame["key"].is_unique
    short = pd.read_csv(tmp_path / "rows.csv")
    assert list(short["method"]) == list(frame["method"])
    assert short["metric"].to_numpy() == pytest.approx(frame["metric"].to_numpy(), abs=1e-5)
    decided = frame["decisions"].map(lambda text: "; ".join(f"{d['step']}: {'/'.join(d['kinds'])}" for d in json.loads(text)))
    assert decided.str.contains("too cold").any()
    assert list(short["decided"].fillna("")) == list(decided)
    for name in ("recovered.png", "heat.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert f"| {small} |" in (tmp_path / "table.md").read_text()

    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join(lines[:-2]) + "\n" + lines[-2][:40])  # killed while it wrote
    ran: list[str] = []
    monkeypatch.setattr(engine, "run_cell", _counting(ran))
    cli.main(args)
    assert len(ran) == 2
    again = json.loads((tmp_path / "summary.json").read_text())
    for method in ("plain", "adaptlr", "clip"):
        assert again["methods"][method]["mean"] == summary["methods"][method]["mean"]


@pytest.mark.filterwarnings("ignore")  # of matplotlib's and joblib's own
def test_published_runs_stand_in_for_those_that_decide_nothing(small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, here, ran = tmp_path / "there", tmp_path / "here", list[str]()
    args = ["--tier", "smoke", "--methods", "plain,dog,clip", "--jobs", "1", "--out"]
    cli.main([*args, str(there)])
    monkeypatch.setattr(engine, "run_cell", _counting(ran))
    cli.main([*args, str(here), "--reuse", str(there)])
    of = Counter(name.split("|")[0] for name in ran)
    assert of == {"clip": 13, "dog": 1}, "which gradients were clipped is not published; and what crashed (NaN) is tried again"
    then, now = (json.loads((folder / "summary.json").read_text()) for folder in (there, here))
    for method in ("plain", "dog"):
        assert now["methods"][method]["mean"] == pytest.approx(then["methods"][method]["mean"], abs=1e-4)
        assert now["methods"][method]["wall_over_plain"] == pytest.approx(then["methods"][method]["wall_over_plain"], rel=0.01)
    assert now["published"] == {f"plain of commit {then['commit']}": 13, f"dog of commit {then['commit']}": 1}
    assert then["published"] == {}

    summary = there / "summary.json"
    summary.write_text(summary.read_text().replace(fingerprint("dog"), "of other code"))
    assert Published(there).methods == {"plain"}
    short = (there / "rows.csv").read_text()
    (there / "rows.csv").write_text(short.replace("metric_se", "error_of_it"))
    with pytest.raises(ValueError, match="has no metric_se: it was written by an older version"):
        Published(there)


def _counting(ran: list[str]):
    real = engine.run_cell

    def counted(cell: Cell, method: str, folder: str) -> dict:
        ran.append(f"{method}|{cell.name}")
        return real(cell, method, folder)

    return counted


@pytest.mark.parametrize(("worst", "status"), [(0.949, 1), (0.95, 0), (None, 0)])
def test_smoke_fails_below_the_floor(worst: float | None, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._verdict(TIERS["smoke"], {"methods": {"adaptlr": {"worst": worst}}}) == status
    assert ("0.949" in capsys.readouterr().err) == bool(status)


def test_an_unknown_method_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="unknown method magic"):
        cli.main(["--methods", "plain,magic", "--out", str(tmp_path)])


def test_a_column_in_which_nothing_is_learned_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    known = {
        "some": Oracle(value=0.5, lr=0.1, top_lr=0.1, chance=0.1),
        "none": Oracle(value=0.104, lr=0.1, top_lr=0.1, chance=0.1),
    }
    assert cli._worth_it(["none", "some"], known) == ["some"]
    assert "none is left out: its best learning rate ends 0.004 above chance" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="choose others with --columns"):
        cli._worth_it(["none"], known)


def test_columns_may_be_drawn_in_place_of_a_tier(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--draw", "11", "--methods", "plain", "--estimate"]
    assert cli.main(args) == 0
    assert capsys.readouterr().out.startswith(f"{13 * len(draw(11).columns)} runs, ")
    with pytest.raises(SystemExit):
        cli.main([*args, "--tier", "smoke"])
    assert "not allowed with argument --draw" in capsys.readouterr().err


def test_rows_of_other_code_and_rows_that_crashed_are_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(row(0.9) | {"key": "a", "made_by": "new"})
    store.add(row(0.9) | {"key": "b", "made_by": "old"})
    store.add(row(0.9) | {"key": "c", "made_by": "new", "error": "boom"})
    again = Store(tmp_path)
    assert [again.done(k, "new") for k in "abcd"] == [True, False, False, False]


def test_a_row_depends_on_adaptlrs_code_where_adaptlr_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {m: fingerprint(m) for m in ("plain", "adaptlr", "clip")}
    assert len(set(before.values())) == 3
    (tmp_path / "__init__.py").write_text("changed = True")
    monkeypatch.setattr(provenance.adaptlr, "__file__", str(tmp_path / "__init__.py"))
    fingerprint.cache_clear()
    try:
        assert {m for m in before if fingerprint(m) != before[m]} == {"adaptlr"}
    finally:
        fingerprint.cache_clear()


def test_the_estimate_counts_the_runs_that_are_made() -> None:
    tier = TIERS["standard"]
    columns, seeds = list(tier.columns), list(tier.seeds)
    runs = first_runs(columns, seeds) + other_runs(
        tier, columns, seeds, tier.methods, dict.fromkeys(columns, Oracle(value=0.9, lr=0.01, top_lr=0.01, chance=0.1))
    )
    assert sum(n_runs(tier, columns, seeds, tier.methods).values()) == len(runs)
    assert estimate_s(tier, columns, seeds, tier.methods) == pytest.approx(total_s(runs))
    assert estimate_s(tier, columns, seeds, tier.methods) < 3600 * 2
    smoke = TIERS["smoke"]
    assert estimate_s(smoke, smoke.columns, smoke.seeds, smoke.methods) < 180 * 2


def test_watching_costs_something_and_plain_over_plain_nothing() -> None:
    assert wall_over_plain("wine/mlp/sgd/flat", 0.01, "", repeats=2)["ratio"] > 1.0
    assert wall_over_plain("wine/mlp/sgd/flat", 0.01, "", method="clip", repeats=3)["ratio"] < 2.0


def test_walls_are_taken_column_by_column_and_timings_come_first() -> None:
    other = Column.parse("wine/mlp/sgd/flat")
    rows = [row(0.9, cpu_seconds=1.0), row(0.9, column=other, cpu_seconds=4.0)]
    rows += [row(0.9, method="clip", cpu_seconds=2.0), row(0.9, method="clip", column=other, cpu_seconds=4.0)]
    assert walls(rows, []) == {"plain": 1.0, "clip": 1.5}
    then = [{**row, "published": "1234567"} for row in rows if row["method"] == "plain"]
    now = [row for row in rows if row["method"] != "plain"]
    assert walls([*then, *now], []) == {"plain": 1.0}, "of another day"
    assert walls(rows, [{"method": "clip", "ratio": 1.1}, {"method": "clip", "ratio": 1.3}])["clip"] == pytest.approx(1.2)


def test_a_cells_key_is_known_before_it_runs() -> None:
    cell = Cell(column=Column.parse("wine/mlp/sgd/flat"), plan=uniform(0.1), seed=3)
    assert engine.key((cell, "clip")) == engine.run_cell(cell, "clip", "")["key"]
