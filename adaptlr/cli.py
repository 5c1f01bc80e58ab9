"""The command ``adaptlr``: the demo, and pictures and pages of saved traces."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adaptlr import __version__, jsonl

if TYPE_CHECKING:
    from adaptlr.trace import Trace

_FAILED, _INTERRUPTED = 2, 130  # exit codes: as argparse's own, and as a shell's


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code: 0; 2 with one line that says what is wrong; 130 after Ctrl-C."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except KeyboardInterrupt:
        print("\nadaptlr: stopped", file=sys.stderr)
        return _INTERRUPTED
    except (OSError, ValueError, ImportError) as error:
        print(f"adaptlr: {_words(error)}", file=sys.stderr)
        return _FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="adaptlr", description="Watches a network train, and puts a wrong learning rate right.")
    parser.add_argument("--version", action="version", version=f"adaptlr {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="six trainings on the CPU (minutes): two ruined learning rates, before and after")
    demo.add_argument("--out", type=Path, default=Path("adaptlr-demo"), metavar="DIR", help="folder to write to (%(default)s)")
    demo.add_argument("--overwrite", action="store_true", help="replace an earlier demo's files in DIR; others are left alone")
    demo.add_argument("--seed", type=_seed, default=0, help="of weights, batches and split (%(default)s)")
    demo.add_argument("--epochs", type=int, default=None, help="of each run; fewer are quicker, and prove less")
    demo.set_defaults(run=_demo)

    show = commands.add_parser("show", help="draw a saved trace")
    show.add_argument("trace", type=Path, metavar="TRACE", help="a trace (JSON Lines) that adaptlr wrote")
    show.add_argument("--out", type=Path, metavar="PNG", help="picture to write, also .pdf or .svg (default: TRACE with .png)")
    show.set_defaults(run=_show)

    report = commands.add_parser("report", help="one HTML page about one or more saved traces, side by side")
    report.add_argument("traces", type=Path, nargs="+", metavar="TRACE", help="traces, in the order in which they are to stand")
    report.add_argument("--out", type=Path, required=True, metavar="HTML", help="page to write")
    report.add_argument("--title", default="adaptlr: what happened in these runs", help="of the page")
    report.set_defaults(run=_report)
    return parser


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**32:
        raise argparse.ArgumentTypeError(f"a seed is a whole number from 0 to {2**32 - 1}, got {text!r}")
    return seed


def _demo(args: argparse.Namespace) -> None:
    with warnings.catch_warnings():  # what fastai sets off in torch and pandas when it is imported is of no use to the user here
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        from adaptlr.demo import Setup, run_demo  # noqa: PLC0415  (fastai and matplotlib take seconds to import)

    setup = Setup(seed=args.seed) if args.epochs is None else Setup(seed=args.seed, epochs=args.epochs)
    run_demo(args.out, setup=setup, overwrite=args.overwrite)


def _show(args: argparse.Namespace) -> None:
    trace = _load(args.trace)
    from adaptlr.show.plot import plot  # noqa: PLC0415  (matplotlib)

    out = args.out or args.trace.with_suffix(".png")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name a file in it with --out, such as {out / 'run.png'}")
    if not out.suffix:  # matplotlib would add one, and what is said and spared would be another file
        out = out.with_name(f"{out.name}.png")
    _spare_traces(out, [args.trace])
    figure = plot(trace)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    print(out)


def _report(args: argparse.Namespace) -> None:
    runs = [(path.stem, _load(path), {}) for path in args.traces]
    _spare_traces(args.out, args.traces)
    from adaptlr.show.report import html_report  # noqa: PLC0415  (matplotlib)

    print(html_report(runs, args.out, title=args.title, intro=f"Drawn by adaptlr {__version__} from {len(runs)} saved traces."))


def _spare_traces(out: Path, traces: Sequence[Path]) -> None:
    """Refuse to write over what was read, by whatever name it goes, and over any other trace."""
    if out.exists() and any(out.samefile(trace) for trace in traces):
        raise ValueError(f"{out} is a trace that is to be drawn: name another file with --out")
    if jsonl.is_trace(out):
        raise ValueError(f"{out} is a trace, which would be lost: name another file with --out")


def _load(path: Path) -> Trace:
    from adaptlr.trace import Trace  # noqa: PLC0415

    with _plain_warnings():
        return Trace.load(path)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line each, without the place in the code that they come from."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        print(f"adaptlr: {warning.message}", file=sys.stderr)


def _words(error: Exception) -> str:
    """The error on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return " ".join(str(error).split())
