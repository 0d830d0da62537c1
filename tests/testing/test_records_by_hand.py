"""Tests of the run records made by hand and of their variations: shapes, readings, and what each function changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unvanish.diagnose import diagnose
from unvanish.record.quantities import QUANTITIES, Axis, Metric
from unvanish.record.structure import Head, ModelStructure, OptimizerGroup
from unvanish.testing import Symmetry
from unvanish.testing.record_variations import (
    equivalent_records,
    first_samples,
    read_only,
    reduced_records,
    with_loss_scaled,
    with_parameters_reversed,
    without_structure,
)
from unvanish.testing.records import (
    HEALTHY_READINGS,
    ONLY_AT_KIND,
    adversarial_structure,
    flat_loss,
    healthy,
    model_structure,
    site_indices,
    with_gradient_slope,
    with_owner,
    with_reading,
)

HEADS = (Head(0, "cross-entropy", (), 10, parameter=5),)
STRUCTURES = {
    "plain": model_structure(),
    "normalised and merged": model_structure(4, "tanh", normalised=True, merges=2),
    "with a head": model_structure(heads=HEADS),
    "adversarial": adversarial_structure(),
    "nothing": ModelStructure(),
}


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES.keys())
def test_a_record_has_every_quantity_in_the_shape_of_its_axis(structure: ModelStructure) -> None:
    run = healthy(structure)
    lengths = {
        Axis.SITE: structure.sites,
        Axis.PARAMETER: structure.parameters,
        Axis.GROUP: structure.groups,
        Axis.NETWORK: structure.networks,
        Axis.HEAD: structure.heads,
    }
    assert {name: matrix.shape for name, matrix in run.readings.items()} == {
        q.name: (len(run.sampled), len(lengths[q.axis])) for q in QUANTITIES
    }


def test_the_tables_of_healthy_readings_name_existing_quantities() -> None:
    assert set(HEALTHY_READINGS) | set(ONLY_AT_KIND) <= {q.name for q in QUANTITIES}


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES.keys())
def test_a_healthy_record_has_no_loud_finding(structure: ModelStructure) -> None:
    losses = np.stack([flat_loss(), flat_loss(level=0.7)], axis=1) if len(structure.networks) == 2 else None
    assert [finding.code for finding in diagnose(healthy(structure, losses=losses)) if finding.severity.loud] == []


def test_a_criterion_is_recorded_with_the_loss_of_its_step() -> None:
    run = healthy(model_structure(heads=HEADS))
    assert run.readings["loss"][:, 0] == pytest.approx(run.losses[run.sampled - 1, 0])


def test_a_reading_changes_from_its_step_on_and_nowhere_else() -> None:
    run = healthy()
    changed = with_reading(run, "activation_std", 5.0, of=[2], since=20)
    differs = changed.readings["activation_std"] != run.readings["activation_std"]
    assert np.argwhere(differs).tolist() == [[row, 2] for row in range(10, 14)]
    assert run.readings["activation_std"].max() == 1.0


def test_a_slope_runs_from_the_input_to_the_output() -> None:
    gradient = with_gradient_slope(healthy(), -7.0).readings["log10_gradient_rms"][0]
    assert (gradient[0], gradient[-1]) == (-10.0, -3.0)


def test_with_owner_changes_the_given_parameters_alone() -> None:
    assert [p.group for p in with_owner(healthy(), None, of=[0, 2]).structure.parameters] == [None, 0, None, 0, 0, 0]


def test_sites_are_found_by_their_kind() -> None:
    assert site_indices(healthy(model_structure(3)), "activation") == [1, 3]


def test_a_read_only_record_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        read_only(healthy()).losses[0] = 1.0


def test_records_are_reduced_in_every_quantity_and_the_original_stays() -> None:
    run = healthy()
    reduced = dict(reduced_records(run))
    assert {f"no {q.name}" for q in QUANTITIES} <= reduced.keys()
    assert len(first_samples(run, 1).sampled) == 1
    assert without_structure(run).structure == ModelStructure()
    assert np.isfinite(run.losses).all()


def test_a_loss_times_k_scales_gradients_by_k_and_leaves_updates_alone() -> None:
    run = with_reading(healthy(), "log10_gradient_rms", -np.inf, of=[0])
    scaled_run = with_loss_scaled(replace(run, metrics=(Metric(1, "val_loss", 2.0),)), 100)
    assert scaled_run.losses == pytest.approx(100 * run.losses)
    assert (scaled_run.readings["log10_gradient_rms"] - 2.0 == run.readings["log10_gradient_rms"]).all()
    assert (scaled_run.readings["log10_update_rms"] == run.readings["log10_update_rms"]).all()
    assert scaled_run.structure.groups[0].setting("lr") == pytest.approx(0.001)
    assert scaled_run.metrics == (Metric(1, "val_loss", 2.0),)


@pytest.mark.parametrize(
    ("kind", "settings", "scaled"),
    [
        ("SGD", {"lr": 0.1, "weight_decay": 0.01}, {"lr": 0.001, "weight_decay": 1.0}),
        ("Adam", {"lr": 0.1, "eps": 1e-8, "weight_decay": 0.01}, {"lr": 0.1, "eps": 1e-6, "weight_decay": 1.0}),
        ("AdamW", {"lr": 0.1, "eps": 1e-8, "weight_decay": 0.01}, {"lr": 0.1, "eps": 1e-6, "weight_decay": 0.01}),
    ],
)
def test_optimizer_settings_compensate_for_a_loss_times_k(kind: str, settings: dict[str, float], scaled: dict[str, float]) -> None:
    run = healthy(replace(model_structure(), groups=(OptimizerGroup(0, kind, tuple(settings.items())),)))
    scaled_run = with_loss_scaled(run, 100)
    assert dict(scaled_run.structure.groups[0].settings) == pytest.approx(scaled)
    assert scaled_run.readings["learning_rate"][0, 0] == pytest.approx(0.1 * scaled["lr"] / settings["lr"])


def test_parameters_in_another_order_keep_their_readings_and_their_sites() -> None:
    run = with_reading(healthy(model_structure(heads=HEADS)), "unit_spread", 7.0, of=[5])
    moved = with_parameters_reversed(run)
    assert moved.structure.parameters[0] == run.structure.parameters[5]
    assert moved.readings["unit_spread"][0].tolist() == [7.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert moved.structure.sites[0].parameters == (5,)
    assert moved.structure.heads[0].parameter == 0


@pytest.mark.parametrize("symmetry", Symmetry)
def test_every_symmetry_has_an_equivalent_record(symmetry: Symmetry) -> None:
    assert list(equivalent_records(healthy(), symmetry))
