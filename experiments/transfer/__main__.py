"""A pretrained net with a new head, fine-tuned at every learning rate: does adaptlr put it right, too?

    python -m experiments.transfer --data data [--seeds 0,1] [--bodies resnet,resnet18] [--out runs/transfer] [--quick]

Four small nets that know MNIST's digits learn Fashion-MNIST's clothes, and an ImageNet ResNet-18 does if ``DATA/weights`` has it;
with one parameter group, and with a second one for the head. 640 runs with two seeds, some fifteen minutes on two cores. --quick
takes one net. What is finished is not run again: after a change of adaptlr, remove its runs. The folder gets ``table.csv`` and
``summary.json``; recovered is by the error on the validation images.
"""

from __future__ import annotations

from experiments.recovery import publish
from experiments.sweep import command_line, make
from experiments.transfer.runs import BODIES, IMAGENET, SMALL, all_runs, has_imagenet, pretrain, train


def main() -> None:
    there = "MNIST and FashionMNIST, as torchvision has them"
    asked = command_line(__doc__, out="runs/transfer", tasks=BODIES, quick="mlp", called="bodies", data=there)
    if IMAGENET in asked.tasks and not has_imagenet(asked.data):
        print(f"{asked.data} has no weights of a ResNet-18, so it is left out")
        asked.tasks.remove(IMAGENET)
    for body in set(asked.tasks) & set(SMALL):
        pretrain(body, data=asked.data, out=asked.out / "pretrained")
    make(asked, all_runs, train, publish)


if __name__ == "__main__":
    main()
