"""A rule of a third party, sound in every respect, and others like it with one flaw each."""

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


def quiet(chart: RunView) -> Iterator[Finding]:
    """One finding where layers have fallen silent."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.log10(chart.late("activation_std"))
    found = [i for i, value in enumerate(size) if value <= QUIET.value]
    if not found:
        return
    value = float(size[found[0]])
    yield Finding(
        "quiet-layer",
        Severity.WARNING,
        QUIET.confidence(value),
        "Some layers say next to nothing.",
        "Their output has a thousandth of the usual deviation.",
        sites=chart.labels(found),
        cause=Cause("quiet-layer"),
        evidence=(QUIET.shown("deviation of the output", value),),
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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        yield from quiet(chart)


class Carded(Rule):
    """As QuietLayer, without a card worth the name! It might be one."""

    code: ClassVar[str] = "quiet-layer"
    rank: ClassVar[int] = 47

    def examine(self, chart: RunView) -> Iterator[Finding]:
        yield from quiet(chart)


class Shouting(Carded):
    code: ClassVar[str] = "Quiet_Layer"


class Thief(Carded):
    code: ClassVar[str] = "dead-units"


class Circular(Carded):
    explains: ClassVar[frozenset[str]] = frozenset({"quiet-layer"})


class Nervous(Carded):
    """Sees illness everywhere."""

    def examine(self, chart: RunView) -> Iterator[Finding]:
        yield Finding("quiet-layer", Severity.CRITICAL, 0.9, "It is quiet.", "It is.")


class Blind(Carded):
    def examine(self, chart: RunView) -> Iterator[Finding]:
        yield from ()


class Scribbling(Carded):
    def examine(self, chart: RunView) -> Iterator[Finding]:
        chart.values("activation_std")[:] = 0.0
        yield from quiet(chart)


class Forgetful(Carded):
    def examine(self, chart: RunView) -> Iterator[Finding]:
        for finding in quiet(chart):
            yield replace(finding, confidence=float(np.random.default_rng().uniform(0.1, 0.9)))


class Fragile(Carded):
    """Counts on losses."""

    def examine(self, chart: RunView) -> Iterator[Finding]:
        course = chart.course()
        assert course is not None
        yield from quiet(chart)


class Warning_(Carded):
    """Lets numpy speak to the user."""

    def examine(self, chart: RunView) -> Iterator[Finding]:
        np.nanmean(chart.values("activation_std")[:, :0])
        yield from quiet(chart)


class Unproven(Carded):
    def examine(self, chart: RunView) -> Iterator[Finding]:
        for finding in quiet(chart):
            yield replace(finding, evidence=())


class Overconfident(Carded):
    def examine(self, chart: RunView) -> Iterator[Finding]:
        for finding in quiet(chart):
            yield replace(finding, confidence=1.5)


class Lost(Carded):
    def examine(self, chart: RunView) -> Iterator[Finding]:
        for finding in quiet(chart):
            yield replace(finding, sites=("somewhere",))


class Hedging(Carded):
    def examine(self, chart: RunView) -> Iterator[Finding]:
        for finding in quiet(chart):
            yield replace(finding, why="It might possibly be quiet.")


class Talkative(Carded):
    def examine(self, chart: RunView) -> Iterator[Finding]:
        for finding in quiet(chart):
            yield replace(finding, summary="It is quiet. Very quiet.")


class Absolute(Carded):
    """Compares a gradient with a fixed number."""

    def examine(self, chart: RunView) -> Iterator[Finding]:
        if float(np.nanmax(chart.late("log10_gradient_rms"), initial=-np.inf)) < -2.5:
            yield from quiet(chart)


class FirstCome(Carded):
    """Asks for the first parameter, whichever that is."""

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for finding in quiet(chart):
            yield replace(finding, sites=(chart.anatomy.parameter_label(0),))


class Heavy(Carded):
    """Imports torch when nobody looks."""

    def examine(self, chart: RunView) -> Iterator[Finding]:
        import torch

        assert torch.__name__
        yield from quiet(chart)
