"""Records of networks with a loss criterion: sick ones for the rules on outputs, inputs and optimizers, and healthy neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unvanish.record.quantities import Metric
from unvanish.record.run import Run
from unvanish.record.structure import Head, ModelStructure, OptimizerGroup, Site
from unvanish.testing.records import (
    SAMPLED_STEPS,
    adversarial_structure,
    falling_loss,
    flat_loss,
    healthy,
    model_structure,
    site_indices,
    with_reading,
)

CLASSES = 10
SCORES = Head(0, "cross-entropy", (), CLASSES, parameter=5)
AMOUNTS = Head(0, "squared", (), 1, parameter=5)
PICTURES = Head(0, "squared", (), 64, parameter=5)
LAST = ("10",)


def run_with_head(
    head: Head = SCORES, *, losses: np.ndarray | None = None, op: str = "relu", layers: int = 6, **shape: bool
) -> Run:
    """A network with one head; it learns unless `losses` says otherwise."""
    return healthy(model_structure(layers, op, heads=[head], **shape), losses=falling_loss() if losses is None else losses)


def stuck_run(head: Head = SCORES, **shape: object) -> Run:
    """The same, and nothing is learned."""
    return run_with_head(head, losses=flat_loss(), **shape)  # type: ignore[arg-type]


def with_optimizer(run: Run, class_name: str, **settings: float) -> Run:
    """The run with another optimizer."""
    group = OptimizerGroup(0, class_name, tuple(settings.items()))
    return replace(run, structure=replace(run.structure, groups=(group,)))


def with_validation_metric(run: Run, name: str, values: Sequence[float]) -> Run:
    """The run with a validation metric at even steps up to the end."""
    steps = np.linspace(1, run.step_count, len(values)).astype(int)
    return replace(run, metrics=tuple(Metric(int(step), name, value) for step, value in zip(steps, values, strict=True)))


def with_summed_loss(run: Run, terms: float = 64.0) -> Run:
    """The run with a loss that is a sum over so many pixels or examples."""
    return replace(run, losses=run.losses * terms)


def with_unknown_layers(run: Run) -> Run:
    """The run with layers whose kind was not recognised."""
    sites = tuple(replace(site, kind="merge" if site.kind == "weight" else site.kind) for site in run.structure.sites)
    return replace(run, structure=replace(run.structure, sites=sites))


def with_frozen_layers(run: Run, count: int) -> Run:
    """The run with the weights of the first layers frozen."""
    parameters = tuple(replace(p, trainable=p.trainable and i >= count) for i, p in enumerate(run.structure.parameters))
    return replace(run, structure=replace(run.structure, parameters=parameters))


def with_growing_targets(run: Run) -> Run:
    """The run with targets that the network's own answers drive from 1 to 50, as temporal differences do."""
    return with_reading(with_reading(run, "target_low", 0.0), "target_high", np.geomspace(1.0, 50.0, len(run.sampled))[:, None])


def with_attention(run: Run, entropy: float) -> Run:
    """The run with one attention layer of that entropy, before the last two layers."""
    structure = run.structure
    site = Site(0, "attention", "multiheadattention", "attention", 7)
    wider = {
        name: _with_one_more_column(matrix) if len(matrix[0]) == len(structure.sites) else matrix
        for name, matrix in run.readings.items()
    }
    grown = replace(run, structure=replace(structure, sites=(*structure.sites, site)), readings=wider)
    return with_reading(grown, "attention_entropy", entropy, of=[len(structure.sites)])


def _with_one_more_column(matrix: np.ndarray) -> np.ndarray:
    return np.pad(matrix, ((0, 0), (0, 1)), constant_values=np.nan)


def with_shrinking_weights(run: Run) -> Run:
    """The run with weights that lose a tenth of their size from sample to sample."""
    log10_sizes = -1.0 - 0.1 * np.arange(len(run.sampled))[:, None]
    return with_reading(run, "log10_weight_rms", np.repeat(log10_sizes, len(run.structure.parameters), axis=1))


def head_behind(op: str, head: Head = SCORES) -> Head:
    """A head behind one more operation."""
    return replace(head, squash=(op,))


def deep_structure() -> ModelStructure:
    """Twenty normalised layers without a path around them."""
    return model_structure(20, normalised=True, heads=[replace(SCORES, parameter=19)])


def with_uncorrelated_gradients(run: Run) -> Run:
    """Gradients that have nothing in common from batch to batch, and grow by a decade and a half on their way back."""
    grown = with_reading(run, "log10_gradient_rms", -3.0 + np.linspace(1.5, 0.0, len(run.structure.sites)))
    return with_reading(grown, "gradient_agreement", 0.01)


def in_float16(run: Run, zeros: float) -> Run:
    """The run in float16, with that share of zeros in its gradients."""
    return with_reading(with_reading(run, "log10_smallest_gradient", -7.22), "gradient_zero_fraction", zeros)


def with_unrelated_targets(run: Run) -> Run:
    """The run on data in which similar inputs have no similar targets."""
    return with_reading(run, "neighbour_correlation", 0.01)


def collapsing_run(end: float) -> Run:
    """Outputs that become alike while the loss, which no target judges, falls."""
    run = healthy(model_structure())
    spread = np.geomspace(0.8, end, len(SAMPLED_STEPS))[:, None]
    return with_reading(run, "example_spread", spread, of=[10])


def with_normalised_input(run: Run) -> Run:
    """The run with its first normalisation before everything else."""
    sites = tuple(replace(site, order=-1) if site.path == "1" else site for site in run.structure.sites)
    return replace(run, structure=replace(run.structure, sites=sites))


# Name -> (record, code, cause, sites, the leading evidence).
SICK_WITH_HEADS: dict[str, tuple[Run, str, str, tuple[str, ...], str]] = {
    "a softmax before a cross entropy": (
        stuck_run(head_behind("softmax")),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "least possible loss over blind guessing",
    ),
    "a sigmoid before a loss on scores": (
        run_with_head(Head(0, "binary-cross-entropy-with-logits", ("sigmoid",), 1, parameter=5)),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "least possible loss over blind guessing",
    ),
    "a softmax over one value": (
        stuck_run(Head(0, "absolute", ("softmax",), 1, parameter=5, softmax_extent=1)),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "values in the softmax",
    ),
    "a softmax over the examples": (
        stuck_run(replace(SCORES, squash=("log_softmax",), softmax_extent=64, over_examples=True)),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "dimension of the softmax",
    ),
    "targets that a sigmoid cannot reach": (
        with_reading(stuck_run(head_behind("sigmoid", AMOUNTS)), "unreachable_fraction", 0.4),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "targets out of reach",
    ),
    "several tags under a softmax": (
        with_reading(stuck_run(Head(0, "binary-cross-entropy", ("softmax",), 8, parameter=5)), "unreachable_fraction", 0.9),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "examples whose targets do not sum to one",
    ),
    "everything compared with everything": (
        with_reading(stuck_run(AMOUNTS), "comparisons", 64.0),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "comparisons of each answer",
    ),
    "a likelihood of raw scores": (
        with_reading(stuck_run(replace(SCORES, criterion="likelihood")), "log10_probability_sum", 0.9),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "log10 of the probabilities' sum",
    ),
    "logarithms of raw scores": (
        stuck_run(replace(SCORES, criterion="logarithm")),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "least argument of the logarithm",
    ),
    "a ReLU on the scores": (
        with_reading(stuck_run(head_behind("relu")), "zero_fraction", 0.7),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "scores that are zero",
    ),
    "raw amounts as inputs": (
        with_reading(stuck_run(), "log10_largest_feature", 5.0),
        "unscaled-input",
        "unscaled-input",
        ("0",),
        "RMS of the largest feature",
    ),
    "inputs that are nearly nothing": (
        with_reading(stuck_run(), "log10_input_rms", -4.0),
        "unscaled-input",
        "unscaled-input",
        ("0",),
        "RMS of the input",
    ),
    "gradients that are never cleared": (
        with_reading(run_with_head(), "log10_stale_share", -0.1, since=2),
        "stale-gradient",
        "stale-gradient",
        ("0", "2", "4", "6", "8", "10"),
        "gradient held over gradient used",
    ),
    "gradients that float16 rounds to zero": (
        in_float16(stuck_run(), 1.0),
        "gradient-underflow",
        "half-precision",
        ("0", "2", "4", "6", "8", "10"),
        "gradient_zero_fraction",
    ),
    "one example a step": (
        with_reading(with_reading(stuck_run(), "gradient_agreement", 0.02), "batch_size", 1.0),
        "gradient-noise",
        "gradient-noise",
        ("0", "2", "4", "6", "8", "10"),
        "agreement of gradients",
    ),
    "rewards that are all alike": (
        with_reading(
            with_reading(
                with_reading(
                    healthy(model_structure(heads=[Head(0, "policy", (), 1)]), losses=flat_loss()), "gradient_agreement", 0.0
                ),
                "target_low",
                400.0,
            ),
            "target_high",
            402.0,
        ),
        "gradient-noise",
        "gradient-noise",
        ("0", "2", "4", "6", "8", "10"),
        "spread of the rewards",
    ),
    "gradients cut to a hundredth": (
        with_reading(
            with_reading(stuck_run(), "log10_update_rms", -5.0),
            "log10_gradient_kept",
            -2.0 - 0.1 * np.arange(len(SAMPLED_STEPS))[:, None],
        ),
        "clipping-dominates",
        "clipping-dominates",
        ("0", "2", "4", "6", "8", "10"),
        "gradient used over gradient left",
    ),
    "an eps of one": (
        with_optimizer(with_reading(stuck_run(), "log10_update_rms", -5.0), "Adam", lr=1e-3, eps=1.0),
        "optimizer-epsilon",
        "optimizer-epsilon",
        ("0", "2", "4", "6", "8", "10"),
        "eps over gradient",
    ),
    "a decay that outweighs the gradient": (
        with_optimizer(with_shrinking_weights(stuck_run()), "SGD", lr=0.1, weight_decay=1.0),
        "weight-decay-dominates",
        "weight-decay-dominates",
        ("0", "2", "4", "6", "8", "10"),
        "decay over gradient",
    ),
    "a decoupled decay that outweighs the update": (
        with_optimizer(
            with_reading(with_shrinking_weights(stuck_run()), "log10_update_rms", -2.0), "AdamW", lr=0.01, weight_decay=60.0
        ),
        "weight-decay-dominates",
        "weight-decay-dominates",
        ("0", "2", "4", "6", "8", "10"),
        "decay over gradient",
    ),
    "a penalty written into the loss": (
        with_reading(with_shrinking_weights(stuck_run()), "gradient_along_weight", 0.9),
        "weight-decay-dominates",
        "weight-decay-dominates",
        ("0", "2", "4", "6", "8", "10"),
        "gradient along the weights",
    ),
    "labels that have nothing to do with the inputs": (
        with_unrelated_targets(stuck_run()),
        "degenerate-labels",
        "degenerate-labels",
        LAST,
        "correlation with similar inputs, in standard errors",
    ),
    "labels that are all the same": (
        with_reading(run_with_head(), "target_high", 0.0),
        "degenerate-labels",
        "degenerate-labels",
        LAST,
        "spread of the targets",
    ),
    "statistics of two values": (
        with_reading(
            stuck_run(normalised=True), "values_per_statistic", 2.0, of=site_indices(stuck_run(normalised=True), "normalisation")
        ),
        "batch-too-small",
        "batch-too-small",
        ("1", "4", "7", "10", "13", "16"),
        "values in a statistic",
    ),
    "statistics that do not fit": (
        with_reading(run_with_head(normalised=True), "evaluation_gap", 3.0, of=[1]),
        "running-stats-drift",
        "running-stats-drift",
        ("1",),
        "evaluation_gap",
    ),
    "a network that is too simple": (
        stuck_run(layers=1),
        "underfitting",
        "underfitting",
        ("0",),
        "correlation with similar inputs",
    ),
    "a validation loss that rises again": (
        with_validation_metric(run_with_head(), "val_loss", [2.0, 1.0, 1.2, 1.9]),
        "overfitting",
        "overfitting",
        ("0", "2", "4", "6", "8", "10"),
        "val_loss over its best",
    ),
    "a validation loss worse than a constant answer": (
        with_validation_metric(run_with_head(), "val_loss", [4.0]),
        "overfitting",
        "overfitting",
        ("0", "2", "4", "6", "8", "10"),
        "val_loss over that of a constant answer",
    ),
    "a validation loss that rises again while the sum over the pixels falls": (
        with_validation_metric(with_summed_loss(run_with_head(PICTURES)), "val_loss", [16.0, 8.0, 9.6, 15.2]),
        "overfitting",
        "overfitting",
        ("0", "2", "4", "6", "8", "10"),
        "val_loss over its best",
    ),
    "examples learned by heart": (
        with_reading(
            with_validation_metric(with_reading(run_with_head(), "score", 1.0), "val_accuracy", [0.5]), "seen_before", 0.6
        ),
        "overfitting",
        "overfitting",
        ("0", "2", "4", "6", "8", "10"),
        "training score minus val_accuracy",
    ),
    "outputs that are pulled together": (
        collapsing_run(1e-3),
        "representation-collapse",
        "representation-collapse",
        LAST,
        "example_spread",
    ),
    "a picture that is always the mean": (
        with_reading(stuck_run(PICTURES), "example_spread", np.geomspace(0.8, 0.05, len(SAMPLED_STEPS))[:, None], of=[10]),
        "representation-collapse",
        "representation-collapse",
        LAST,
        "example_spread",
    ),
    "attention to one place, from large weights": (
        with_attention(with_reading(stuck_run(), "log10_weight_rms", 0.5), 0.01),
        "attention-collapse",
        "off-critical-init",
        ("attention",),
        "attention_entropy",
    ),
    "attention to one place, from large scores": (
        with_attention(stuck_run(), 0.01),
        "attention-collapse",
        "attention-collapse",
        ("attention",),
        "attention_entropy",
    ),
    "attention to all places alike": (
        with_attention(stuck_run(), 1.0),
        "attention-collapse",
        "symmetric-init",
        ("attention",),
        "attention_entropy",
    ),
    "white noise at the first layers": (
        with_uncorrelated_gradients(healthy(deep_structure(), losses=flat_loss())),
        "shattered-gradient",
        "depth-without-path",
        tuple(str(3 * i) for i in range(10)),
        "agreement of gradients",
    ),
}

# The first sampled step that shows it, where that is not the first of all; None where the record does not tell.
BEGAN_WITH_HEADS: dict[str, int | None] = {
    "a validation loss that rises again": 67,
    "a validation loss that rises again while the sum over the pixels falls": 67,
    "a validation loss worse than a constant answer": None,
    "examples learned by heart": 1,
    "outputs that are pulled together": 7,
    "a picture that is always the mean": 8,
}

HEALTHY_WITH_HEADS: dict[str, Run] = {
    "scores without a squash": run_with_head(),
    "a sigmoid whose loss wants probabilities": run_with_head(Head(0, "binary-cross-entropy", ("sigmoid",), 1, parameter=5)),
    "targets that a tanh reaches": with_reading(run_with_head(head_behind("tanh", AMOUNTS)), "unreachable_fraction", 0.0),
    "logarithms of probabilities": with_reading(
        run_with_head(replace(SCORES, criterion="likelihood")), "log10_probability_sum", 1e-7
    ),
    "a softmax that is scaled afterwards": run_with_head(replace(SCORES, squash=("softmax", "scaled"))),
    "a hand-made likelihood of sigmoids": run_with_head(replace(SCORES, criterion="logarithm", squash=("sigmoid",))),
    "raw inputs that are learned from": with_reading(run_with_head(), "log10_largest_feature", 5.0),
    "raw inputs behind a normalisation": with_reading(
        with_normalised_input(run_with_head(normalised=True, losses=falling_loss(end=1.2))), "log10_largest_feature", 2.0
    ),
    "gradients accumulated within a step": run_with_head(),
    "gradients left over once": with_reading(run_with_head(), "log10_stale_share", -0.1, since=160),
    "float16 with a scaler": in_float16(run_with_head(), 0.3),
    "noisy gradients of a network that learns": with_reading(
        with_reading(run_with_head(), "gradient_agreement", 0.0), "batch_size", 1.0
    ),
    "clipping at every step that does no harm": with_reading(
        run_with_head(), "log10_gradient_kept", -1.5 - 0.1 * np.arange(len(SAMPLED_STEPS))[:, None]
    ),
    "a large eps that does no harm": with_optimizer(run_with_head(), "Adam", lr=1e-3, eps=1.0),
    "a weight decay in balance": with_optimizer(with_shrinking_weights(run_with_head()), "SGD", lr=0.1, weight_decay=1.0),
    "a task that neighbours cannot tell and the network can": with_unrelated_targets(run_with_head()),
    "opponents with constant targets": with_reading(
        healthy(
            replace(adversarial_structure(), heads=(Head(1, "binary-cross-entropy-with-logits", (), 1, parameter=5),)),
            losses=np.stack([flat_loss(), flat_loss(level=0.7)], axis=1),
        ),
        "target_high",
        0.0,
    ),
    "statistics of two values in a network that learns": with_reading(
        run_with_head(normalised=True),
        "values_per_statistic",
        2.0,
        of=site_indices(run_with_head(normalised=True), "normalisation"),
    ),
    "statistics that are noisy": with_reading(run_with_head(normalised=True), "evaluation_gap", 0.4, of=[1]),
    "a validation loss that falls": with_validation_metric(run_with_head(), "val_loss", [2.0, 1.0, 0.6, 0.5]),
    "a loss that is a sum over pixels, and its validation a mean over examples": with_validation_metric(
        with_summed_loss(run_with_head(PICTURES), 8000.0), "test_loss", [300.0]
    ),
    "a summed loss whose validation follows it": with_validation_metric(
        with_summed_loss(run_with_head(PICTURES), 8000.0), "test_loss", [110.0, 80.0, 81.0, 78.0]
    ),
    "a loss that rises with the targets that the network makes itself": with_growing_targets(
        run_with_head(AMOUNTS, losses=np.geomspace(0.5, 5.0, 200))
    ),
    "a simple network whose layers are not known": with_unknown_layers(run_with_head(layers=1, losses=falling_loss(end=1.6))),
    "a head on frozen layers that has learned what they tell": with_frozen_layers(
        run_with_head(layers=3, losses=falling_loss(end=1.6)), 2
    ),
    "a validation loss that wavers": with_validation_metric(run_with_head(), "val_loss", [2.0, 0.5, 0.55, 0.54]),
    "a gap between training and validation that costs nothing": with_validation_metric(
        run_with_head(), "val_accuracy", [0.6, 0.7, 0.75]
    ),
    "an embedding that keeps its examples apart": collapsing_run(0.4),
    "a rebuilt picture that differs": with_reading(run_with_head(PICTURES), "example_spread", 0.3, of=[10]),
    "sharp attention in a network that learns": with_attention(run_with_head(), 0.01),
    "attention that looks about": with_attention(run_with_head(), 0.9),
    "a deep normalised network that learns": with_uncorrelated_gradients(healthy(deep_structure())),
}
