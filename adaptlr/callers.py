"""Warnings at the line of the user's own code that they are about, however many calls of ours lie between."""

from __future__ import annotations

import sys
import warnings


def warn(text: str, category: type[Warning], *frameworks: str) -> None:
    """Warn at the nearest line outside of adaptlr, and of these packages, that led here."""
    ours = ("adaptlr", "contextlib", "torch", *frameworks)
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        frame = frame.f_back
    warnings.warn_explicit(text, category, frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__", ""))
