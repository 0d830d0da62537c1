"""Collects all pictures of a report in the order of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.record.finding import Finding
from unvanish.record.run import Run
from unvanish.report.figures.flow.flow_gallery import build_flow_pictures
from unvanish.report.figures.picture import Picture
from unvanish.report.figures.race.effects import build_effects_picture
from unvanish.report.figures.race.loss_curves import build_loss_curves_picture
from unvanish.report.figures.race.pareto import build_pareto_picture
from unvanish.report.figures.run.activations import build_activation_std_picture, build_flat_share_picture
from unvanish.report.figures.run.gradient import build_gradient_picture
from unvanish.report.figures.run.loss import build_loss_picture
from unvanish.report.figures.run.updates import build_update_picture


@dataclass(frozen=True, slots=True)
class Gallery:
    """The pictures of one run by the section of the page; what was not measured has no picture."""

    gradient: tuple[Picture, ...]
    flow: tuple[Picture, ...]
    training: tuple[Picture, ...]
    race: tuple[Picture, ...]

    def all_pictures(self) -> tuple[Picture, ...]:
        """All pictures, from the top of the page to its end."""
        return self.gradient + self.flow + self.training + self.race


def build_gallery(run: Run, findings: Sequence[Finding] = ()) -> Gallery:
    """The pictures that the run has readings for; the sites of the first finding are framed in the heat map of the gradient."""
    root = findings[0] if findings else None
    examination = run.examination
    has_readings = len(run.sampled) > 0 and not run.checked  # of a single step there is nothing to draw over time
    return Gallery(
        flow=build_flow_pictures(examination.flow, examination.prediction, examination.spectra) if examination is not None else (),
        gradient=_drop_none(build_gradient_picture(run, root) if has_readings else None),
        training=() if run.checked else _drop_none(build_loss_picture(run), *_activity_pictures(run, has_readings=has_readings)),
        race=_drop_none(build_effects_picture(run), build_pareto_picture(run), build_loss_curves_picture(run)),
    )


def _activity_pictures(run: Run, *, has_readings: bool) -> tuple[Picture | None, ...]:
    return (build_activation_std_picture(run), build_flat_share_picture(run), build_update_picture(run)) if has_readings else ()


def _drop_none(*pictures: Picture | None) -> tuple[Picture, ...]:
    return tuple(picture for picture in pictures if picture is not None)
