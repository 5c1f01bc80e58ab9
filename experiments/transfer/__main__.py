"""A pretrained net with a new head, fine-tuned at every learning rate: does adaptlr put it right, too?

    python -m experiments.transfer --data data [--seeds 0,1] [--bodies resnet,resnet18] [--out runs/transfer] [--quick]

Four small nets that know MNIST's digits learn Fashion-MNIST's clothes, and an ImageNet ResNet-18 does if ``DATA/weights`` has it;
with one parameter group, and with a second one for the head. 640 runs with two seeds, some fifteen minutes on two cores. --quick
takes one net. What is finished is not run again: after a change of adaptlr, remove its runs. The folder gets ``table.csv`` and
``summary.json``; recovered is by the error on the validation images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.parallel import run_all
from experiments.recovery import publish
from experiments.transfer.runs import BODIES, IMAGENET, SMALL, all_runs, has_imagenet, pretrain, train


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder with MNIST and FashionMNIST, as torchvision has them")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--bodies", default=",".join(BODIES))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--quick", action="store_true", help="one small net, one seed: under a minute")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    bodies, seeds = args.bodies.split(","), [int(s) for s in args.seeds.split(",")]
    if unknown := set(bodies) - set(BODIES):
        raise SystemExit(f"no such net: {', '.join(sorted(unknown))}; there are {', '.join(BODIES)}")
    if args.quick:
        bodies, seeds, args.out = ["mlp"], [0], args.out / "quick"
    if IMAGENET in bodies and not has_imagenet(args.data):
        print(f"{args.data} has no weights of a ResNet-18, so it is left out")
        bodies.remove(IMAGENET)
    for body in set(bodies) & set(SMALL):
        pretrain(body, data=args.data, out=args.out / "pretrained")
    runs = all_runs(seeds, bodies)
    run_all(runs, train, args.out, jobs=args.jobs, data=args.data)
    publish(runs, args.out, seeds=seeds)


if __name__ == "__main__":
    main()
