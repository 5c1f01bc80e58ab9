"""The command: what it writes, and how it says what is wrong. Errors are one line and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import adaptlr
from adaptlr.cli import main
from tests.show.fake import fake_trace

ROOT = Path(adaptlr.__file__).parents[1]
PNG = b"\x89PNG"


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user runs it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "adaptlr", *map(str, args)], capture_output=True, text=True, timeout=120, env=env, check=False
    )


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    fake_trace(steps=80, path=str(path)).close()
    return path


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"adaptlr {adaptlr.__version__}\n", "")


def test_version_loads_no_fastai_and_no_matplotlib() -> None:
    code = (
        "import sys; from adaptlr.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print([m for m in ('fastai', 'matplotlib', 'pandas', 'sklearn') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_error_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    missing = tmp_path / "none.jsonl"
    done = run("show", missing)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"adaptlr: {missing}: No such file or directory\n"


def test_show_draws_beside_the_trace(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(trace)]) == 0
    assert trace.with_suffix(".png").read_bytes().startswith(PNG)
    assert capsys.readouterr().out == f"{trace.with_suffix('.png')}\n"


def test_show_draws_where_it_is_told(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "picture.png"
    assert main(["show", str(trace), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(PNG)
    assert not trace.with_suffix(".png").exists()


def test_report_holds_the_runs_in_order(trace: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    fake_trace(steps=80, cured=False, path=str(other)).close()
    out = tmp_path / "page.html"
    assert main(["report", str(other), str(trace), "--out", str(out), "--title", "A & B"]) == 0
    page = out.read_text(encoding="utf-8")
    assert "<h1>A &amp; B</h1>" in page
    assert page.index("<h2>other</h2>") < page.index("<h2>run</h2>")
    assert page.count("data:image/png") == 2


def _cut_in_first_line(text: str) -> str:
    return text[:40]


def _newer(text: str) -> str:
    head, rest = text.split("\n", 1)
    return json.dumps({**json.loads(head), "version": 99}) + "\n" + rest


def _damaged(text: str) -> str:
    lines = text.split("\n")
    return "\n".join([*lines[:2], lines[2][:50], *lines[3:]])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda _: "", "empty, or cut off"),
        (_cut_in_first_line, "cut off within its first line"),
        (_newer, "trace format 99, and this adaptlr reads up to 1; upgrade"),
        (_damaged, "line 3 is damaged"),
        (lambda _: "a,b\n1,2\n", "line 1 is not a trace header"),
    ],
)
@pytest.mark.parametrize("command", ["show", "report"])
def test_a_spoilt_trace_is_one_line(command, spoil, says, trace: Path, tmp_path: Path, capsys) -> None:
    trace.write_text(spoil(trace.read_text(encoding="utf-8")), encoding="utf-8")
    out = tmp_path / ("out.png" if command == "show" else "out.html")
    assert main([command, str(trace), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("adaptlr: ")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert not out.exists()


def test_a_trace_without_a_step_cannot_be_drawn(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace.write_text(trace.read_text(encoding="utf-8").split("\n")[0] + "\n", encoding="utf-8")
    assert main(["show", str(trace)]) == 2
    assert capsys.readouterr().err.startswith("adaptlr: this trace holds no readings yet")


def test_a_run_killed_in_mid_line_is_drawn_as_far_as_it_got(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace.write_text(trace.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    assert main(["show", str(trace)]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"adaptlr: {trace}: line ")
    assert "is cut off" in said
    assert said.count("\n") == 1
    assert trace.with_suffix(".png").exists()


@pytest.mark.parametrize("command", ["show", "report"])
def test_a_trace_is_never_written_over(command, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = trace.read_bytes()
    assert main([command, str(trace), "--out", str(trace)]) == 2
    assert "name another file with --out" in capsys.readouterr().err
    assert trace.read_bytes() == before


@pytest.mark.parametrize("command", ["show", "report"])
@pytest.mark.parametrize("way", ["detour", "absolute", "symlink", "hardlink"])
def test_nor_is_it_by_another_name(command, way, trace: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(trace.parent)
    given, before, other = Path(trace.name), trace.read_bytes(), trace.with_name("other.html")
    if way == "symlink":
        other.symlink_to(trace)
    elif way == "hardlink":
        other.hardlink_to(trace)
    out = {"detour": Path("..") / trace.parent.name / trace.name, "absolute": trace}.get(way, other)
    assert main([command, str(given), "--out", str(out)]) == 2
    assert "name another file with --out" in capsys.readouterr().err
    assert trace.read_bytes() == before


@pytest.mark.parametrize("command", ["show", "report"])
@pytest.mark.parametrize("cut", [False, True])
def test_nor_is_a_trace_that_is_not_drawn(command, cut, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(trace.read_bytes()[: 40 if cut else None])
    before = other.read_bytes()
    assert main([command, str(trace), "--out", str(other)]) == 2
    assert "is a trace, which would be lost: name another file" in capsys.readouterr().err
    assert other.read_bytes() == before


@pytest.mark.parametrize("command", ["show", "report"])
def test_what_was_drawn_before_is_drawn_again(command, trace: Path, tmp_path: Path) -> None:
    out = tmp_path / ("out.png" if command == "show" else "out.html")
    out.write_text("old", encoding="utf-8")
    assert main([command, str(trace), "--out", str(out)]) == 0
    assert out.read_bytes() != b"old"


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5", "x"])
def test_a_demo_has_a_seed_that_every_part_takes(seed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(out), "--seed", seed])
    assert stop.value.code == 2
    assert f"argument --seed: a seed is a whole number from 0 to 4294967295, got {seed!r}" in capsys.readouterr().err
    assert not out.exists()


def test_an_unknown_picture_format_is_one_line(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(trace), "--out", str(tmp_path / "picture.xyz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_no_command_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_a_picture_without_a_suffix_is_named_as_it_is_written(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(trace), "--out", str(tmp_path / "picture")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'picture.png'}\n"
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)
    assert main(["show", str(trace), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: name a file in it" in capsys.readouterr().err
