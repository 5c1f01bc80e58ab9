"""The numbers that rules compare with and that may be set, by name, rule by rule, with what they mean and where they come from.

What only says how a rule looks (so many steps, such a share) stands beside the rule. How each is asked: ``docs/rules.md``.

"Measured", and numbers without another source, are: on Fashion-MNIST with a slim ResNet, a VGG-like net without normalisation, an
MLP and a small ViT, under Adam and SGD with momentum; ``experiments/rescue.py`` makes such runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from adaptlr.ranges import Least, Over, Share, check, default, explained

Positive = Annotated[float, Over(0, upto=1e9)]
Factor = Annotated[float, Over(1, upto=1e9)]
Steps = Annotated[int, Least(1, upto=10**9)]
StepsSeen = Annotated[int, Least(1, upto=24)]  # no more losses than are remembered


@explained
@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """What counts as too hot, collapsed, starved or cold. The defaults are one set for every net; change them knowing why.

    An update ratio is the size of a step over that of the weights; the loss at the start is the first, or the median of the first
    five. How each rule asks for them, in formulas: docs/rules.md.

    Raises:
        TypeError: a threshold is no number, or no whole one where it counts something; the message quotes the value.
        ValueError: a threshold is outside its range; likewise.
    """

    spike_factor: Factor = default(
        300.0,
        "factor by which a gradient's RMS exceeds the largest before it, or the first normalisation's running variance that of "
        "the step before, from which a batch is out of scale; of 163 recorded healthy runs none came above 5.1 or 1.4 after its "
        "first steps",
        section="one batch out of scale: heat.bad_batch",
    )

    lost_batches: Steps = default(
        3,
        "batches from the first one on, all of them without a finite loss, from which no one batch is to blame",
        section="weights that were ruined before the run began: judge.ruined",
    )
    grown_size: Factor = default(
        15.0,
        "size of the weights at the start over what initialisations make it, from which an earlier run has thrown them; 18 and "
        "more where thrown, up to 7 where a run went well",
    )

    hot_ratio: Share = default(
        0.1,
        "update ratio from which a step is hot; healthy runs stay below 0.05 but for their first steps",
        section="updates that are too large, and a loss that rose: heat.ruinous_step, heat.runaway",
    )
    ruin_ratio: Annotated[float, Over(0, upto=10)] = default(
        0.5, "update ratio from which a single step may ruin the weights: few runs trained well that started above"
    )
    sure_ratio: Positive = default(
        3.0, "update ratio from which a single step has ruined the weights for certain, so that no first shock is waited for"
    )
    shock_steps: StepsSeen = default(
        6, "steps from the start in which the loss may recover from a first shock; in as many again it has to have come down"
    )
    shock_frac: Factor = default(3.0, "loss over that at the start, above which a first shock is not waited for")
    rise_frac: Positive = default(
        0.3, "share of its level before, by which the loss must have risen for steps that are hot to be too hot"
    )
    rise_sigmas: Positive = default(
        4.0,
        "robust standard deviations of the loss from step to step, by which it must have risen as well, be it too hot or diverged",
    )

    diverged_factor: Factor = default(
        2.0,
        "loss over that at the start, above which a run has diverged; one batch is noise, three in a row are not",
        section="a loss that left its range, or came back up: heat.divergence, heat.regress",
    )
    blown_up_factor: Factor = default(
        10.0,
        "loss over that at the start, from which a spike is not waited for; and above which a run has diverged that goes on from "
        "an earlier one",
    )
    regress_frac: Share = default(
        0.5,
        "share of the fall of the loss since the start that is lost again, from which a run has lost what it had learned, if for "
        "12 steps; at once, if half of the rest is lost as well",
    )
    had_learned_frac: Share = default(
        0.5, "lowest loss over that at the start, below which a net had learned something, and may come back after a spike"
    )
    spike_steps: StepsSeen = default(
        6, "losses in a row that have lost the share regress_frac, after which a net that had learned is not waited for any longer"
    )

    shift_ratio: Share = default(
        0.015,
        "update ratio from which the learning rate may have made a loss leap in one step, or diverge; so it was in all ten such "
        "leaps of 447 recorded runs, from 0.021 up; where data had changed it was 0.002 to 0.01",
        section="data that has changed: shift.shift; and what excuses a divergence",
    )

    dead_grad_frac: Share = default(
        1e-4,
        "gradient RMS over that of the run's first step, below which no gradient arrives any more",
        section="silence: heat.collapse",
    )
    quiet_frac: Share = default(
        0.98, "share of near-zero activations (|a| at most 1% of the stage's RMS) from which a stage is silent"
    )
    stuck_frac: Share = default(0.9, "loss over that at the start, at and above which a net is no better than guessing")
    flat_frac: Share = default(
        0.3,
        "loss over that at the start, at and above which a net is no better than guessing if nothing has changed for 12 steps; an "
        "initialisation may begin far above guessing",
    )

    stall_ratio: Share = default(
        0.015,
        "update ratio (median of the last six) from which a loss that stands still is the learning rate's fault",
        section="a loss that bounces in place: stalled.stall",
    )
    stall_steps: Annotated[int, Least(4, upto=24)] = default(16, "steps without a lower loss, from which the loss stands still")
    stall_frac: Share = default(
        0.75, "loss over that at the start, below which a net has learned something, and no bouncing is held against it"
    )
    bounce_frac: Share = default(
        0.08,
        "noise of the loss from step to step over its level, from which it bounces; hot nets bounce at 0.1, slow ones at 0.04 to "
        "0.07",
    )
    bounce_times: Positive = default(
        1.5,
        "factor by which the noise of a loss that bounces has to exceed the same in smaller steps; batches differ by themselves",
    )
    noisy_frac: Positive = default(
        0.16,
        "noise of the loss over its level, above which a fall may be hidden, so that steps have to be as large as thrown_ratio "
        "for a stall to be their fault",
    )
    noise_most: Positive = default(
        0.25,
        "noise of the loss over its level, above which it hides any fall, and neither a stall nor weights thrown about are asked "
        "for; 0.2 to 0.5 with batches of two",
    )
    died_frac: Share = default(
        0.3,
        "share of a stage's units gone dormant since its first readings, from which a loss that stands still need not bounce, nor "
        "be above stall_frac",
    )

    thrown_ratio: Share = default(
        0.05,
        "update ratio (median of the last six) from which weights are thrown about, if that leads nowhere",
        section="weights thrown about in a path that leads nowhere: stalled.thrown",
    )
    thrown_walk: Positive = default(
        200.0, "path over the distance that the gradients vouch for, from which it leads nowhere: good ones are mostly below"
    )
    thrown_frac: Share = default(0.9, "loss over that of 16 steps ago, below which it falls, so that no weights are thrown about")
    thrown_steps: Annotated[int, Least(12, upto=1000)] = default(
        24, "steps of evidence that are needed to say that a path leads nowhere"
    )
    swing: Share = default(
        0.2, "mean cosine of a gradient with the last one, sign turned, from which a net swings across a valley, which is no fault"
    )

    shaken_steps: Steps = default(
        16,
        "steps from the start, after which a net should have learned something, even if a ruinous one was among them",
        section="weights that large updates have replaced: stalled.shaken, stalled.stuck",
    )
    shaken_frac: Share = default(
        0.85, "loss over that at the start, at and below which a net that was shaken has learned something"
    )
    replaced_frac: Annotated[float, Over(0, upto=1.4)] = default(
        0.7, "distance from where the weights began over their size, from which they are others"
    )
    replaced_steps: Annotated[int, Least(8, upto=1000)] = default(
        24, "steps from the start, from which to twice as many it is asked whether large updates have replaced the weights"
    )
    moved_frac: Annotated[float, Over(0, upto=1.4)] = default(
        0.5, "distance from where the weights began over their size, from which large updates have moved them away"
    )
    flung_frac: Positive = default(
        0.3,
        "sum of the update ratios of a twentieth and more, from which it was large updates that moved the weights; 0.43 in two "
        "runs that were ruined by them, and 0.23 in one that was not",
    )
    stuck_steps: Steps = default(24, "steps without a lower loss, from which weights that were moved away are stuck")
    stuck_share: Share = default(
        0.1, "share of a run of known length without a lower loss, from which weights that were moved away are stuck"
    )
    stuck_unknown: Steps = default(
        60, "steps without a lower loss, and half of the run so far, from which weights are stuck in a run of unknown length"
    )
    stuck_best: Share = default(0.45, "lowest loss over that at the start, below which weights are not stuck")

    starved_share: Share = default(
        0.01,
        "share of another group's learning rate, up to twice which, and of its update ratio, below five times which, a group is "
        "starved beside it",
        section="a group that stands still beside others: starved.starved",
    )
    starved_ratio: Share = default(
        1e-4,
        "update ratio below ten times which a group hardly moves, if it never made a step of twenty times as much; at 1e-4 a "
        "weight needs 10,000 steps to move by its own size",
    )
    starved_steps: Steps = default(4, "steps in a row in which a group has to be starved")

    cold_steps: Annotated[int, Least(8, upto=10_000)] = default(
        16,
        "steps of evidence that are needed to call a walk straight (the vouched distance is noise before that), and half as many "
        "to call a net cold at all",
        section="a net that walks straight on in tiny steps: cold.too_cold",
    )
    cold_walk: Positive = default(
        7.0,
        "path over the distance that the gradients vouch for, up to which a walk is straight; 1 to 6 measured when cold, under "
        "any schedule",
    )
    cold_ratio: Share = default(6e-4, "update ratio at and above which no group is cold; healthy plateaus stay above")
    slow_ratio: Share = default(
        1e-3,
        "update ratio at and above which no group is cold where the loss is as good as unchanged; slow starts at 1.3e-3 came to "
        "life",
    )
    unchanged_frac: Share = default(0.95, "loss over that at the start, at and above which it is as good as unchanged")
    frozen_ratio: Share = default(
        1e-5, "update ratio below which a net is cold however it walks: even a warm-up of x25 would leave it standing still"
    )
    learned_frac: Share = default(0.6, "loss over that at the start, below which a run is learning, whatever its updates")
    goes_on_cosine: Share = default(
        0.5,
        "cosine of a gradient with the last one, mean of a dozen, from which a run that goes on from an earlier one has learned "
        "nothing yet; 0.38 to 0.83 in nets that have not, up to 0.4 in those that have, at batches of 64",
    )

    search_ratio: Share = default(
        0.03,
        "update ratio at and above which no group is cold where a learning rate that suits is looked for",
        section="the same in larger steps, later in the run or where the learning rate is ours: the search in cold.too_cold",
    )
    late_frac: Share = default(1 / 3, "share of the run from which a learning rate that suits is looked for, by late_walk")
    late_walk: Positive = default(
        1.5,
        "path over vouched distance, over the root of the steps, up to which a walk is straight from late_frac of the run on; or "
        "from soon_frac on in steps below idle_frac of the pace",
    )
    soon_frac: Share = default(
        0.2,
        "share of the run from which a learning rate that suits is looked for, by soon_walk, and from which a net that has "
        "learned nothing is idle, and one that walks straight on dawdles",
    )
    soon_walk: Positive = default(
        0.7, "path over vouched distance, over the root of the steps, up to which a walk is straight from soon_frac of the run on"
    )
    search_walk: Positive = default(
        6.0,
        "path over vouched distance, over the root of the steps, up to which a walk is straight where the learning rate is ours; "
        "nets that trained well are above it after 24 steps",
    )
    search_steps: Annotated[int, Least(8, upto=10_000)] = default(
        16,
        "steps of evidence that are needed to call a walk straight where the learning rate is ours, or to see whether the loss "
        "falls",
    )
    falling_frac: Share = default(
        0.8, "loss over that of search_steps ago, below which it falls, and no other learning rate is looked for"
    )
    hardly_frac: Share = default(
        0.9,
        "loss over that of search_steps ago, below which it falls, where soon_walk is asked; and loss over that at the start, at "
        "and above which a net may be idle; 13 recorded runs that were too cold, and none that trained well",
    )
    aligned_steps: Annotated[int, Least(2, upto=10_000)] = default(
        8,
        "steps in a row whose gradients point the same way (cosine 0.9), from which a learning rate of ours goes on rising though "
        "the loss falls, and large steps are not held against a net",
    )
    found_frac: Share = default(
        0.3, "loss over that at the start, below which a learning rate of ours has been found, and nothing stalls"
    )
    far_steps: Annotated[int, Least(2, upto=10_000)] = default(
        16,
        "steps in a row whose gradients point the same way (cosine 0.9), from which a net on the user's learning rate, its loss "
        "unchanged, has far to go",
    )
    far_ratio: Share = default(0.3, "update ratio at and above which a net that has far to go is not too cold")
    idle_frac: Share = default(
        0.7,
        "share of the pace, below which a random net whose loss is at hardly_frac or above is idle, however it walks, and one that "
        "walks straight on dawdles, whatever its loss; 36 recorded runs that were too cold, and three that trained well",
    )

    again_frac: Share = default(
        1 / 3, "share of the pace, below which a fit is too cold whose schedule asks for no more than one that had to be raised"
    )

    short_way: Share = default(
        0.016,
        "sum of update ratios over the root of the run's steps, below which a net will not get far, which is 0.2 in 160 steps; "
        "nets that trained well go 0.27 to 4, those at a tenth of a good learning rate 0.01 to 0.5",
        section="a way that will be too short: pace.short_way",
    )
    less_way: Share = default(
        0.3,
        "share of short_way that a pretrained net with a new head has to go, and large ones less; 0.02 to 0.6 measured where ten "
        "times too cold and more, 0.46 to 3.5 where good",
    )
    body_way: Share = default(
        0.2,
        "share of short_way that what has learned of a pretrained net with a new head has to go, where it is judged without the "
        "head; 0.31 measured where good",
    )
    new_noise: Share = default(
        0.2,
        "noise of the loss over its level, from which what looks like a new head is an old one; 0.03 to 0.16 under new ones, 0.28 "
        "to 1.8 under old ones",
    )
    unlearned_frac: Share = default(0.35, "loss over that at the start, below which a run is not judged by its way")

    slack_frac: Share = default(
        0.6,
        "share of the pace, below which, by what of a step gets anywhere, a learning rate of ours has been cut too far",
        section="a cut that noise takes back: pace.slack",
    )
    jagged_frac: Share = default(
        0.6, "share of a step that gets anywhere, below which noise takes the rest back: 0.4 to 0.55 without momentum"
    )

    decay_share: Share = default(
        0.8,
        "lr x weight decay over the update ratio, from which decay does the work of the gradient",
        section="weight decay that does the work of the gradient: cold.decay_dominated",
    )
    decay_per_step: Share = default(
        2e-3,
        "lr x weight decay, from which it is asked whether decay does the work of the gradient; 0.998 a step halves weights in "
        "350 steps, were there no gradient",
    )

    def __post_init__(self) -> None:
        check(self)
