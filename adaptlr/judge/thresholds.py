"""The numbers that rules compare with and that may be set, by name, rule by rule, with where they come from.

What only says how a rule looks (so many steps, such a share) stands beside the rule.

"Measured" means: on Fashion-MNIST with a slim ResNet, a VGG-like net without normalisation, an MLP and a small ViT, under Adam and
SGD with momentum; ``experiments/rescue.py`` makes such runs. A *ratio* is an update ratio, a *walk* a path over the distance that
the gradients vouch for, a *way* a sum of ratios; ``_frac`` is a share of the loss at the start where nothing else is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from adaptlr.ranges import Least, Over, Share, check

Positive = Annotated[float, Over(0, upto=1e9)]
Factor = Annotated[float, Over(1, upto=1e9)]
Steps = Annotated[int, Least(1, upto=10**9)]
StepsSeen = Annotated[int, Least(1, upto=24)]  # no more losses than are remembered


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """What counts as too hot, collapsed, starved or cold. The defaults are one set for every net; change them knowing why.

    Raises:
        TypeError: a threshold is no number, or no whole one where it counts something; the message quotes the value.
        ValueError: a threshold is outside its range; likewise.
    """

    # ---- one batch out of scale: heat.bad_batch
    # gradient RMS over the largest before, or running variance over that of the step before: of 163 recorded healthy runs none came
    # above 5.1 or 1.4 after its first steps
    spike_factor: Factor = 300.0

    # ---- weights that were ruined before the run began: judge.ruined
    lost_batches: Steps = 3  # all of the run so far, without a finite loss: no one batch is to blame
    grown_size: Factor = 15.0  # over what initialisations make them: 18 and more where thrown, up to 7 where a run went well

    # ---- updates that are too large, and a loss that rose: heat.ruinous_step, heat.runaway
    hot_ratio: Share = 0.1  # healthy runs stay below 0.05 but for their first steps
    ruin_ratio: Annotated[float, Over(0, upto=10)] = 0.5  # few runs trained well that started above
    sure_ratio: Positive = 3.0  # from here on that is certain; below, first steps get time to recover,
    shock_steps: StepsSeen = 6  # so many,
    shock_frac: Factor = 3.0  # unless the loss is above this already
    rise_frac: Positive = 0.3  # share by which the loss must have risen
    rise_sigmas: Positive = 4.0  # and by how many robust standard deviations of its steps

    # ---- a loss that left its range, or came back up: heat.divergence, heat.regress
    diverged_factor: Factor = 2.0  # over the start: one batch is noise, three in a row are not
    blown_up_factor: Factor = 10.0  # over the start: nothing is waited for
    regress_frac: Share = 0.5  # share of what had been learned that is lost again
    had_learned_frac: Share = 0.5  # a net that had come below may come back after a spike,
    spike_steps: StepsSeen = 6  # unless that share is lost on so many steps in a row

    # ---- data that has changed: shift.shift; and what excuses a divergence
    # from here on the learning rate may have made a loss leap in one step: so it was in all ten such leaps of 447 recorded runs,
    # from 0.021 up; where data had changed it was 0.002 to 0.01
    shift_ratio: Share = 0.015

    # ---- silence: heat.collapse
    dead_grad_frac: Share = 1e-4  # gradient RMS over its first value: none arrives any more
    quiet_frac: Share = 0.98  # share of near-zero activations of a silent stage
    stuck_frac: Share = 0.9  # at or above it a net is no better than guessing;
    flat_frac: Share = 0.3  # likewise if nothing has changed for 12 steps: an initialisation may begin far above guessing

    # ---- a loss that bounces in place: stalled.stall
    stall_ratio: Share = 0.015  # a loss that stands still is the learning rate's fault
    stall_steps: Annotated[int, Least(4, upto=24)] = 16  # that it stands,
    stall_frac: Share = 0.75  # above this: below, the net has learned something
    bounce_frac: Share = 0.08  # noise from step to step over the level: hot nets bounce at 0.1, slow ones at 0.04 to 0.07,
    bounce_times: Positive = 1.5  # and over the same in smaller steps: batches differ by themselves
    noisy_frac: Positive = 0.16  # noise that may hide a fall: steps then have to be as large as ``thrown_ratio``,
    noise_most: Positive = 0.25  # and that does: 0.2 to 0.5 with batches of two
    died_frac: Share = 0.3  # share of a stage's units gone dormant since the start: then a stall counts at any loss

    # ---- weights thrown about in a path that leads nowhere: stalled.thrown
    thrown_ratio: Share = 0.05
    thrown_walk: Positive = 200.0  # good ones are mostly below
    thrown_frac: Share = 0.9  # of the loss of 16 steps ago: below it, it falls all the same
    thrown_steps: Annotated[int, Least(12, upto=1000)] = 24  # of evidence
    swing: Share = 0.2  # mean cosine of a gradient with the last one, sign turned: it swings across a valley

    # ---- weights that large updates have replaced: stalled.shaken, stalled.stuck
    shaken_steps: Steps = 16  # after a ruinous one: by then the net should have learned something,
    shaken_frac: Share = 0.85  # its loss is below this
    replaced_frac: Annotated[float, Over(0, upto=1.4)] = 0.7  # distance from the start over the weights' size: they are others,
    replaced_steps: Annotated[int, Least(8, upto=1000)] = 24  # if it is reached within so many or twice as many
    moved_frac: Annotated[float, Over(0, upto=1.4)] = 0.5  # the same distance, of a net that large updates moved away,
    # whose ratios of a twentieth and more add up to this: to 0.43 in two runs that were ruined by them, and 0.23 in one that was
    # not
    flung_frac: Positive = 0.3
    stuck_steps: Steps = 24  # without a lower loss,
    stuck_share: Share = 0.1  # and such a share of the run,
    stuck_unknown: Steps = 60  # or so many and half the run so far, if its length is unknown,
    stuck_best: Share = 0.45  # with a lowest loss above this

    # ---- a group that stands still beside others: starved.starved
    starved_share: Share = 0.01  # ratio, and learning rate, over those of the others
    starved_ratio: Share = 1e-4  # below it a weight needs 10,000 steps to move by its own size
    starved_steps: Steps = 4  # in a row

    # ---- a net that walks straight on in tiny steps: cold.too_cold
    cold_steps: Annotated[int, Least(8, upto=10_000)] = 16  # of evidence: the vouched distance is noise before that
    cold_walk: Positive = 7.0  # 1 to 6 measured when cold, under any schedule
    cold_ratio: Share = 6e-4  # at and above it no group is cold: healthy plateaus stay above;
    slow_ratio: Share = 1e-3  # likewise where the loss is as good as unchanged: slow starts at 1.3e-3 came to life,
    unchanged_frac: Share = 0.95  # which is above this
    frozen_ratio: Share = 1e-5  # even a warm-up of x25 would leave a net standing still
    learned_frac: Share = 0.6  # a run below it is learning, whatever its updates
    # a gradient with the last one, mean cosine of a dozen, in a run that goes on from an earlier one: 0.38 to 0.83 in nets that
    # have learned nothing, up to 0.4 in those that have, at batches of 64
    goes_on_cosine: Share = 0.5

    # ---- the same, less small steps, where more of the run is over or the learning rate is ours: the search in cold.too_cold
    search_ratio: Share = 0.03  # at and above it no group is cold
    late_frac: Share = 1 / 3  # share of the run
    late_walk: Positive = 1.5  # over the root of the steps: a straight line, from then on
    soon_frac: Share = 0.2  # share of the run
    soon_walk: Positive = 0.7  # likewise
    search_walk: Positive = 6.0  # likewise where the learning rate is ours: nets that trained well are above it after 24 steps
    search_steps: Annotated[int, Least(8, upto=10_000)] = 16  # of evidence
    falling_frac: Share = 0.8  # of the loss of as many steps ago: below it, it falls, and nothing is looked for
    hardly_frac: Share = 0.9  # the same for ``soon_walk``; 13 recorded runs that were too cold, and none that trained well
    aligned_steps: Annotated[int, Least(2, upto=10_000)] = 8  # in a row whose gradients point the same way: go on though it falls
    found_frac: Share = 0.3  # below it the search is over, and nothing stalls
    far_steps: Annotated[int, Least(2, upto=10_000)] = 16  # likewise where the learning rate is the user's and the loss unchanged,
    far_ratio: Share = 0.3  # in steps below this
    # share of the pace, below which no straight line is asked for where the loss is above ``hardly_frac``: 36 recorded runs that
    # were too cold, and three that trained well
    idle_frac: Share = 0.7

    # share of the pace, below which a fit is too cold whose schedule asks for no more than one that had to be raised
    again_frac: Share = 1 / 3

    # ---- a way that will be too short: pace.short_way
    # over the root of the steps of the run: 0.2 in 160, where nets that trained well go 0.27 to 4, and those at a tenth of a good
    # learning rate 0.01 to 0.5
    short_way: Share = 0.016
    # share of that which a pretrained net with a new head has to go, and large ones less: 0.02 to 0.6 measured where ten times too
    # cold and more, 0.46 to 3.5 where good
    less_way: Share = 0.3
    body_way: Share = 0.2  # and what of it has learned, if that is judged without the head: 0.31 measured where good
    new_noise: Share = 0.2  # of the loss over its level under a new head: 0.03 to 0.16; 0.28 to 1.8 under old ones
    unlearned_frac: Share = 0.35  # a run below it is not judged by its way

    # ---- a cut that noise takes back: pace.slack
    slack_frac: Share = 0.6  # of the pace: below it a learning rate of ours has been cut too far,
    jagged_frac: Share = 0.6  # if no more than this share of a step gets anywhere: 0.4 to 0.55 without momentum

    # ---- weight decay that does the work of the gradient: cold.decay_dominated
    decay_share: Share = 0.8  # of the travel that it alone explains
    decay_per_step: Share = 2e-3  # lr x weight decay from which that is asked: 0.999 a step halves weights in 350 steps

    def __post_init__(self) -> None:
        check(self, see="see adaptlr.judge.thresholds for its meaning")
