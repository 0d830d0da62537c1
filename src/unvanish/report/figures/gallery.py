"""Every figure of a report, in the order of the page. Each is defined once, in the module of its name; none is drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.record.finding import Finding
from unvanish.record.run import Run
from unvanish.report.figures.flow.flow_gallery import flow_gallery
from unvanish.report.figures.picture import Picture
from unvanish.report.figures.race.effects import race_picture
from unvanish.report.figures.race.loss_curves import curve_picture
from unvanish.report.figures.race.pareto import pareto_picture
from unvanish.report.figures.run.activations import spread_picture, stuck_picture
from unvanish.report.figures.run.gradient import gradient_picture
from unvanish.report.figures.run.loss import loss_picture
from unvanish.report.figures.run.updates import update_picture


@dataclass(frozen=True, slots=True)
class Gallery:
    """The pictures of one run by the part of the page that they belong to; what was not measured is not there."""

    gradient: tuple[Picture, ...]
    flow: tuple[Picture, ...]
    course: tuple[Picture, ...]
    race: tuple[Picture, ...]

    def every(self) -> tuple[Picture, ...]:
        """All pictures, from the top of the page to its end."""
        return self.gradient + self.flow + self.course + self.race


def gallery(run: Run, findings: Sequence[Finding] = ()) -> Gallery:
    """The pictures that the run has readings for; the sites of the first finding are framed in that of the gradient."""
    root = findings[0] if findings else None
    seen = run.examination
    readings = len(run.sampled) > 0 and not run.checked  # one step has no course
    return Gallery(
        flow=flow_gallery(seen.flow, seen.prediction, seen.spectra) if seen is not None else (),
        gradient=_present(gradient_picture(run, root) if readings else None),
        course=() if run.checked else _present(loss_picture(run), *_activity(run, readings=readings)),
        race=_present(race_picture(run), pareto_picture(run), curve_picture(run)),
    )


def _activity(run: Run, *, readings: bool) -> tuple[Picture | None, ...]:
    return (spread_picture(run), stuck_picture(run), update_picture(run)) if readings else ()


def _present(*pictures: Picture | None) -> tuple[Picture, ...]:
    return tuple(picture for picture in pictures if picture is not None)
