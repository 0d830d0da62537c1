"""Reads the recurrences of a traced network: which loses or gains most of its gradient through time, and whether the loss falls."""

from __future__ import annotations

import math
from collections.abc import Callable

from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import HARDLY_LEARNED
from unvanish.record.gradient_flow import TimeProfile


def largest_recurrence(view: RunView, *, by: Callable[[TimeProfile], float]) -> TimeProfile | None:
    """The recurrence of a traced network for which `by` is largest; None where there is none or the network was not traced."""
    if view.run.examination is None:
        return None
    measured = [profile for profile in view.run.examination.flow.times if not math.isnan(by(profile))]
    return max(measured, key=by, default=None)


def is_learning(view: RunView) -> bool | None:
    """Whether the network learns; None where the run has too few steps."""
    curve = view.loss_curve()
    if curve is None or not view.stacks:
        return None
    return curve.finite and view.has_learned(view.stacks[0], HARDLY_LEARNED.value)


def recurrence_label(profile: TimeProfile) -> str:
    """The name of the recurrence's module, or of its parameter where that belongs to the network itself."""
    return profile.path or profile.name
