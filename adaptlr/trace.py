"""The record of a run: everything measured, found and decided, in the order in which it happened.

A trace is written while the run goes on and read afterwards: as a DataFrame, or as a picture (``adaptlr.show``). The judges may
read it again, but it does not hold all that they knew: not the run's outlook (:mod:`adaptlr.judge.outlook`), nor what decisions did
to their memory. On disk it is JSON Lines: a header, then one record a line, so a run that was killed leaves everything up to its
last step.

The file grows with the run. A reading of 5 stages with 40-bin histograms and 3 groups takes 3 to 6 kB on disk, one without stages 1
to 2 kB: 10,000 steps with every tenth sampled make about 20 MB. On long runs, sample stages less often. In memory a reading of 3
groups takes 1.1 kB, and 2 kB more for each stage: all are kept of the first 20,000 steps, and of longer runs so many that memory
stays what it was by then (:mod:`adaptlr.thin`).
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO

from adaptlr import jsonl, thin
from adaptlr.callers import warn
from adaptlr.jsonl import FLOAT_FIELDS, VERSION
from adaptlr.records import Decision, Finding, Reading, Record

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

KEEP = 20_000

__all__ = ["FLOAT_FIELDS", "KEEP", "VERSION", "Table", "Trace", "TraceWarning"]

Table = Literal["steps", "groups", "stages", "findings", "decisions"]


class TraceWarning(UserWarning):
    """A trace was read, or goes on, with something missing; the message says what."""


class Trace:
    """Append-only record of a run, in memory and, if a path is given, in a JSON Lines file that survives a crash.

    ``settings`` are what the run was made with and ``stages`` the labels of the stages it observes; both go into the file's header.
    A file that already holds something is never written to: that raises ``FileExistsError``. The file has every record; in memory
    are all findings and decisions, and at most ``keep`` readings (None: all): the first, the newest, and an even choice between.

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
        keep: int | None = KEEP,
    ) -> None:
        if keep is not None and keep < thin.LEAST:
            raise ValueError(f"keep must be at least {thin.LEAST} readings, or None for all of them; got {keep!r}")
        self.keep = keep
        self.path = None if path is None else Path(path)
        self.header: dict[str, Any] = {
            "type": "header",
            "version": VERSION,
            "adaptlr": _own_version(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "stages": list(stages),
            "settings": jsonl.plain(settings or {}),
        }
        self.readings: list[Reading] = []
        self.findings: list[Finding] = []
        self.decisions: list[Decision] = []
        self._order: list[Record] = []
        self._closed = False
        self._file: TextIO | None = None
        if self.path is not None:
            self._file = jsonl.open_new(self.path)
            weakref.finalize(self, self._file.close)
            jsonl.write(self._file, self.header)

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
                jsonl.write(self._file, {"type": tag, **jsonl.fields(record)})
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._file.close()  # what is left in its buffer is lost, and must not be tried again when nobody listens
                self._file = None
                text = f"{self.path}: cannot write the trace any more ({error}); it goes on in memory"
                warn(text, TraceWarning)
        kept.append(record)
        self._order.append(record)
        if self.keep is not None and len(self.readings) > self.keep:
            dropped = thin.thin(self.readings, self.keep)
            self._order = [r for r in self._order if not (isinstance(r, Reading) and r.step in dropped)]

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
        with jsonl.open_new(Path(path)) as file:
            jsonl.write(file, self.header)
            for record in self:
                jsonl.write(file, {"type": self._place(record)[1], **jsonl.fields(record)})
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a trace back, into memory: to go on writing, start a new file.

        A last line that was cut off by a crash is dropped with a ``TraceWarning``; other damage raises ValueError with the line.
        """
        lines = Path(path).read_bytes().split(b"\n")
        cut = lines.pop()  # what follows the last newline: nothing, unless the writer was killed in mid-line
        if cut and jsonl.parses(cut):
            lines, cut = [*lines, cut], b""
        if not lines:
            raise ValueError(f"{path}: empty, or cut off within its first line: there is no run in it")
        trace = cls()
        trace.header = jsonl.read_header(path, lines[0])
        for number, line in enumerate(lines[1:], start=2):
            record = jsonl.read_record(path, number, line)
            trace._place(record)[0].append(record)
            trace._order.append(record)
        trace.path = Path(path)
        trace._closed = True
        if cut:
            text = (
                f"{path}: line {len(lines) + 1} is cut off (the run was killed in mid-line) and was left out; all before it is kept"
            )
            warn(text, TraceWarning)
        return trace

    def to_frame(self, what: Table = "steps") -> pd.DataFrame:
        """The trace as a table.

        ``"steps"`` has one row a step, with the loss and wide columns such as ``group0.effective_lr`` and ``conv1.quiet_frac``
        (histograms left out). ``"groups"`` and ``"stages"`` have one row a step and group or stage; ``"findings"`` and
        ``"decisions"`` one row each. Needs pandas.
        """
        from adaptlr.show.table import frame  # noqa: PLC0415  (show/ loads only when asked for)

        return frame(self, what)

    def plot(self, *, stages: Sequence[str] | None = None, figsize: tuple[float, float] | None = None) -> Figure:
        """The run in one picture: :func:`adaptlr.show.plot.plot`, whose single panels can be had alone."""
        from adaptlr.show.plot import plot  # noqa: PLC0415  (matplotlib)

        return plot(self, stages=stages, figsize=figsize)


@functools.cache
def _own_version() -> str:
    try:
        return importlib.metadata.version("adaptlr")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
