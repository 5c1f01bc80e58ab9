"""Every number that a rule compares with, by name, with its unit, its range and where it comes from.

"Measured" means: on Fashion-MNIST with a slim ResNet, a VGG-like net without normalisation, an MLP and a small ViT, under Adam and
SGD with momentum; ``experiments/rescue.py`` makes such runs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """What counts as too hot, collapsed, starved or cold. The defaults are one set for every net; change them knowing why.

    Raises:
        ValueError: a threshold is outside its range; the message quotes the value.
    """

    spike_factor: float = 300.0  # gradient RMS over the largest before, or running variance over that of the step before, (1, 1e9]:
    # one batch out of scale; of 163 recorded healthy runs, none came above 5.1 or 1.4 after its first steps
    hot_ratio: float = 0.1  # update ratio, (0, 1]: measured healthy runs stay below 0.05 but for their first steps
    ruin_ratio: float = 0.5  # update ratio, (0, 10]: few measured runs trained well that started above 0.5
    sure_ratio: float = 3.0  # update ratio, (0, 100], from which that is taken as certain; below, first steps get time to recover:
    shock_steps: int = 6  # so many steps, [1, 24],
    shock_frac: float = 3.0  # unless the loss is so many times that of the start already, (1, 1000]
    rise_frac: float = 0.3  # share of the loss by which it must have risen to agree that updates are too large, (0, 10]
    rise_sigmas: float = 4.0  # and by so many robust standard deviations of its steps, (0, 100]
    diverged_factor: float = 2.0  # the loss over its level at the start, (1, 1000]: one batch is noise, three in a row are not
    regress_frac: float = 0.5  # share of what had been learned that is lost again, (0, 1]
    had_learned_frac: float = 0.5  # of the loss at the start: a net that had come below it may come back after a spike, (0, 1]:
    spike_steps: int = 6  # so many steps in a row on which that share of what was learned is lost say that it does not, [1, 24]
    blown_up_factor: float = 10.0  # the loss over its level at the start, from which nothing is waited for, (1, 1000]
    shift_ratio: float = (
        0.015  # update ratio, (0, 1], from which the learning rate may have made a loss leap in one step: so it was in
    )
    # all ten such leaps of 447 recorded runs, from 0.021 up; where data had changed it was 0.002 to 0.01. Likewise of a divergence
    dead_grad_frac: float = 1e-4  # gradient RMS over its first value at which no gradient arrives any more, (0, 1)
    quiet_frac: float = 0.98  # share of near-zero activations in a stage that counts as silent, (0, 1]
    stuck_frac: float = 0.9  # of the loss at the start: at or above it, the net is no better than guessing, (0, 1]
    flat_frac: float = 0.3  # likewise if it has not changed for 12 steps: an initialisation may begin far above guessing, (0, 1]
    stall_ratio: float = 0.015  # update ratio at which a loss that stands still is the learning rate's fault, (0, 1]
    bounce_frac: float = (
        0.08  # noise of the loss from step to step over its level: hot nets bounce at 0.1, slow ones at 0.04-0.07, (0, 1]
    )
    bounce_times: float = 1.5  # and over the same in smaller steps: batches differ by themselves, [1, 100]
    noisy_frac: float = 0.16  # the same noise, (0, 100], from which it may hide that the loss falls: steps then have to be as large
    noise_most: float = 0.25  # as thrown_ratio; and from which it does, (0, 100]: 0.2 to 0.5 with batches of two
    stall_frac: float = 0.75  # of the loss at the start: a stall below it is left alone, the net has learned something, (0, 1]
    died_frac: float = 0.3  # share of a stage's units gone dormant since the start, (0, 1]: then a stall counts at any loss
    stall_steps: int = 16  # steps that a stall lasts, (3, 24]
    thrown_ratio: float = 0.05  # update ratio of weights that are thrown about, (0, 1]
    thrown_walk: float = 200.0  # path over vouched distance of a walk that leads nowhere, (0, 1e9]: good ones are mostly below
    thrown_frac: float = 0.9  # share of the loss of 16 steps ago below which it falls all the same, (0, 1]
    thrown_steps: int = 24  # steps of evidence, [12, 1000]
    swing: float = 0.2  # mean cosine of a gradient with the last one, sign turned, from which it swings across a valley, (0, 1]
    starved_share: float = 0.01  # a group's update ratio over the median of the others' at which it is starved, (0, 1)
    starved_ratio: float = 1e-4  # and its update ratio itself, (0, 1): below it a weight needs 10,000 steps to move by its own size
    starved_steps: int = 4  # steps in a row, [1, 1000]
    cold_walk: float = 7.0  # path over vouched distance of a straight line, (0, 100]: 1-6 measured when cold, under any schedule
    cold_ratio: float = 6e-4  # update ratio at and above which no group is called cold, (0, 1): healthy plateaus stay above
    slow_ratio: float = 1e-3  # likewise where the loss is as good as unchanged, (0, 1): slow starts at 1.3e-3 came to life
    unchanged_frac: float = 0.95  # of the loss at the start: what "as good as unchanged" is, (0, 1]
    search_ratio: float = 0.03  # likewise once so much of the run is over, or the learning rate is no longer the user's own, (0, 1)
    late_frac: float = 1 / 3  # share of the run, (0, 1), from which on
    late_walk: float = 1.5  # path over vouched distance, over the root of the steps, is that of a straight line, (0, 100]
    soon_frac: float = 0.2  # and share from which on
    soon_walk: float = 0.7  # that is straight enough,
    hardly_frac: float = 0.9  # if the loss is not below so much of that of as many steps ago as below, (0, 1]: 13 recorded runs
    # that were too cold, and none that trained well
    idle_frac: float = 0.7  # and share of the pace, (0, 1], below which no straight line is asked for where the loss is above
    # hardly_frac of that at the start: 36 recorded runs that were too cold, and three that trained well
    search_walk: float = 6.0  # and where the learning rate is ours: nets that trained well are above it after 24 steps, (0, 100]
    search_steps: int = 16  # steps of evidence there, [8, 10000]
    falling_frac: float = 0.8  # and the share of the loss of as many steps ago below which it is falling: no search then, (0, 1]
    aligned_steps: int = 8  # steps in a row whose gradients point the same way, [2, 10000], after which it goes on though it falls
    goes_on_cosine: float = 0.5  # of a gradient with the last one, mean of a dozen, (0, 1]: below it a run that goes on from an
    # earlier one is not cold. At batches of 64 it is 0.38 to 0.83 in nets that have learned nothing, up to 0.4 in those that have
    found_frac: float = 0.3  # and the share of the loss at the start below which the search is over, and nothing stalls, (0, 1]
    learned_frac: float = 0.6  # of the loss at the start: a run below it is learning, whatever its updates, (0, 1]
    cold_steps: int = 16  # steps of evidence, [8, 10000]: rho is noise before that
    short_way: float = 0.016  # path at the run's end over sqrt(steps) below which a net is too cold, (0, 1): 0.2 in 160 steps,
    # where nets that trained well go 0.27 to 4 times their weights, and those at a tenth of a good learning rate 0.01 to 0.5
    less_way: float = 0.3  # share of that which a pretrained net with a new head has to go, (0, 1], and large ones less: 0.02 to
    # 0.6 measured where ten times too cold and more, 0.46 to 3.5 where good
    body_way: float = 0.2  # and what of it has learned, if that is judged without the head, (0, 1]: 0.31 measured where good
    new_noise: float = 0.2  # noise of the loss over its level, (0, 1], under a new head: 0.03 to 0.16; 0.28 to 1.8 under old ones
    unlearned_frac: float = 0.35  # of the loss at the start: a run below it is not judged by its way, (0, 1]
    slack_frac: float = 0.6  # of the pace: below it a learning rate of ours has been cut too far, (0, 1],
    jagged_frac: float = 0.6  # if no more than this share of a step gets anywhere, (0, 1]: 0.4 to 0.55 without momentum
    shaken_steps: int = 16  # steps, [1, 1000], after which a net that was shaken by a ruinous step should have learned something:
    shaken_frac: float = 0.85  # its loss is below so much of that at the start, (0, 1]
    replaced_frac: float = 0.7  # distance from the start over the weights' size, (0, 1.4]: they are others, if it is reached within
    replaced_steps: int = 24  # so many steps or twice as many, [8, 1000], and then a net should have learned something too
    moved_frac: float = 0.5  # distance from the start over the weights' size, (0, 1.4], of a net that large updates moved away,
    flung_frac: float = 0.3  # that those of a twentieth and more add up to, (0, 10]: 0.43 in two that were ruined by them,
    # and 0.23 in one that was not
    stuck_steps: int = 24  # that has seen no lower loss for so many steps, [1, 1e9],
    stuck_share: float = 0.1  # and for such a share of the run, (0, 1],
    stuck_unknown: int = 60  # or for so many steps and half the run so far, if its length is unknown, [1, 1e9],
    stuck_best: float = 0.45  # and whose lowest loss is above so much of that at the start, (0, 1]
    frozen_ratio: float = 1e-5  # update ratio at which even a warm-up of x25 would leave a net standing still, (0, 1)
    decay_share: float = 0.8  # share of the travel that weight decay alone explains, (0, 1]
    decay_per_step: float = (
        2e-3  # lr x weight decay from which the question is asked, (0, 1): 0.999 a step halves weights in 350 steps
    )

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float, float]] = {
            "spike_factor": (1, 1e9),
            "hot_ratio": (0, 1),
            "ruin_ratio": (0, 10),
            "sure_ratio": (0, 100),
            "shock_steps": (0, 24),
            "shock_frac": (1, 1000),
            "rise_frac": (0, 10),
            "rise_sigmas": (0, 100),
            "diverged_factor": (1, 1000),
            "regress_frac": (0, 1),
            "had_learned_frac": (0, 1),
            "spike_steps": (0, 24),
            "blown_up_factor": (1, 1000),
            "shift_ratio": (0, 1),
            "dead_grad_frac": (0, 1),
            "quiet_frac": (0, 1),
            "stuck_frac": (0, 1),
            "flat_frac": (0, 1),
            "bounce_frac": (0, 1),
            "noisy_frac": (0, 100),
            "noise_most": (0, 100),
            "bounce_times": (0, 100),
            "stall_ratio": (0, 1),
            "stall_frac": (0, 1),
            "died_frac": (0, 1),
            "stall_steps": (3, 24),
            "thrown_ratio": (0, 1),
            "thrown_walk": (0, 1e9),
            "thrown_frac": (0, 1),
            "thrown_steps": (11, 1000),
            "swing": (0, 1),
            "starved_share": (0, 1),
            "starved_ratio": (0, 1),
            "starved_steps": (0, 1000),
            "cold_walk": (0, 100),
            "cold_ratio": (0, 1),
            "slow_ratio": (0, 1),
            "unchanged_frac": (0, 1),
            "learned_frac": (0, 1),
            "search_ratio": (0, 1),
            "search_steps": (7, 10_000),
            "falling_frac": (0, 1),
            "aligned_steps": (1, 10_000),
            "goes_on_cosine": (0, 1),
            "found_frac": (0, 1),
            "cold_steps": (7, 10_000),
            "short_way": (0, 1),
            "less_way": (0, 1),
            "body_way": (0, 1),
            "new_noise": (0, 1),
            "late_frac": (0, 0.99),
            "late_walk": (0, 100),
            "soon_frac": (0, 0.99),
            "soon_walk": (0, 100),
            "hardly_frac": (0, 1),
            "idle_frac": (0, 1),
            "search_walk": (0, 100),
            "unlearned_frac": (0, 1),
            "slack_frac": (0, 1),
            "jagged_frac": (0, 1),
            "shaken_steps": (0, 1000),
            "shaken_frac": (0, 1),
            "replaced_frac": (0, 1.4),
            "replaced_steps": (7, 1000),
            "moved_frac": (0, 1.4),
            "flung_frac": (0, 10),
            "stuck_steps": (0, 10**9),
            "stuck_share": (0, 1),
            "stuck_best": (0, 1),
            "stuck_unknown": (0, 10**9),
            "frozen_ratio": (0, 1),
            "decay_share": (0, 1),
            "decay_per_step": (0, 1),
        }
        for f in dataclasses.fields(self):
            low, high = ranges[f.name]
            value = getattr(self, f.name)
            if not low < value <= high:
                raise ValueError(
                    f"{f.name} must lie in ({low}, {high}], got {value!r}: see adaptlr.judge.thresholds for its meaning"
                )
