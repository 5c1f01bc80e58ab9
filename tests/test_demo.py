"""The demo: what it writes, what it leaves alone, and (slow) that what it claims holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adaptlr.cli import main
from adaptlr.demo import Setup, run_demo
from adaptlr.demo.runs import RUNS, Result
from adaptlr.demo.setup import digits, learner
from adaptlr.trace import Trace
from tests.show.pages import without_pictures

TINY = Setup(epochs=1, images=200, batch=25)  # 4 steps a run
FILES = {"report.html", "results.json"} | {f"run-{key}.{end}" for key in "abcdef" for end in ("jsonl", "png")}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result], str]:
    folder = tmp_path_factory.mktemp("demo") / "new"
    said: list[str] = []
    results = run_demo(folder, setup=TINY, tell=said.append)
    return folder, results, "\n".join(said)


def test_the_files(tiny: tuple[Path, list[Result], str]) -> None:
    folder, results, _ = tiny
    assert {path.name for path in folder.iterdir()} == FILES
    rows = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert [row["run"] for row in rows] == list("abcdef")
    for row, result in zip(rows, results, strict=True):
        assert {"run", "lr", "adaptlr", "accuracy", "near_zero_last_stage", "decisions"} <= row.keys()
        assert 0 <= row["accuracy"] <= 1
        assert 0 <= row["near_zero_last_stage"] <= 1
        trace = Trace.load(folder / f"run-{row['run']}.jsonl")
        assert len(trace.readings) == TINY.steps
        assert row["decisions"] == len(trace.decisions) == len(result.trace.decisions)
        assert (folder / f"run-{row['run']}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_pairs_before_and_after(tiny: tuple[Path, list[Result], str]) -> None:
    page = (tiny[0] / "report.html").read_text(encoding="utf-8")
    places = [page.index(f"<h2>({key}) ") for key in "bcdeaf"]
    assert places == sorted(places)
    assert page.count("data:image/png") == 6
    assert "http" not in without_pictures(page)


def test_the_words(tiny: tuple[Path, list[Result], str]) -> None:
    folder, _, said = tiny
    for spec in RUNS:
        assert f"({spec.key}) {spec.schedule}" in said
    assert "near zero in conv5_x" in said
    assert "at most 1% of the root mean square" in said
    assert "(c) fit, lr 1: adaptlr " in said
    assert "(e) fit_one_cycle, lr slice(1e-6, 1e-2): adaptlr " in said
    assert str(folder.resolve() / "report.html") in said


def test_all_runs_share_their_start_and_their_batches(tiny: tuple[Path, list[Result], str]) -> None:
    first = {result.trace.readings[0].loss for result in tiny[1]}
    assert len(first) == 1
    data = digits(TINY)
    pair: list[Any] = [learner(TINY, data) for _ in range(2)]
    one, two = pair
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    for (xa, ya), (xb, yb) in zip(one.dls.train, two.dls.train, strict=True):
        assert torch.equal(xa, xb)
        assert torch.equal(ya, yb)


def test_the_split_is_by_halves_and_stratified() -> None:
    data = digits(Setup())
    train, valid = (part.tensors[1].bincount() for part in (data.train, data.valid))
    assert (int(train.sum()), int(valid.sum())) == (898, 899)
    assert (train - valid).abs().max() <= 1
    assert data.train.tensors[0].shape == (898, 3, 32, 32)


def test_the_groups_are_those_of_fastai() -> None:
    learn: Any = learner(TINY, digits(TINY))
    learn.create_opt()
    sizes = [sum(p.numel() for p in group) for group in learn.opt.param_lists]
    net = learn.model
    expected = ([net.conv1, net.bn1, net.layer1, net.layer2], [net.layer3, net.layer4], [net.fc])
    assert sizes == [sum(p.numel() for part in parts for p in part.parameters()) for parts in expected]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "mine.txt"
    kept.write_text("mine", encoding="utf-8")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--overwrite" in said
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_overwrite_replaces_the_demos_own_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "run-a.jsonl").write_text("old", encoding="utf-8")

    class ReachedError(Exception):
        pass

    def stop(_: Setup) -> None:
        raise ReachedError

    monkeypatch.setattr("adaptlr.demo.digits", stop)
    with pytest.raises(ReachedError):
        run_demo(tmp_path, setup=TINY, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_folders_place_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert "is a file: choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("batch", 1), ("images", 100), ("images", 5000), ("seed", -1)])
def test_a_setup_out_of_range_quotes_its_value(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must lie in .* got {value}"):
        Setup(**{name: value})


@pytest.mark.slow
def test_the_demo_holds_what_it_claims(tmp_path: Path) -> None:
    """The acceptance: rescued runs come near the sound ones, ruined ones do not, and the sound ones are left alone."""
    by_key = {result.spec.key: result for result in run_demo(tmp_path / "demo")}
    accuracy = {key: result.accuracy for key, result in by_key.items()}
    assert accuracy["b"] < 0.6
    assert accuracy["c"] >= accuracy["a"] - 0.02
    assert accuracy["e"] >= accuracy["f"] - 0.01
    for key in "af":
        assert by_key[key].trace.decisions == [], f"({key}) is sound"
        assert by_key[key].trace.findings == [], f"({key}) is sound"
    for key in "ce":
        assert by_key[key].trace.decisions, f"({key}) needed help"
