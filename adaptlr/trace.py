"""The record of a run: everything measured, found and decided, in the order in which it happened.

A trace is written while the run goes on and read afterwards: as a DataFrame, as a picture (``adaptlr.show``), or by the judges
again. On disk it is JSON Lines: a header, then one record a line, so a run that was killed leaves everything up to its last step.

It grows with the run. A reading of 5 stages with 40-bin histograms and 3 groups takes 3 to 6 kB on disk and 7 kB in memory, one
without stages 1 to 2 kB: 10,000 steps with every tenth sampled make about 20 MB. On long runs, sample stages less often.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO

from adaptlr.records import (
    Decision,
    Finding,
    GroupReading,
    Reading,
    Record,
    StageReading,
    decision_from_dict,
    finding_from_dict,
    reading_from_dict,
)

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1  # of the file format; raised when an older reader could no longer read a newer file
Table = Literal["steps", "groups", "stages", "findings", "decisions"]

_READERS: dict[str, Callable[[Mapping[str, Any]], Record]] = {
    "reading": reading_from_dict,
    "finding": finding_from_dict,
    "decision": decision_from_dict,
}
_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# JSON has no nan and no inf: they are written as text, and read back only in fields that hold floats (a stage may be named "nan").
_CLASSES = (Reading, StageReading, GroupReading, Finding, Decision)
FLOAT_FIELDS = frozenset(f.name for cls in _CLASSES for f in dataclasses.fields(cls) if "float" in str(f.type))


class TraceWarning(UserWarning):
    """A trace was read, or goes on, with something missing; the message says what."""


class Trace:
    """Append-only record of a run, in memory and, if a path is given, in a JSON Lines file that survives a crash.

    ``settings`` are what the run was made with and ``stages`` the labels of the stages it observes; both go into the file's header.
    A file that already holds something is never written to: that raises ``FileExistsError``.

    >>> trace = Trace(settings={"lr": 0.1})
    >>> trace.append(Reading(step=0, loss=2.3))
    >>> trace
    <Trace: 1 reading (steps 0-0), 0 findings, 0 decisions, in memory>
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        stages: Sequence[str] = (),
    ) -> None:
        self.path = None if path is None else Path(path)
        self.header: dict[str, Any] = {
            "type": "header",
            "version": VERSION,
            "adaptlr": _own_version(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "stages": list(stages),
            "settings": _plain(settings or {}),
        }
        self.readings: list[Reading] = []
        self.findings: list[Finding] = []
        self.decisions: list[Decision] = []
        self._order: list[Record] = []
        self._closed = False
        self._file: TextIO | None = None
        if self.path is not None:
            self._file = _open_new(self.path)
            weakref.finalize(self, self._file.close)
            _write(self._file, self.header)

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was made with, as JSON keeps it: tuples are lists, dataclasses mappings; paths and types are text."""
        return self.header["settings"]

    def append(self, record: Record) -> None:
        """Add one record. If the disk is full or gone, the run is not stopped: one warning, and on in memory."""
        if self._closed:
            raise ValueError("this trace is closed, or was read from a file: start a new one to append to")
        kept, tag = self._place(record)
        if self._file is not None:
            try:
                _write(self._file, {"type": tag, **_fields(record)})
            except OSError as error:
                self._file = None
                text = f"{self.path}: cannot write the trace any more ({error}); it goes on in memory"
                warnings.warn(text, TraceWarning, stacklevel=2)
        kept.append(record)
        self._order.append(record)

    def _place(self, record: Record) -> tuple[list[Any], str]:
        match record:
            case Reading():
                return self.readings, "reading"
            case Finding():
                return self.findings, "finding"
            case Decision():
                return self.decisions, "decision"
        raise TypeError(f"a trace holds readings, findings and decisions, not {type(record).__name__}")

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Record]:
        """All records, in the order in which they were appended."""
        return iter(self._order)

    def __repr__(self) -> str:
        counts = [
            f"{len(kept)} {noun}{'' if len(kept) == 1 else 's'}"
            for kept, noun in ((self.readings, "reading"), (self.findings, "finding"), (self.decisions, "decision"))
        ]
        if self.readings:
            counts[0] += f" (steps {self.readings[0].step}-{self.readings[-1].step})"
        return f"<Trace: {', '.join(counts)}, {'in memory' if self.path is None else self.path}>"

    def flush(self) -> None:
        """Wait until the file is on the disk itself. Each line is already out of this process when ``append`` returns."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what is in memory can still be read. Closing twice does nothing."""
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """A copy keeps what is in memory and appends there alone: two writers would spoil one file."""
        return {**self.__dict__, "_file": None}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to a new file and return its path; raises FileExistsError rather than overwrite."""
        with _open_new(Path(path)) as file:
            _write(file, self.header)
            for record in self:
                _write(file, {"type": self._place(record)[1], **_fields(record)})
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a trace back, into memory: to go on writing, start a new file.

        A last line that was cut off by a crash is dropped with a ``TraceWarning``; other damage raises ValueError with the line.
        """
        lines = Path(path).read_bytes().split(b"\n")
        cut = lines.pop()  # what follows the last newline: nothing, unless the writer was killed in mid-line
        if cut and _parses(cut):
            lines, cut = [*lines, cut], b""
        if not lines:
            raise ValueError(f"{path}: empty, or cut off within its first line: there is no run in it")
        trace = cls()
        trace.header = _read_header(path, lines[0])
        for number, line in enumerate(lines[1:], start=2):
            record = _read_record(path, number, line)
            trace._place(record)[0].append(record)
            trace._order.append(record)
        trace.path = Path(path)
        trace._closed = True
        if cut:
            text = (
                f"{path}: line {len(lines) + 1} is cut off (the run was killed in mid-line) and was left out; all before it is kept"
            )
            warnings.warn(text, TraceWarning, stacklevel=2)
        return trace

    def to_frame(self, what: Table = "steps") -> pd.DataFrame:
        """The trace as a table.

        ``"steps"`` has one row a step, with the loss and wide columns such as ``group0.effective_lr`` and ``conv1.quiet_frac``
        (histograms left out). ``"groups"`` and ``"stages"`` have one row a step and group or stage; ``"findings"`` and
        ``"decisions"`` one row each. Needs pandas.
        """
        from adaptlr.show.table import frame  # noqa: PLC0415  (show/ loads only when asked for)

        return frame(self, what)


def _own_version() -> str:
    try:
        return importlib.metadata.version("adaptlr")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _open_new(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8", newline="\n")
    if file.tell():
        file.close()
        raise FileExistsError(
            f"{path} already holds something, and a trace never overwrites: choose another path, or remove it first"
        )
    return file


def _fields(record: object) -> dict[str, Any]:
    """What ``records.to_dict`` gives, one level at a time: its deep copy costs three times what the rest of writing a line does."""
    if not dataclasses.is_dataclass(record):
        raise TypeError(f"records hold plain numbers and text, not {type(record).__name__}: convert with float() or .item() first")
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def _write(file: TextIO, line: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(line, allow_nan=False, separators=(",", ":"), default=_fields)
    except ValueError:  # something is not finite, which is rare: only then is every value looked at
        text = json.dumps(_encode(line), allow_nan=False, separators=(",", ":"), default=_fields)
    file.write(text + "\n")
    file.flush()


def _plain(value: Any) -> Any:
    """Settings as JSON knows them: a dataclass becomes a mapping, a path or a type its text. Records must be plain already."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        value = _fields(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, Mapping):
        return {k: _encode(v) for k, v in value.items()}
    return [_encode(v) for v in value] if isinstance(value, (list, tuple)) else value


def _decode(value: Any, floats: bool = False) -> Any:
    if isinstance(value, dict):
        return {k: _decode(v, floats or k in FLOAT_FIELDS) for k, v in value.items()}
    if isinstance(value, list):
        return [_decode(v, floats) for v in value]
    return _NONFINITE.get(value, value) if floats and isinstance(value, str) else value


def _parses(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _read_header(path: str | os.PathLike[str], line: bytes) -> dict[str, Any]:
    header = json.loads(line) if _parses(line) else None
    if not isinstance(header, dict) or header.get("type") != "header":
        raise ValueError(f"{path}: line 1 is not a trace header; is this file a trace that adaptlr wrote?")
    if header.get("version", 0) > VERSION:
        text = f"{path}: trace format {header['version']}, and this adaptlr reads up to {VERSION}; upgrade: pip install -U adaptlr"
        raise ValueError(text)
    return {**header, "settings": _decode(header.get("settings", {}), floats=True)}


def _read_record(path: str | os.PathLike[str], number: int, line: bytes) -> Record:
    try:
        data = json.loads(line)
        read = _READERS[data.pop("type")]
        return read(_decode(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: line {number} is damaged ({type(error).__name__}: {error})") from error
