"""A rule without flaws, as a plugin would have it, and variants of it with one flaw each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import Threshold
from unvanish.record.finding import Cause, Finding, Severity

QUIET = Threshold(-3.0, "log10", "convention", "a thousandth of the deviation that initialisations aim at", sure=-6.0)


def find_quiet_layers(view: RunView) -> Iterator[Finding]:
    """One finding for layers whose output hardly varies."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log10_deviation = np.log10(view.late_median("activation_std"))
    sites = [i for i, value in enumerate(log10_deviation) if value <= QUIET.value]
    if not sites:
        return
    value = float(log10_deviation[sites[0]])
    yield Finding(
        "quiet-layer",
        Severity.WARNING,
        QUIET.confidence(value),
        "Some layers say next to nothing.",
        "Their output has a thousandth of the usual deviation.",
        sites=view.site_labels(sites),
        cause=Cause("quiet-layer"),
        evidence=(QUIET.as_evidence("deviation of the output", value),),
    )


@final
class QuietLayer(Rule):
    """A layer's output has a thousandth of the usual deviation at the end of the run.

    Sees: the standard deviation of every site's output at the last samples.

    Why it matters: what does not vary says nothing about the input.

    Known problems: a residual branch that starts at zero is quiet at first, which is sound.

    Example: a layer behind a gate that never opens.

    References: LeCun 1998, "Efficient BackProp".
    """

    code: ClassVar[str] = "quiet-layer"
    rank: ClassVar[int] = 47
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing"})

    def examine(self, view: RunView) -> Iterator[Finding]:
        yield from find_quiet_layers(view)


class Carded(Rule):
    """As QuietLayer, with a docstring that lacks its paragraphs! It might be one."""

    code: ClassVar[str] = "quiet-layer"
    rank: ClassVar[int] = 47

    def examine(self, view: RunView) -> Iterator[Finding]:
        yield from find_quiet_layers(view)


class Shouting(Carded):
    code: ClassVar[str] = "Quiet_Layer"


class Thief(Carded):
    code: ClassVar[str] = "dead-units"


class Circular(Carded):
    explains: ClassVar[frozenset[str]] = frozenset({"quiet-layer"})


class Nervous(Carded):
    """Finds the problem in every record."""

    def examine(self, view: RunView) -> Iterator[Finding]:
        yield Finding("quiet-layer", Severity.CRITICAL, 0.9, "It is quiet.", "It is.")


class Blind(Carded):
    def examine(self, view: RunView) -> Iterator[Finding]:
        yield from ()


class Scribbling(Carded):
    def examine(self, view: RunView) -> Iterator[Finding]:
        view.values("activation_std")[:] = 0.0
        yield from find_quiet_layers(view)


class Forgetful(Carded):
    def examine(self, view: RunView) -> Iterator[Finding]:
        for finding in find_quiet_layers(view):
            yield replace(finding, confidence=float(np.random.default_rng().uniform(0.1, 0.9)))


class Fragile(Carded):
    """Raises an exception where there are no losses."""

    def examine(self, view: RunView) -> Iterator[Finding]:
        curve = view.loss_curve()
        assert curve is not None
        yield from find_quiet_layers(view)


class Warning_(Carded):
    """Lets numpy print a warning."""

    def examine(self, view: RunView) -> Iterator[Finding]:
        np.nanmean(view.values("activation_std")[:, :0])
        yield from find_quiet_layers(view)


class Unproven(Carded):
    def examine(self, view: RunView) -> Iterator[Finding]:
        for finding in find_quiet_layers(view):
            yield replace(finding, evidence=())


class Overconfident(Carded):
    def examine(self, view: RunView) -> Iterator[Finding]:
        for finding in find_quiet_layers(view):
            yield replace(finding, confidence=1.5)


class Lost(Carded):
    def examine(self, view: RunView) -> Iterator[Finding]:
        for finding in find_quiet_layers(view):
            yield replace(finding, sites=("somewhere",))


class Hedging(Carded):
    def examine(self, view: RunView) -> Iterator[Finding]:
        for finding in find_quiet_layers(view):
            yield replace(finding, why="It might possibly be quiet.")


class Talkative(Carded):
    def examine(self, view: RunView) -> Iterator[Finding]:
        for finding in find_quiet_layers(view):
            yield replace(finding, summary="It is quiet. Very quiet.")


class Absolute(Carded):
    """Compares a gradient with a fixed number."""

    def examine(self, view: RunView) -> Iterator[Finding]:
        if float(np.nanmax(view.late_median("log10_gradient_rms"), initial=-np.inf)) < -2.5:
            yield from find_quiet_layers(view)


class FirstCome(Carded):
    """Names the first parameter, whichever that is."""

    def examine(self, view: RunView) -> Iterator[Finding]:
        for finding in find_quiet_layers(view):
            yield replace(finding, sites=(view.structure.parameter_label(0),))


class Heavy(Carded):
    """Imports torch while it examines."""

    def examine(self, view: RunView) -> Iterator[Finding]:
        import torch

        assert torch.__name__
        yield from find_quiet_layers(view)
