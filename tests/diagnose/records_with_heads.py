"""Records of networks whose outputs are judged: sick ones for the rules about heads, inputs and optimizers, and neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from handmade_runs import SAMPLED, anatomy, falling, flat, healthy, kinds, opponents, reading

from unvanish.record.reading import Metric
from unvanish.record.run import Run
from unvanish.record.structure import Head, ModelStructure, OptimizerGroup, Site

CLASSES = 10
SCORES = Head(0, "cross-entropy", (), CLASSES, parameter=5)
AMOUNTS = Head(0, "squared", (), 1, parameter=5)
PICTURES = Head(0, "squared", (), 64, parameter=5)
LAST = ("10",)


def judged(head: Head = SCORES, *, losses: np.ndarray | None = None, op: str = "relu", layers: int = 6, **shape: bool) -> Run:
    """A network with one head; it learns unless `losses` says otherwise."""
    return healthy(anatomy(layers, op, heads=[head], **shape), losses=falling() if losses is None else losses)


def stuck(head: Head = SCORES, **shape: object) -> Run:
    """The same, and nothing is learned."""
    return judged(head, losses=flat(), **shape)  # type: ignore[arg-type]


def trained_by(run: Run, class_name: str, **settings: float) -> Run:
    """The run with another optimizer."""
    group = OptimizerGroup(0, class_name, tuple(settings.items()))
    return replace(run, anatomy=replace(run.anatomy, groups=(group,)))


def reported(run: Run, name: str, values: Sequence[float]) -> Run:
    """The run with a figure of validation at even steps up to the end."""
    steps = np.linspace(1, run.step_count, len(values)).astype(int)
    return replace(run, metrics=tuple(Metric(int(step), name, value) for step, value in zip(steps, values, strict=True)))


def with_attention(run: Run, entropy: float) -> Run:
    """The run with one attention layer of that entropy, before the last two layers."""
    seen = run.anatomy
    site = Site(0, "attention", "multiheadattention", "attention", 7)
    wider = {name: _one_more(matrix) if len(matrix[0]) == len(seen.sites) else matrix for name, matrix in run.readings.items()}
    grown = replace(run, anatomy=replace(seen, sites=(*seen.sites, site)), readings=wider)
    return reading(grown, "attention_entropy", entropy, of=[len(seen.sites)])


def _one_more(matrix: np.ndarray) -> np.ndarray:
    return np.pad(matrix, ((0, 0), (0, 1)), constant_values=np.nan)


def shrinking(run: Run) -> Run:
    """The run with weights that lose a tenth of their size from sample to sample."""
    course = -1.0 - 0.1 * np.arange(len(run.sampled))[:, None]
    return reading(run, "log10_weight_rms", np.repeat(course, len(run.anatomy.parameters), axis=1))


def squashed(op: str, head: Head = SCORES) -> Head:
    """A head behind one more operation."""
    return replace(head, squash=(op,))


def deep() -> ModelStructure:
    """Twenty normalised layers without a path around them."""
    return anatomy(20, normalised=True, heads=[replace(SCORES, parameter=19)])


def white(run: Run) -> Run:
    """Gradients that have nothing in common from batch to batch, and grow by a decade and a half on their way back."""
    grown = reading(run, "log10_gradient_rms", -3.0 + np.linspace(1.5, 0.0, len(run.anatomy.sites)))
    return reading(grown, "gradient_agreement", 0.01)


def half(run: Run, zeros: float) -> Run:
    """The run in float16, with that share of zeros in its gradients."""
    return reading(reading(run, "log10_smallest_gradient", -7.22), "gradient_zero_fraction", zeros)


def unrelated(run: Run) -> Run:
    """The run on data in which similar inputs have no similar targets."""
    return reading(run, "neighbour_correlation", 0.01)


def pulled_together(end: float) -> Run:
    """Outputs that become alike while the loss, which no target judges, falls."""
    run = healthy(anatomy())
    spread = np.geomspace(0.8, end, len(SAMPLED))[:, None]
    return reading(run, "example_spread", spread, of=[10])


def normalised_first(run: Run) -> Run:
    """The run with its first normalisation before everything else."""
    sites = tuple(replace(site, order=-1) if site.path == "1" else site for site in run.anatomy.sites)
    return replace(run, anatomy=replace(run.anatomy, sites=sites))


# Name -> (record, code, cause, sites, the leading evidence).
JUDGED_SICK: dict[str, tuple[Run, str, str, tuple[str, ...], str]] = {
    "a softmax before a cross entropy": (
        stuck(squashed("softmax")),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "least possible loss over blind guessing",
    ),
    "a sigmoid before a loss on scores": (
        judged(Head(0, "binary-cross-entropy-with-logits", ("sigmoid",), 1, parameter=5)),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "least possible loss over blind guessing",
    ),
    "a softmax over one value": (
        stuck(Head(0, "absolute", ("softmax",), 1, parameter=5, softmax_extent=1)),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "values in the softmax",
    ),
    "a softmax over the examples": (
        stuck(replace(SCORES, squash=("log_softmax",), softmax_extent=64, over_examples=True)),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "dimension of the softmax",
    ),
    "targets that a sigmoid cannot reach": (
        reading(stuck(squashed("sigmoid", AMOUNTS)), "unreachable_fraction", 0.4),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "targets out of reach",
    ),
    "several tags under a softmax": (
        reading(stuck(Head(0, "binary-cross-entropy", ("softmax",), 8, parameter=5)), "unreachable_fraction", 0.9),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "examples whose targets do not sum to one",
    ),
    "everything compared with everything": (
        reading(stuck(AMOUNTS), "comparisons", 64.0),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "comparisons of each answer",
    ),
    "a likelihood of raw scores": (
        reading(stuck(replace(SCORES, criterion="likelihood")), "log10_probability_sum", 0.9),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "log10 of the probabilities' sum",
    ),
    "logarithms of raw scores": (
        stuck(replace(SCORES, criterion="logarithm")),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "least argument of the logarithm",
    ),
    "a ReLU on the scores": (
        reading(stuck(squashed("relu")), "zero_fraction", 0.7),
        "output-mismatch",
        "output-mismatch",
        LAST,
        "scores that are zero",
    ),
    "raw amounts as inputs": (
        reading(stuck(), "log10_largest_feature", 5.0),
        "unscaled-input",
        "unscaled-input",
        ("0",),
        "RMS of the largest feature",
    ),
    "inputs that are nearly nothing": (
        reading(stuck(), "log10_input_rms", -4.0),
        "unscaled-input",
        "unscaled-input",
        ("0",),
        "RMS of the input",
    ),
    "gradients that are never cleared": (
        reading(judged(), "log10_stale_share", -0.1, since=2),
        "stale-gradient",
        "stale-gradient",
        ("0", "2", "4", "6", "8", "10"),
        "gradient held over gradient used",
    ),
    "gradients that float16 rounds to zero": (
        half(stuck(), 1.0),
        "gradient-underflow",
        "half-precision",
        ("0", "2", "4", "6", "8", "10"),
        "gradient_zero_fraction",
    ),
    "one example a step": (
        reading(reading(stuck(), "gradient_agreement", 0.02), "batch_size", 1.0),
        "gradient-noise",
        "gradient-noise",
        ("0", "2", "4", "6", "8", "10"),
        "agreement of gradients",
    ),
    "rewards that are all alike": (
        reading(
            reading(
                reading(healthy(anatomy(heads=[Head(0, "policy", (), 1)]), losses=flat()), "gradient_agreement", 0.0),
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
        reading(reading(stuck(), "log10_update_rms", -5.0), "log10_gradient_kept", -2.0 - 0.1 * np.arange(len(SAMPLED))[:, None]),
        "clipping-dominates",
        "clipping-dominates",
        ("0", "2", "4", "6", "8", "10"),
        "gradient used over gradient left",
    ),
    "an eps of one": (
        trained_by(reading(stuck(), "log10_update_rms", -5.0), "Adam", lr=1e-3, eps=1.0),
        "optimizer-epsilon",
        "optimizer-epsilon",
        ("0", "2", "4", "6", "8", "10"),
        "eps over gradient",
    ),
    "a decay that outweighs the gradient": (
        trained_by(shrinking(stuck()), "SGD", lr=0.1, weight_decay=1.0),
        "weight-decay-dominates",
        "weight-decay-dominates",
        ("0", "2", "4", "6", "8", "10"),
        "decay over gradient",
    ),
    "a decoupled decay that outweighs the update": (
        trained_by(reading(shrinking(stuck()), "log10_update_rms", -2.0), "AdamW", lr=0.01, weight_decay=60.0),
        "weight-decay-dominates",
        "weight-decay-dominates",
        ("0", "2", "4", "6", "8", "10"),
        "decay over gradient",
    ),
    "a penalty written into the loss": (
        reading(shrinking(stuck()), "gradient_along_weight", 0.9),
        "weight-decay-dominates",
        "weight-decay-dominates",
        ("0", "2", "4", "6", "8", "10"),
        "gradient along the weights",
    ),
    "labels that have nothing to do with the inputs": (
        unrelated(stuck()),
        "degenerate-labels",
        "degenerate-labels",
        LAST,
        "correlation with similar inputs, in standard errors",
    ),
    "labels that are all the same": (
        reading(judged(), "target_high", 0.0),
        "degenerate-labels",
        "degenerate-labels",
        LAST,
        "spread of the targets",
    ),
    "statistics of two values": (
        reading(stuck(normalised=True), "values_per_statistic", 2.0, of=kinds(stuck(normalised=True), "normalisation")),
        "batch-too-small",
        "batch-too-small",
        ("1", "4", "7", "10", "13", "16"),
        "values in a statistic",
    ),
    "statistics that do not fit": (
        reading(judged(normalised=True), "evaluation_gap", 3.0, of=[1]),
        "running-stats-drift",
        "running-stats-drift",
        ("1",),
        "evaluation_gap",
    ),
    "a network that is too simple": (
        stuck(layers=1),
        "underfitting",
        "underfitting",
        ("0",),
        "correlation with similar inputs",
    ),
    "a validation loss that rises again": (
        reported(judged(), "val_loss", [2.0, 1.0, 1.2, 1.9]),
        "overfitting",
        "overfitting",
        ("0", "2", "4", "6", "8", "10"),
        "val_loss over its best",
    ),
    "a validation loss worse than a constant answer": (
        reported(judged(), "val_loss", [4.0]),
        "overfitting",
        "overfitting",
        ("0", "2", "4", "6", "8", "10"),
        "val_loss over that of a constant answer",
    ),
    "examples learned by heart": (
        reading(reported(reading(judged(), "score", 1.0), "val_accuracy", [0.5]), "seen_before", 0.6),
        "overfitting",
        "overfitting",
        ("0", "2", "4", "6", "8", "10"),
        "training score minus val_accuracy",
    ),
    "outputs that are pulled together": (
        pulled_together(1e-3),
        "representation-collapse",
        "representation-collapse",
        LAST,
        "example_spread",
    ),
    "a picture that is always the mean": (
        reading(stuck(PICTURES), "example_spread", np.geomspace(0.8, 0.05, len(SAMPLED))[:, None], of=[10]),
        "representation-collapse",
        "representation-collapse",
        LAST,
        "example_spread",
    ),
    "attention to one place, from large weights": (
        with_attention(reading(stuck(), "log10_weight_rms", 0.5), 0.01),
        "attention-collapse",
        "off-critical-init",
        ("attention",),
        "attention_entropy",
    ),
    "attention to one place, from large scores": (
        with_attention(stuck(), 0.01),
        "attention-collapse",
        "attention-collapse",
        ("attention",),
        "attention_entropy",
    ),
    "attention to all places alike": (
        with_attention(stuck(), 1.0),
        "attention-collapse",
        "symmetric-init",
        ("attention",),
        "attention_entropy",
    ),
    "white noise at the first layers": (
        white(healthy(deep(), losses=flat())),
        "shattered-gradient",
        "depth-without-path",
        tuple(str(3 * i) for i in range(10)),
        "agreement of gradients",
    ),
}

# The first sampled step that shows it, where that is not the first of all; None where nobody can tell.
JUDGED_BEGAN: dict[str, int | None] = {
    "a validation loss that rises again": 67,
    "a validation loss worse than a constant answer": None,
    "examples learned by heart": 1,
    "outputs that are pulled together": 7,
    "a picture that is always the mean": 8,
}

JUDGED_LEFT_ALONE: dict[str, Run] = {
    "scores without a squash": judged(),
    "a sigmoid whose loss wants probabilities": judged(Head(0, "binary-cross-entropy", ("sigmoid",), 1, parameter=5)),
    "targets that a tanh reaches": reading(judged(squashed("tanh", AMOUNTS)), "unreachable_fraction", 0.0),
    "logarithms of probabilities": reading(judged(replace(SCORES, criterion="likelihood")), "log10_probability_sum", 1e-7),
    "a softmax that is scaled afterwards": judged(replace(SCORES, squash=("softmax", "scaled"))),
    "a hand-made likelihood of sigmoids": judged(replace(SCORES, criterion="logarithm", squash=("sigmoid",))),
    "raw inputs that are learned from": reading(judged(), "log10_largest_feature", 5.0),
    "raw inputs behind a normalisation": reading(
        normalised_first(judged(normalised=True, losses=falling(end=1.2))), "log10_largest_feature", 2.0
    ),
    "gradients accumulated within a step": judged(),
    "gradients left over once": reading(judged(), "log10_stale_share", -0.1, since=160),
    "float16 with a scaler": half(judged(), 0.3),
    "noisy gradients of a network that learns": reading(reading(judged(), "gradient_agreement", 0.0), "batch_size", 1.0),
    "clipping at every step that does no harm": reading(
        judged(), "log10_gradient_kept", -1.5 - 0.1 * np.arange(len(SAMPLED))[:, None]
    ),
    "a large eps that does no harm": trained_by(judged(), "Adam", lr=1e-3, eps=1.0),
    "a weight decay in balance": trained_by(shrinking(judged()), "SGD", lr=0.1, weight_decay=1.0),
    "a task that neighbours cannot tell and the network can": unrelated(judged()),
    "opponents with constant targets": reading(
        healthy(
            replace(opponents(), heads=(Head(1, "binary-cross-entropy-with-logits", (), 1, parameter=5),)),
            losses=np.stack([flat(), flat(level=0.7)], axis=1),
        ),
        "target_high",
        0.0,
    ),
    "statistics of two values in a network that learns": reading(
        judged(normalised=True), "values_per_statistic", 2.0, of=kinds(judged(normalised=True), "normalisation")
    ),
    "statistics that are noisy": reading(judged(normalised=True), "evaluation_gap", 0.4, of=[1]),
    "a validation loss that falls": reported(judged(), "val_loss", [2.0, 1.0, 0.6, 0.5]),
    "a validation loss that wavers": reported(judged(), "val_loss", [2.0, 0.5, 0.55, 0.54]),
    "a gap between training and validation that costs nothing": reported(judged(), "val_accuracy", [0.6, 0.7, 0.75]),
    "an embedding that keeps its examples apart": pulled_together(0.4),
    "a rebuilt picture that differs": reading(judged(PICTURES), "example_spread", 0.3, of=[10]),
    "sharp attention in a network that learns": with_attention(judged(), 0.01),
    "attention that looks about": with_attention(judged(), 0.9),
    "a deep normalised network that learns": white(healthy(deep())),
}
