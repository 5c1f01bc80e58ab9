"""A trace gives back exactly what was put in, and keeps what it can when the run, the disk or the file fails."""

from __future__ import annotations

import builtins
import copy
import dataclasses
import json
import math
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptlr.records import Action, Decision, Finding, GroupReading, Kind, Provenance, Reading, Record, StageReading, Trait, to_dict
from adaptlr.trace import VERSION, Trace, TraceWarning
from tests.show.fake import COLLAPSE_STEP, STAGES, fake_trace

READING = Reading(step=0, loss=2.5)
# "nan" and "inf" are words too: a stage or a message that says so must come back as text
words = st.sampled_from(["nan", "inf", "-inf", "", "conv1", 'a "quoted"\nline', "é\u2028"])
floats = st.floats(allow_nan=True, allow_infinity=True)
maybe = st.none() | floats
counts = st.integers(0, 2**40)


def _record(cls: type, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One strategy a field, by its annotation."""
    by_type = {
        "float": floats,
        "float | None": maybe,
        "str": words,
        "str | None": st.none() | words,
        "int": counts,
        "int | None": st.none() | counts,
        "bool": st.booleans(),
        "tuple[int, ...]": st.lists(counts, max_size=4).map(tuple),
        "tuple[str, ...]": st.lists(words, max_size=3).map(tuple),
        "tuple[float, ...]": st.lists(floats, max_size=3).map(tuple),
        "tuple[Kind, ...]": st.lists(st.sampled_from(Kind), max_size=3).map(tuple),
        "tuple[Trait, ...]": st.lists(st.sampled_from(Trait), max_size=3).map(tuple),
        "Mapping[str, float]": st.dictionaries(words, floats, max_size=3),
        "Kind": st.sampled_from(Kind),
        "Action": st.sampled_from(Action),
        "Provenance": st.sampled_from(Provenance),
    }
    return st.builds(cls, **{f.name: more.get(f.name, by_type.get(str(f.type))) for f in dataclasses.fields(cls)})  # pyright: ignore


readings = _record(
    Reading,
    stages=st.lists(_record(StageReading), max_size=2).map(tuple),
    groups=st.lists(_record(GroupReading), max_size=2).map(tuple),
)
records = st.one_of(readings, _record(Finding), _record(Decision))


def _same(a: Record, b: Record) -> bool:
    """Equal, a nan being equal to a nan and -0.0 not to 0.0."""
    return type(a) is type(b) and repr(a) == repr(b)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(records, max_size=4))
def test_what_goes_in_comes_back(tmp_path: Path, kept: list[Record]) -> None:
    path = tmp_path / "run.jsonl"
    path.unlink(missing_ok=True)
    with Trace(path) as trace:
        for record in kept:
            trace.append(record)
    back = list(Trace.load(path))
    assert len(back) == len(kept)
    assert all(_same(a, b) for a, b in zip(back, kept, strict=True))
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=pytest.fail)  # NaN and Infinity are not JSON


def test_a_line_is_what_records_says(tmp_path: Path) -> None:
    """The faster way in which a line is written agrees with the plain one, to_dict."""
    trace = fake_trace(steps=70, path=str(tmp_path / "run.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()[1:]]
    for line, record in zip(lines, trace, strict=True):
        del line["type"]
        assert line == json.loads(json.dumps(to_dict(record)))


def test_nonfinite_is_written_as_text(tmp_path: Path) -> None:
    with Trace(tmp_path / "run.jsonl") as trace:
        trace.append(Reading(step=1, loss=math.nan, epoch=-math.inf))
    line = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[1])
    del line["stages"], line["groups"]
    assert line == {"type": "reading", "step": 1, "loss": "nan", "epoch": "-inf", "norm_var": None, "skipped": 0}


def test_header(tmp_path: Path) -> None:
    given_settings = {"lr": math.inf, "where": Path("/data"), "rule": SimpleNamespace, "betas": (0.9, 0.99), "limits": READING}
    Trace(tmp_path / "run.jsonl", given_settings, stages=STAGES).close()
    trace = Trace.load(tmp_path / "run.jsonl")
    assert trace.header["type"] == "header"
    assert trace.header["version"] == VERSION
    assert trace.header["stages"] == list(STAGES)
    assert trace.settings["lr"] == math.inf
    assert trace.settings["where"] == "/data"
    assert trace.settings["betas"] == [0.9, 0.99]
    assert trace.settings["limits"]["loss"] == 2.5


def test_lists_length_order_and_repr() -> None:
    trace = fake_trace()
    assert (len(trace.readings), len(trace.findings), len(trace.decisions)) == (200, 1, 2)
    assert len(trace) == 203
    assert [type(r).__name__ for r in trace][COLLAPSE_STEP : COLLAPSE_STEP + 2] == ["Finding", "Decision"]
    assert repr(trace) == "<Trace: 200 readings (steps 0-199), 1 finding, 2 decisions, in memory>"


def test_killed_run_keeps_every_step(tmp_path: Path) -> None:
    """SIGKILL, which no handler sees: what append() returned from is in the file."""
    path = tmp_path / "run.jsonl"
    code = f"""
import os, signal
from adaptlr.records import Reading
from adaptlr.trace import Trace
trace = Trace({str(path)!r})
for step in range(50):
    trace.append(Reading(step=step, loss=1.0))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == -signal.SIGKILL
    assert [r.step for r in Trace.load(path).readings] == list(range(50))


def _saved(tmp_path: Path) -> tuple[Path, bytes]:
    path = fake_trace(steps=5).save(tmp_path / "run.jsonl")
    return path, path.read_bytes()


def test_every_cut_keeps_all_whole_lines(tmp_path: Path) -> None:
    path, whole = _saved(tmp_path)
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in (start + 1, start + 20, len(whole) - 2):
        path.write_bytes(whole[:cut])
        with pytest.warns(TraceWarning, match="line 6 is cut off"):
            assert len(Trace.load(path)) == 4
    for cut in (start, len(whole) - 1, len(whole)):  # at a line's end, with its newline or without, nothing is lost
        path.write_bytes(whole[:cut])
        assert len(Trace.load(path)) == (4 if cut == start else 5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [], "empty"),
        (lambda lines: [lines[0][:30]], "empty, or cut off within its first line"),
        (lambda lines: [*lines[1:], b""], "line 1 is not a trace header"),
        (lambda lines: [b"step,loss", b"1,2", b""], "line 1 is not a trace header"),
        (lambda lines: [lines[0], lines[1], lines[2][:40], lines[3], b""], "line 3 is damaged"),
        (lambda lines: [lines[0], b"[1, 2]", b""], "line 2 is damaged"),
        (lambda lines: [lines[0], b'{"type":"guess","step":1}', b""], "line 2 is damaged"),
        (lambda lines: [lines[0], b'{"type":"reading","step":1,"stages":[],"groups":[]}', b""], "line 2 is damaged.*loss"),
        (lambda lines: [b'{"type":"header","version":99,"settings":{}}', b""], "trace format 99.*reads up to 1; upgrade"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    path, whole = _saved(tmp_path)
    path.write_bytes(b"\n".join(damage(whole.split(b"\n"))))
    with pytest.raises(ValueError, match=message):
        Trace.load(path)


def test_never_overwrites(tmp_path: Path) -> None:
    path, whole = _saved(tmp_path)
    for write in (lambda: Trace(path), lambda: fake_trace(steps=1).save(path)):
        with pytest.raises(FileExistsError, match="choose another path"):
            write()
    assert path.read_bytes() == whole
    (tmp_path / "empty.jsonl").touch()
    Trace(tmp_path / "empty.jsonl").close()
    assert len(Trace.load(tmp_path / "empty.jsonl")) == 0


def test_full_disk_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = Trace(tmp_path / "run.jsonl")

    def full(_: str) -> int:
        raise OSError(28, "No space left on device")

    closed: list[str] = []

    def close() -> None:
        closed.append("once")
        full("")

    monkeypatch.setattr(trace, "_file", SimpleNamespace(write=full, close=close))
    with pytest.warns(TraceWarning, match=r"cannot write the trace any more.*No space left"):
        trace.append(READING)
    assert closed == ["once"]  # else what is in its buffer is written when it is collected, and fails where nobody can catch it
    trace.append(READING)  # no second warning
    assert len(trace) == 2


def test_closing(tmp_path: Path) -> None:
    with Trace(tmp_path / "run.jsonl") as trace:
        trace.append(READING)
        trace.flush()
    trace.close()
    with pytest.raises(ValueError, match="closed"):
        trace.append(READING)
    with pytest.raises(ValueError, match="read from a file"):
        Trace.load(tmp_path / "run.jsonl").append(READING)
    assert trace.readings == [READING]


def test_an_error_in_the_run_closes_the_file(tmp_path: Path) -> None:
    def run() -> None:
        with Trace(tmp_path / "run.jsonl") as trace:
            trace.append(READING)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert len(Trace.load(tmp_path / "run.jsonl")) == 1


def test_forgotten_trace_gives_no_resource_warning(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "run.jsonl")
    trace.append(READING)
    del trace  # warnings are errors here: an unclosed file would fail the test


@pytest.mark.parametrize("copied", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy])
def test_a_copy_leaves_the_file_to_the_original(tmp_path: Path, copied: Any) -> None:
    trace = Trace(tmp_path / "run.jsonl")
    trace.append(READING)
    other = copied(trace)
    other.append(Reading(step=9, loss=0.0))
    trace.append(Reading(step=1, loss=1.0))
    trace.close()
    assert [r.step for r in other.readings] == [0, 9]
    assert [r.step for r in Trace.load(tmp_path / "run.jsonl").readings] == [0, 1]


def test_only_plain_records(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not dict"):
        Trace().append({"step": 1})  # pyright: ignore[reportArgumentType]
    with Trace(tmp_path / "run.jsonl") as trace:
        with pytest.raises(TypeError, match="plain numbers and text, not complex"):
            trace.append(Reading(step=0, loss=1j))  # pyright: ignore[reportArgumentType]
        trace.append(READING)
    assert len(Trace.load(tmp_path / "run.jsonl")) == 1


def test_steps_frame() -> None:
    pytest.importorskip("pandas")
    trace = fake_trace(every=2)
    frame = trace.to_frame()
    assert frame.index.name == "step"
    assert len(frame) == 200
    assert frame.loc[100, "group2.effective_lr"] == pytest.approx(trace.readings[100].groups[2].effective_lr)
    assert frame.loc[100, "conv1.quiet_frac"] == trace.readings[100].stages[0].quiet_frac
    assert math.isnan(float(frame.loc[101, "conv1.quiet_frac"]))  # pyright: ignore[reportArgumentType]
    assert frame["group0.travel"].dtype == float  # never measured, and numeric all the same
    assert not any(c.endswith(("hist", "path", ".stages")) for c in frame)


def test_other_frames() -> None:
    pytest.importorskip("pandas")
    trace = fake_trace(every=2)
    assert list(trace.to_frame("groups").index.names) == ["step", "group"]
    assert len(trace.to_frame("groups")) == 600
    assert len(trace.to_frame("stages")) == 500
    assert trace.to_frame("stages").loc[(58, "conv5_x"), "quiet_frac"] == trace.readings[58].stages[4].quiet_frac
    assert trace.to_frame("findings").loc[59, "kind"] == "collapse"
    assert list(trace.to_frame("decisions")["action"]) == ["roll back", "rescale"]
    assert Trace().to_frame("decisions").empty
    with pytest.raises(ValueError, match=re.escape("to_frame('layers'): choose one of 'steps', 'groups'")):
        trace.to_frame("layers")  # pyright: ignore[reportArgumentType]


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install pandas"):
        fake_trace(steps=1).to_frame()


def test_import_is_light() -> None:
    code = "import sys, adaptlr.trace; print(*{'pandas', 'matplotlib', 'fastai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == ""
