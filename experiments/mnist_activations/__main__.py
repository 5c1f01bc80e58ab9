"""The six MNIST runs of the notebook that the project began with (the seed), then the bad ones with AdaptLR: pictures and a table.

    python -m experiments.mnist_activations --data data [--out runs/mnist_activations] [--quick]

Full size is 3 epochs of 546 steps, about 10 minutes a run on one core; --reduced takes 2,048 images and three seeds; --quick makes
four short runs, under 3 minutes on two cores, of scikit-learn's embedded digits if there is no MNIST. What is finished is not run
again. MNIST is read from ``--data`` in torchvision's layout; ImageNet's weights from ``weights/resnet18_imagenet_body.pth`` in that
folder if they are there, else torchvision downloads them.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from experiments.imagenet import BODY
from experiments.mnist_activations.data import DIGITS, has_mnist
from experiments.mnist_activations.picture import picture
from experiments.mnist_activations.runs import FULL, Run, run_of, train
from experiments.mnist_activations.table import means, read, table
from experiments.parallel import run_all
from experiments.tables import write_csv

STARTS, LRS, BAD = ("untrained", "pretrained"), (1.0, 0.1, 1e-2), (1.0, 0.1)


def full(seeds: tuple[int, ...] = (0,), n: int = FULL) -> list[Run]:
    """The six plain runs, the four bad ones with AdaptLR, and untrained lr=1 without weight decay; ``n`` images each half."""
    run = partial(Run, n_train=n, n_valid=n)
    runs = []
    for seed in seeds:
        runs += [run(start=s, lr=lr, seed=seed) for lr in LRS for s in STARTS]
        runs += [run(start=s, lr=lr, seed=seed, method="adaptlr") for lr in BAD for s in STARTS]
        runs.append(run(start="untrained", lr=1.0, wd=0.0, seed=seed))
    return runs


def quick() -> list[Run]:
    """Four short runs, untrained: ruined, good, put right; and ruined without decay."""
    run = partial(Run, start="untrained", n_train=896, n_valid=896, epochs=4)
    return [run(lr=1.0), run(lr=1e-2), run(lr=1.0, method="adaptlr"), run(lr=1.0, wd=0.0)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder with MNIST/raw, as torchvision has it")
    parser.add_argument("--weights", type=Path, help="file of a ResNet-18's state, for the pretrained runs")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist_activations"))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--draw", action="store_true", help="draw what is there, run nothing")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under 3 minutes")
    size.add_argument("--reduced", action="store_true", help="2,048 images, three seeds")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    if args.quick:
        runs, out = quick(), args.out / "quick"
    elif args.reduced:
        runs, out = full((0, 1, 2), 2048), args.out / "reduced"
    else:
        runs, out = full(), args.out
    out.mkdir(parents=True, exist_ok=True)
    data = args.data
    if args.quick and not has_mnist(data):
        data = DIGITS
        print(f"no MNIST in {args.data!r}: taking scikit-learn's embedded digits, as a quick look may")
    weights = args.weights or Path(args.data) / BODY
    if not args.draw:
        run_all(runs, train, out, jobs=args.jobs, data=data, weights=str(weights) if weights.exists() else None)
    rows = read(out)
    if not rows:
        raise SystemExit(f"no finished run in {out}: leave out --draw to make some")
    write_csv(out / "table.csv", table(rows))
    write_csv(out / "means.csv", means(rows))
    for row in rows:
        name = run_of(row).name
        path = out / f"{name}.png"
        if not args.reduced:
            picture(out / name, row).savefig(path)
            print(f"{path}: validation error {row['error']:.4f}, {len(row['decisions'])} decision(s)")
    print(f"tables: {out / 'table.csv'}, {out / 'means.csv'}")


if __name__ == "__main__":
    main()
