"""adaptlr watches a network train, says when a learning rate is wrong, and puts it right.

>>> from adaptlr import Controller
"""

from adaptlr.controller import AdaptLRWarning, Controller
from adaptlr.judge.control import Settings
from adaptlr.judge.thresholds import Thresholds
from adaptlr.observer import Sampling
from adaptlr.records import Action, Decision, Finding, Kind, Provenance, Reading
from adaptlr.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "Action",
    "AdaptLRWarning",
    "Controller",
    "Decision",
    "Finding",
    "Kind",
    "Provenance",
    "Reading",
    "Sampling",
    "Settings",
    "Thresholds",
    "Trace",
]
