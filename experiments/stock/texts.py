"""English that every Python brings: the docstrings of its standard library."""

from __future__ import annotations

import ast
import re
import sysconfig
from functools import lru_cache
from pathlib import Path

LARGEST = ("asyncio", "email", "importlib", "logging", "multiprocessing", "tkinter", "unittest", "xml")
_LEAST_WORDS = 8
_LEFT_OUT = ("idlelib", "lib2to3", "site-packages", "test", "tests")
_DEFINES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@lru_cache
def docstrings() -> tuple[tuple[str, str], ...]:
    """Each docstring, in small letters and its marks set apart by spaces, after the name of the top-level module it is from."""
    root, found = Path(sysconfig.get_paths()["stdlib"]), list[tuple[str, str]]()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if any(part in _LEFT_OUT for part in parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # templates and the like
            continue
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, _DEFINES) else None
            words = re.sub(r"([^\w\s])", r" \1 ", (text or "").lower()).split()
            if len(words) >= _LEAST_WORDS:
                found.append((parts[0].removesuffix(".py"), " ".join(words)))
    return tuple(found)
