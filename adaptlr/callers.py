"""Warnings at the line of the user's own code that they are about, however many calls of ours lie between."""

from __future__ import annotations

import sys
import warnings


def warn(text: str, category: type[Warning], *frameworks: str) -> None:
    """Warn at the nearest line outside of adaptlr, and of these packages, that led here."""
    file, number, module = caller_outside("adaptlr", "contextlib", "torch", *frameworks)
    warnings.warn_explicit(text, category, file, number, module)


def caller_outside(*packages: str) -> tuple[str, int, str]:
    """File, line and module of the nearest caller that is in none of these packages."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in packages:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno, frame.f_globals.get("__name__", "")
