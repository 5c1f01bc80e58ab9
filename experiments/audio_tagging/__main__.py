"""The f-score fix: slice(1e-6, 1e-2) against 1e-2 on a net that is not pretrained, and what AdaptLR makes of the slice.

    python -m experiments.audio_tagging [--fsdkaggle2019 DIR] [--quick] [--out runs/audio_tagging]

Without DIR, 4,096 two-second clips of recorded instruments are rendered (Debian: fluidsynth, fluid-soundfont-gm,
musescore-general-soundfont). With it, the curated set of Freesound Audio Tagging 2019 is read. Fits are made with fresh learners
from the same weights; "confound" repeats the published notebook, whose second fit went on from its first. What is finished is not
run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from experiments.audio_tagging.dataset import CROP, Embedded
from experiments.audio_tagging.picture import picture
from experiments.audio_tagging.runs import METHODS, Fit, load, train_from
from experiments.audio_tagging.table import read, summary, table
from experiments.imagenet import BODY
from experiments.parallel import run_all
from experiments.record import write
from experiments.tables import write_csv

FIRST = tuple(m for m in METHODS if m != "confound")  # confound goes on from the weights that good leaves


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdkaggle2019", metavar="DIR", help="folder with train_curated.csv and train_curated/*.wav")
    parser.add_argument("--out", type=Path, default=Path("runs/audio_tagging"))
    parser.add_argument("--cache", type=Path, default=Path("runs/audio_cache"), help="where rendered clips are kept")
    parser.add_argument("--weights", type=Path, default=Path("data") / BODY)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--size", type=int, help="pixels a side; 128 for the real set, 32 for the embedded one")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time, each on one core")
    parser.add_argument("--quick", action="store_true", help="640 clips, one seed, four epochs: under 3 minutes on two cores")
    parser.add_argument("--draw", action="store_true", help="draw what is there, run nothing")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    sizes = Embedded(n_train=640, n_test=192, n_other=192) if args.quick else Embedded()
    source = args.fsdkaggle2019 or "embedded"
    out = args.out / "quick" if args.quick else args.out
    out.mkdir(parents=True, exist_ok=True)
    if not args.draw:
        n_train = len(load(source, str(args.cache), sizes).train)
        shape = {
            "epochs": 4 if args.quick else args.epochs,
            "size": args.size or (32 if source == "embedded" else CROP),
            "n_train": n_train,
        }
        seeds = [0] if args.quick else [int(s) for s in args.seeds.split(",")]
        methods = [m for m in args.methods.split(",") if not (args.quick and m == "pretrained+adaptlr")]
        kwargs = {"source": source, "cache": str(args.cache), "sizes": sizes}
        kwargs["weights"] = str(args.weights) if args.weights.exists() else None
        for wave in (FIRST, ("confound",)):
            fits = [Fit(method=m, seed=s, **shape) for s in seeds for m in wave if m in methods]
            fits = [f for f in fits if f.method != "pretrained+adaptlr" or f.seed == seeds[0]]
            run_all(fits, train_from, out, jobs=args.jobs, **kwargs)
    rows = read(out)
    if not rows:
        raise SystemExit(f"no finished fit in {out}: leave out --draw to make some")
    write_csv(out / "table.csv", table(rows))
    write(out / "summary.json", summary(rows))
    picture(out, rows).savefig(out / "f_score.png")
    print(json.dumps(summary(rows), indent=1))
    print(f"picture: {out / 'f_score.png'}, table: {out / 'table.csv'}")


if __name__ == "__main__":
    main()
