"""What is loaded when, and which folder may know of which."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "adaptlr"
HEAVY = ("fastai", "matplotlib", "pandas", "sklearn", "torchvision", "lightning", "transformers", "accelerate", "IPython")
FILES = sorted(PACKAGE.rglob("*.py"))


def loaded_by(statement: str, *, blocked: tuple[str, ...] = ()) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after this statement; ``blocked`` ones cannot be imported in it."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n{statement}\n"
        "print(*sorted({name.split('.')[0] for name, m in sys.modules.items() if m is not None}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imports(source: str, module: str, *, package: bool = False) -> Iterator[str]:
    """Full names of all modules that this source imports when it runs: at its top and within functions, not for type checkers."""
    here = module.split(".") if package else module.split(".")[:-1]
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: len(here) - node.level + 1], node.module or ""] if node.level else [node.module or ""]
            origin = ".".join(part for part in base if part)
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> set[str]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[-1] == "__init__"
    return set(imports(path.read_text(), ".".join(parts[:-1] if package else parts), package=package))


def within(name: str, *packages: str) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in packages)


class TestWhatLoads:
    def test_the_package_loads_torch_and_no_adapter_and_no_pictures(self) -> None:
        """Nor do the modules that ``import adaptlr`` leaves out and that work on records: one process, for each takes seconds."""
        loaded = loaded_by("import adaptlr, adaptlr.controller, adaptlr.trace, adaptlr.cli, adaptlr.show.words, adaptlr.show.table")
        assert {"adaptlr", "torch"} <= loaded
        assert not loaded & set(HEAVY)

    def test_the_check_sees_what_is_loaded(self, tmp_path: Path) -> None:
        """A stand-in for pandas, imported by a stand-in for the package."""
        (tmp_path / "pandas.py").write_text("")
        (tmp_path / "stand_in.py").write_text("import pandas")
        path = f"sys.path.insert(0, {str(tmp_path)!r})"
        assert loaded_by(f"{path}; import stand_in") & set(HEAVY) == {"pandas"}
        assert not loaded_by(path) & set(HEAVY)

    def test_judges_run_without_torch(self) -> None:
        """Loaded beside an empty ``adaptlr``, since the real one loads the controller, and with it torch."""
        modules = [f"adaptlr.judge.{p.stem}" for p in sorted((PACKAGE / "judge").glob("*.py")) if p.stem != "__init__"]
        assert len(modules) > 5
        bare = f"import types; m = types.ModuleType('adaptlr'); m.__path__ = [{str(PACKAGE)!r}]; sys.modules['adaptlr'] = m"
        judge = f"{bare}\nimport adaptlr.records, {', '.join(modules)}"
        loaded = loaded_by(judge, blocked=("torch", "numpy", "scipy"))
        assert "adaptlr" in loaded
        assert loaded - {"adaptlr"} <= sys.stdlib_module_names | startup()
        with pytest.raises(AssertionError, match="torch"):  # the block does block
            loaded_by(f"{bare}\nimport adaptlr.measure.weights", blocked=("torch", "numpy", "scipy"))


def startup() -> set[str]:
    """What the interpreter loads by itself: an editable install's finder, say."""
    return loaded_by("pass")


RULES = {  # folder or file -> what it may import beside the standard library
    "records.py": (),
    "judge": ("adaptlr.judge", "adaptlr.ranges", "adaptlr.records"),
    "measure": ("adaptlr.measure", "adaptlr.records", "torch", "numpy", "scipy"),
    "act": ("adaptlr.act", "adaptlr.records", "torch"),
    "trace.py": (
        "adaptlr.callers",
        "adaptlr.jsonl",
        "adaptlr.records",
        "adaptlr.show.plot",  # within Trace.plot alone
        "adaptlr.show.table",  # within Trace.to_frame alone
        "adaptlr.thin",
    ),
    "jsonl.py": ("adaptlr.records",),
    "thin.py": ("adaptlr.records",),
    "callers.py": (),
    "ranges.py": (),
    "state.py": (),
    "ranks.py": ("adaptlr.standin", "torch"),
    "wrapped.py": ("adaptlr.measure", "adaptlr.ranks", "torch"),
    "observer.py": (
        "adaptlr.act",
        "adaptlr.measure",
        "adaptlr.ranges",
        "adaptlr.ranks",
        "adaptlr.records",
        "adaptlr.state",
        "torch",
    ),
    "usage.py": ("adaptlr.observer", "torch"),
    "arguments.py": ("adaptlr.judge", "adaptlr.measure", "adaptlr.observer", "torch"),
    "controller.py": (
        "adaptlr.act",
        "adaptlr.arguments",
        "adaptlr.callers",
        "adaptlr.judge",
        "adaptlr.measure",
        "adaptlr.observer",
        "adaptlr.ranges",
        "adaptlr.records",
        "adaptlr.state",
        "adaptlr.trace",
        "adaptlr.usage",
        "adaptlr.wrapped",
        "torch",
    ),
}


def files_of(place: str) -> list[Path]:
    return [p for p in FILES if p.relative_to(PACKAGE).parts[0] == place]


def broken(found: set[str], allowed: tuple[str, ...]) -> set[str]:
    return {name for name in found if not within(name, *allowed, *sys.stdlib_module_names)}


def trespasses(found: set[str], allowed: tuple[str, ...]) -> set[str]:
    """Of the imports found, those that a rule does not allow; ``from adaptlr.measure import stats`` counts as what it names."""
    bad = broken(found, allowed)
    return {name for name in bad if not any(within(deeper, name) and deeper != name and deeper not in bad for deeper in found)}


class TestLayers:
    @pytest.mark.parametrize("place", RULES)
    def test_each_knows_only_what_comes_before_it(self, place: str) -> None:
        files = files_of(place)
        assert files
        found = {str(p.relative_to(ROOT)): trespasses(imports_of(p), RULES[place]) for p in files}
        assert not any(found.values()), found

    @pytest.mark.parametrize("place", ["show", "cli.py", "__main__.py"])
    def test_what_shows_reads_traces_alone(self, place: str) -> None:
        """Neither the controller nor an adapter, nor torch: a trace is read on a laptop."""
        found = {str(p.relative_to(ROOT)): imports_of(p) for p in files_of(place)}
        adapters = ("adaptlr.fastai", "adaptlr.fits", "adaptlr.lightning", "adaptlr.transformers")
        forbidden = ("torch", "fastai", "adaptlr.controller", "adaptlr.measure", "adaptlr.act", "adaptlr.judge", *adapters)
        assert found
        assert {p: bad for p, names in found.items() if (bad := {n for n in names if within(n, *forbidden)})} == {}

    @pytest.mark.parametrize(
        ("place", "source"),
        [
            pytest.param("judge", "import torch", id="plain"),
            pytest.param("judge", "from torch import Tensor", id="from"),
            pytest.param("judge", "def f():\n    import torch.nn", id="within-a-function"),
            pytest.param("judge", "try:\n    import numpy as np\nexcept ImportError:\n    pass", id="within-try"),
            pytest.param("judge", "from ..measure import weights", id="relative"),
            pytest.param("judge", "from .. import controller", id="relative-to-the-package"),
            pytest.param("measure", "from adaptlr.fastai import AdaptLR", id="an-adapter"),
            pytest.param("measure", "from adaptlr import show", id="a-name-of-the-package"),
            pytest.param("act", "import adaptlr.cli", id="the-cli"),
            pytest.param("act", "import fastai.optimizer", id="fastai"),
            pytest.param("records.py", "from adaptlr.judge import heat", id="a-later-layer"),
        ],
    )
    def test_the_check_sees_a_planted_import(self, place: str, source: str) -> None:
        assert trespasses(set(imports(source, f"adaptlr.{place}.planted")), RULES[place])

    @pytest.mark.parametrize(
        "source",
        [
            "import math, collections.abc",
            "from adaptlr.judge import heat",
            "from . import heat",
            "from .heat import runaway",
            "from adaptlr.records import Finding",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        ],
    )
    def test_and_lets_the_others_pass(self, source: str) -> None:
        assert not trespasses(set(imports(source, "adaptlr.judge.planted")), RULES["judge"])


def test_every_folder_has_a_rule_or_is_an_outer_layer() -> None:
    """A new folder has to say where it belongs."""
    places = {p.relative_to(PACKAGE).parts[0] for p in FILES}
    adapters = {"fastai", "fits.py", "lightning.py", "standin.py", "transformers.py"}
    outer = {"__init__.py", "__main__.py", "cli.py", "demo", "show"} | adapters
    assert places == set(RULES) | outer
    assert importlib.util.find_spec("adaptlr") is not None
