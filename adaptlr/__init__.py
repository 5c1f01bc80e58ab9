"""adaptlr watches a network train, says when a learning rate is wrong, and puts it right.

>>> from adaptlr import Controller
"""

from adaptlr.act.optimizer import OptimizerPort
from adaptlr.act.snapshot import Stateful
from adaptlr.controller import AdaptLRWarning, Controller
from adaptlr.judge.control import Settings
from adaptlr.judge.outlook import Lesson
from adaptlr.judge.thresholds import Thresholds
from adaptlr.measure.stages import Stages
from adaptlr.observer import Sampling
from adaptlr.records import Action, Decision, Finding, Kind, Provenance, Reading, Trait
from adaptlr.trace import Trace, TraceWarning

__version__ = "0.1.0"

__all__ = [
    "Action",
    "AdaptLRWarning",
    "Controller",
    "Decision",
    "Finding",
    "Kind",
    "Lesson",
    "OptimizerPort",
    "Provenance",
    "Reading",
    "Sampling",
    "Settings",
    "Stages",
    "Stateful",
    "Thresholds",
    "Trace",
    "TraceWarning",
    "Trait",
]
