"""Glossary of the technical terms of a report: the forms in which each is written, and its meaning in plain words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One technical term. `forms` are the spellings found in texts, longest first; `key` identifies it in the page's links."""

    key: str
    name: str
    forms: tuple[str, ...]
    meaning: str


TERMS: tuple[Term, ...] = (
    Term(
        "activation",
        "activation, activation function",
        ("activation functions", "activation function", "activations", "activation"),
        "The simple curve (sigmoid, ReLU, tanh) that every layer bends its results with. Also what comes out of it.",
    ),
    Term("batch", "batch", ("batches", "batch"), "The handful of examples that are looked at together in one step."),
    Term(
        "decade",
        "decade",
        ("decades", "decade"),
        "A factor of ten. Six decades lost leave a millionth; a figure in decades is a logarithm to base ten (log10).",
    ),
    Term(
        "gradient",
        "gradient",
        ("gradients", "gradient"),
        "The signal that tells each weight which way, and how strongly, to change so that the error becomes smaller. It "
        "starts at the loss and travels back through every layer to the input.",
    ),
    Term(
        "horizon",
        "horizon",
        ("horizons", "horizon"),
        "How many steps of a sequence back the correcting signal reaches before less than a thousandth of it is left.",
    ),
    Term(
        "initialisation",
        "initialisation",
        ("initialisation", "initial weights", "he-init", "glorot-init"),
        "The values, usually random, that the weights have before training begins.",
    ),
    Term("interval", "interval", ("95 % interval", "intervals", "interval"), "Where the true figure lies, with 95 % certainty."),
    Term(
        "interference",
        "interference",
        ("interference",),
        "What happens where signals from several paths meet: they may cancel, or add to each other.",
    ),
    Term(
        "jacobian",
        "Jacobian",
        ("Jacobians", "Jacobian"),
        "The table of how much each output changes with each input; its singular values say how strongly, in every direction.",
    ),
    Term(
        "layer", "layer", ("layers", "layer"), "One stage of the network: it takes numbers, weighs them, and passes the result on."
    ),
    Term("learning-rate", "learning rate", ("learning rates", "learning rate"), "How large a step is taken at each correction."),
    Term("loss", "loss", ("losses", "loss"), "The error as one number. Training tries to make it small."),
    Term("median", "median", ("medians", "median"), "The middle value: half of the measurements lie below it."),
    Term(
        "normalisation",
        "normalisation",
        ("batch normalisation", "normalisation", "batchnorm", "BatchNorm"),
        "Bringing the numbers between two layers back to an even size.",
    ),
    Term(
        "optimiser",
        "optimiser",
        ("optimisers", "optimizers", "optimiser", "optimizer"),
        "The method that turns gradients into changes of the weights, such as SGD or Adam.",
    ),
    Term("relu", "ReLU", ("ReLU", "relu"), "An activation function that passes on what is positive and makes the rest zero."),
    Term("rms", "RMS", ("RMS",), "Root mean square: the usual size of the numbers in a list, whatever their signs."),
    Term(
        "saturation",
        "saturation",
        ("saturation", "saturated", "saturating", "saturates"),
        "An activation driven so far that its curve is flat: what comes in hardly changes what goes out.",
    ),
    Term("seed", "seed", ("seeds", "seed"), "The number from which a run's chance is drawn; the same seed gives the same chances."),
    Term(
        "sigmoid",
        "sigmoid",
        ("sigmoids", "sigmoid"),
        "An S-shaped activation function. At its steepest it passes on a quarter of the gradient.",
    ),
    Term(
        "site", "site", ("sites", "site"), "A place in the network where something is calculated, named as in the program: net.0."
    ),
    Term(
        "singular-value",
        "singular value",
        ("singular values", "singular value"),
        "By how much a network stretches a small change of its input, in one of its independent directions.",
    ),
    Term(
        "split",
        "split",
        ("split",),
        "Where one result is used in several places, the signals that come back from there add up to more than their mean.",
    ),
    Term("standard-deviation", "standard deviation", ("standard deviation",), "How far numbers typically lie from their mean."),
    Term(
        "step",
        "step",
        ("training steps", "training step", "steps", "step"),
        "One round of training: look at a batch, measure the loss, correct the weights.",
    ),
    Term(
        "theory",
        "theory",
        ("mean-field theory", "theory"),
        "What mathematics expects of a network of that depth and width with such random weights, before any data is seen.",
    ),
    Term(
        "weight",
        "weight",
        ("weight matrices", "weight matrix", "weights", "weight"),
        "One of the many numbers that a network learns; a matrix of them joins two layers.",
    ),
)
