"""adaptlr in a fastai Learner: ``learn.fit_one_cycle(10, slice(1e-6, 1e-2), cbs=AdaptLR())``."""

try:
    import fastai.learner  # noqa: F401  (asked for first, so that what is missing is said in one line)
except ModuleNotFoundError as error:
    if error.name != "fastai":
        raise
    raise ModuleNotFoundError("adaptlr.fastai needs fastai: pip install 'fastai>=2.8'", name="fastai") from error

from adaptlr.fastai.callback import AdaptLR
from adaptlr.fastai.optimizer import FastaiOptimizer

__all__ = ["AdaptLR", "FastaiOptimizer"]
