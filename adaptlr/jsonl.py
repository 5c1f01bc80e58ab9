"""The file of a trace, in JSON Lines: a header, then one record a line.

JSON has no nan and no inf: they are written as text, and read back only in fields that hold floats (a stage may be named "nan").
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

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

VERSION = 1  # of the file format; raised when an older reader could no longer read a newer file

_READERS: dict[str, Callable[[Mapping[str, Any]], Record]] = {
    "reading": reading_from_dict,
    "finding": finding_from_dict,
    "decision": decision_from_dict,
}
_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_CLASSES = (Reading, StageReading, GroupReading, Finding, Decision)
FLOAT_FIELDS = frozenset(f.name for cls in _CLASSES for f in dataclasses.fields(cls) if "float" in str(f.type))


def open_new(path: Path) -> TextIO:
    """The file, new or empty, to append to, its folder made; raises FileExistsError rather than overwrite."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8", newline="\n")
    if file.tell():
        file.close()
        raise FileExistsError(
            f"{path} already holds something, and a trace never overwrites: choose another path, or remove it first"
        )
    return file


def is_trace(path: Path) -> bool:
    """There is such a file, and it begins with a trace's header, be that whole or cut off."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        begin = file.read(64)
    return b"".join(begin.split()).startswith(b'{"type":"header"')


def fields(record: object) -> dict[str, Any]:
    """What ``records.to_dict`` gives, one level at a time: its deep copy costs three times what the rest of writing a line does."""
    if not dataclasses.is_dataclass(record):
        raise TypeError(f"records hold plain numbers and text, not {type(record).__name__}: convert with float() or .item() first")
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def write(file: TextIO, line: Mapping[str, Any]) -> None:
    """Write one line, and hand it to the operating system."""
    try:
        text = json.dumps(line, allow_nan=False, separators=(",", ":"), default=fields)
    except ValueError:  # something is not finite, which is rare: only then is every value looked at
        text = json.dumps(_encode(line), allow_nan=False, separators=(",", ":"), default=fields)
    file.write(text + "\n")
    file.flush()


def plain(value: Any) -> Any:
    """Settings as JSON knows them: a dataclass becomes a mapping, a path or a type its text. Records must be plain already."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def read_header(path: str | os.PathLike[str], line: bytes) -> dict[str, Any]:
    """The header from the first line; raises ValueError if it is none, or of a newer format."""
    header = json.loads(line) if parses(line) else None
    if not isinstance(header, dict) or header.get("type") != "header":
        raise ValueError(f"{path}: line 1 is not a trace header; is this file a trace that adaptlr wrote?")
    if header.get("version", 0) > VERSION:
        text = f"{path}: trace format {header['version']}, and this adaptlr reads up to {VERSION}; upgrade: pip install -U adaptlr"
        raise ValueError(text)
    return {**header, "settings": _decode(header.get("settings", {}), floats=True)}


def read_record(path: str | os.PathLike[str], number: int, line: bytes) -> Record:
    """The record in one line; raises ValueError with the line's number if it is damaged."""
    try:
        data = json.loads(line)
        read = _READERS[data.pop("type")]
        return read(_decode(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: line {number} is damaged ({type(error).__name__}: {error})") from error


def parses(line: bytes) -> bool:
    """The line is whole."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        value = fields(value)
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
