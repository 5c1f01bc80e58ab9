"""The learning rate's multiplier over a run."""

from __future__ import annotations

from experiments.fashion import schedule

SCHEDULES = ("flat", "one-cycle", "cosine")

__all__ = ["SCHEDULES", "schedule"]
