"""Methods by name."""

from __future__ import annotations

from experiments.gauntlet.methods.adapt import AdaptLR, Watch
from experiments.gauntlet.methods.base import Event, Events, Plain

METHODS: dict[str, type[Plain]] = {m.name: m for m in (Plain, AdaptLR, Watch)}

__all__ = ["METHODS", "Event", "Events", "Plain"]
