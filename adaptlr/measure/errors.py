"""How far a sampled number of a stage may be from that of the whole tensor."""

from __future__ import annotations

import math

from torch import Tensor


def sampling_error(sample: Tensor, *, units: int, places: int) -> float:
    """Standard error of the mean of ``sample``, as an estimate of the mean over the whole tensor.

    Activations of one channel resemble each other, so that 8,192 of them are worth fewer where not all channels are read: with
    2,048 channels, 256 are. This is the error of a sample in two stages, n of N channels and m of M places in each:
    ``(1 - n/N) s_between^2 / n + n/N (1 - m/M) s_within^2 / (n m)``. Where all channels are read, only the second term is left.

    Args:
        sample: what is averaged, at the sampled activations [n, m], from :meth:`adaptlr.measure.stats.ActivationSample.take`: the
            activations themselves, or whether each is below a bar, for a fraction.
        units: N, channels of the whole tensor.
        places: M, activations of each.

    Returns:
        The standard error; 0 where everything was read. That places of one image or token resemble each other is not in it.
        On a GPU this waits for the device: it is for looking into a sample, and no part of a step.

    Source: Cochran, Sampling Techniques (1977), section 10.3.

    >>> import torch
    >>> active = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    >>> round(sampling_error(active, units=64, places=1000), 3), round(sampling_error(active, units=2, places=1000), 3)
    (0.128, 0.191)
    """
    n, m = sample.shape
    if not (n <= units and m <= places and n * m > 0):
        raise ValueError(f"a sample of {n} units x {m} places is no part of {units} units x {places} places")
    values = sample.double()
    per_unit = values.mean(1)
    between = float(per_unit.var()) / n * (1 - n / units) if n > 1 else 0.0
    within = float(values.var(1).mean()) / (n * m) * (n / units) * (1 - m / places) if m > 1 else 0.0
    return math.sqrt(between + within)
