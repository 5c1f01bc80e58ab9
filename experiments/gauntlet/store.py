"""Finished cells, each saved at once: one line a run. Killed and started again, a gauntlet goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

Row = dict[str, Any]
_NESTED = ("lrs", "final_lrs", "findings", "decisions")  # JSON in the table: their shapes differ from method to method


class Store:
    """The rows of a folder, by key; the newest line of a key counts. A half-written last line is dropped."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file = folder / "rows.jsonl"
        self.rows: dict[str, Row] = {}
        if self._file.exists():
            text = self._file.read_text()
            whole = text[: text.rfind("\n") + 1]
            if whole != text:  # killed while writing
                self._file.write_text(whole)
            self.rows = {row["key"]: row for row in map(json.loads, whole.splitlines())}

    def add(self, row: Row) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.rows[row["key"]] = row

    def done(self, key: str, made_by: str) -> bool:
        """Whether a run is there to be reused: made by the same code. One that crashed is tried again."""
        row = self.rows.get(key)
        return row is not None and row["error"] is None and row.get("made_by") == made_by

    def to_parquet(self, rows: list[Row]) -> Path:
        """These rows, one a run, as ``rows.parquet``."""
        flat = [{k: json.dumps(v) if k in _NESTED else v for k, v in row.items()} for row in rows]
        path = self.folder / "rows.parquet"
        pd.DataFrame(flat).to_parquet(path, index=False)
        return path
