"""The trainings of the experiments by a short name, each with a problem in its network, data or settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam

from benchmarks.remedies import networks as nets
from benchmarks.remedies.data import (
    Dataset,
    adding_problem_batches,
    draw_sums,
    load_digit_images,
    load_digit_lines,
    load_digit_rows,
    load_raw,
    shuffled_batches,
)
from benchmarks.remedies.training import Loss, Task, accuracy

ADAM = partial(Adam, lr=1e-3)
EPOCHS_20 = 460  # steps of 64 rows over 1437


def classification(
    network: str,
    build: Callable[[], nn.Module],
    *,
    rate: str = "Adam 0.001",
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
    dataset: Callable[[], Dataset] = load_digit_rows,
    data: str = "digits",
    size: int = 64,
    steps: int = EPOCHS_20,
    loss: Loss = F.cross_entropy,
    clip: float | None = None,
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Task:
    """A classification task, scored by the accuracy on held-out rows."""
    description = f"{data}, {steps} steps of {size}" if size > 1 else f"{data}, {steps} single examples"
    batches = shuffled_batches(dataset, size=size, steps=steps)
    return Task(
        f"{network}, {rate}", description, build, optimizer, batches, loss, accuracy(dataset), "accuracy", True, steps, clip, within
    )


def handwritten_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """The binary cross entropy of each class as written by hand, with a logarithm of outputs that may be out of range."""
    y = F.one_hot(labels, nets.CLASSES)
    return -(y * torch.log(outputs) + (1 - y) * torch.log(1 - outputs)).sum(1).mean()


def adding_problem(network: str, build: Callable[[], nn.Module], *, length: int, steps: int) -> Task:
    """The adding problem, scored by the squared error on new sequences; a constant answer gets 0.167."""

    def score(network: nn.Module) -> float:
        x, y = draw_sums(length, 512, torch.Generator().manual_seed(10**6))
        return F.mse_loss(network(x), y).item()

    return Task(
        f"{network}, Adam 0.002, gradient clipped to 1",
        f"adding problem over {length} steps, {steps} batches of 32",
        build,
        partial(Adam, lr=2e-3),
        adding_problem_batches(length, size=32, steps=steps),
        F.mse_loss,
        score,
        "squared error",
        False,
        steps,
        clip=1.0,
    )


def diabetes_regression(network: str, build: Callable[[], nn.Module]) -> Task:
    """Regression of the progress of diabetes, scaled to lie between -1 and 1, scored by the squared error on held-out rows."""

    def dataset() -> Dataset:
        data = load_raw("diabetes").standardised(per_feature=True)
        return Dataset(data.x, data.y.unsqueeze(1) / 3.0, data.x_test, data.y_test.unsqueeze(1) / 3.0)

    def score(network: nn.Module) -> float:
        data = dataset()
        return F.mse_loss(network(data.x_test), data.y_test).item()

    return Task(
        f"{network}, Adam 0.001",
        "diabetes, 120 steps of 32",
        build,
        ADAM,
        shuffled_batches(dataset, size=32, steps=120),
        F.mse_loss,
        score,
        "squared error",
        False,
        120,
    )


def _adding_network(kind: type[nn.RNNBase], *, width: int = 32) -> Callable[[], nn.Module]:
    return lambda: nets.RecurrentNetwork(kind, 2, width, 1)


def _digit_line_network(kind: type[nn.RNNBase], *, width: int = 32) -> Callable[[], nn.Module]:
    return lambda: nets.RecurrentNetwork(kind, 8, width, nets.CLASSES)


_HALF = partial(torch.autocast, "cpu", torch.float16)
_FEW_STEPS = {"size": 64, "steps": 230}

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        # Plain networks over the rows of digits
        "shallow relu": classification("3 layers of ReLU", lambda: nets.build_mlp(3, nn.ReLU)),
        "shallow tanh": classification("3 layers of tanh", lambda: nets.build_mlp(3, nn.Tanh)),
        "sigmoid 8": classification("8 layers of sigmoid", lambda: nets.build_mlp(8, nn.Sigmoid)),
        "sigmoid 30": classification("30 layers of sigmoid", lambda: nets.build_mlp(30, nn.Sigmoid)),
        "sigmoid 50": classification("50 layers of sigmoid", lambda: nets.build_mlp(50, nn.Sigmoid)),
        "tanh 30": classification("30 layers of tanh", lambda: nets.build_mlp(30, nn.Tanh)),
        "tanh 50": classification("50 layers of tanh", lambda: nets.build_mlp(50, nn.Tanh)),
        "glorot tanh 30": classification(
            "30 layers of tanh, Glorot-initialised", lambda: nets.init_glorot(nets.build_mlp(30, nn.Tanh))
        ),
        "tanh 20": classification("20 layers of tanh", lambda: nets.build_mlp(20, nn.Tanh)),
        "relu 30": classification("30 layers of ReLU", lambda: nets.build_mlp(30, nn.ReLU)),
        "he relu 50": classification("50 layers of ReLU, He-initialised", lambda: nets.init_he(nets.build_mlp(50, nn.ReLU))),
        "selu 30": classification("30 layers of SELU", lambda: nets.build_mlp(30, nn.SELU)),
        "dead relu": classification(
            "4 layers of ReLU with biases of -2", lambda: nets.init_dead_biases(nets.build_mlp(4, nn.ReLU))
        ),
        "large relu 8": classification(
            "8 layers of ReLU, weights times 6", lambda: nets.scale_weights(nets.build_mlp(8, nn.ReLU), 6.0)
        ),
        "one by one": classification("4 layers of ReLU", lambda: nets.build_mlp(4, nn.ReLU), size=1, steps=1437),
        # Residual networks, convolutions, transformers
        "branches 30": classification("30 residual blocks without normalisation, He-initialised", lambda: nets.ResidualStack(30)),
        "branches 2": classification("2 residual blocks without normalisation, He-initialised", lambda: nets.ResidualStack(2)),
        "tanh cnn 20": classification(
            "20 convolutions of tanh", lambda: nets.build_cnn(20, nn.Tanh), dataset=load_digit_images, **_FEW_STEPS
        ),
        "relu cnn 3": classification(
            "3 convolutions of ReLU", lambda: nets.build_cnn(3, nn.ReLU), dataset=load_digit_images, **_FEW_STEPS
        ),
        "norm cnn pairs": classification(
            "4 convolutions of ReLU with batch normalisation",
            lambda: nets.build_cnn(4, nn.ReLU, norm=True),
            dataset=load_digit_images,
            size=2,
            steps=1000,
        ),
        "transformer 2": classification(
            "2 post-norm transformer layers", lambda: nets.Transformer(2), dataset=load_digit_lines, **_FEW_STEPS
        ),
        # Recurrent networks
        "adding rnn": adding_problem("an RNN of 32 units", _adding_network(nn.RNN), length=30, steps=1500),
        "adding lstm": adding_problem("an LSTM of 32 units", _adding_network(nn.LSTM), length=50, steps=800),
        "lines rnn": classification(
            "an RNN of 32 units", _digit_line_network(nn.RNN), dataset=load_digit_lines, data="digits line by line"
        ),
        "lines lstm": classification(
            "an LSTM of 32 units", _digit_line_network(nn.LSTM), dataset=load_digit_lines, data="digits line by line"
        ),
        # Settings of the optimizer
        "slow sgd": classification(
            "6 layers of ReLU", lambda: nets.build_mlp(6, nn.ReLU), rate="SGD 0.01", optimizer=partial(SGD, lr=0.01)
        ),
        "tuned sgd": classification(
            "3 layers of ReLU",
            lambda: nets.build_mlp(3, nn.ReLU),
            rate="SGD 0.1 with momentum 0.9",
            optimizer=partial(SGD, lr=0.1, momentum=0.9),
        ),
        "rash sgd": classification(
            "8 layers of ReLU, He-initialised",
            lambda: nets.init_he(nets.build_mlp(8, nn.ReLU)),
            rate="SGD 0.2 with momentum 0.9",
            optimizer=partial(SGD, lr=0.2, momentum=0.9),
        ),
        "short": classification("6 layers of tanh", lambda: nets.build_mlp(6, nn.Tanh), steps=46),
        "rash adam": classification(
            "4 layers of ReLU", lambda: nets.build_mlp(4, nn.ReLU), rate="Adam 0.5", optimizer=partial(Adam, lr=0.5)
        ),
        "rash transformer": classification(
            "6 post-norm transformer layers",
            lambda: nets.Transformer(6),
            dataset=load_digit_lines,
            rate="Adam 0.01",
            optimizer=partial(Adam, lr=0.01),
            **_FEW_STEPS,
        ),
        "large eps": classification(
            "12 layers of tanh",
            lambda: nets.build_mlp(12, nn.Tanh),
            rate="Adam 0.001 with eps 0.1",
            optimizer=partial(Adam, lr=1e-3, eps=0.1),
        ),
        "small eps": classification(
            "3 layers of ReLU",
            lambda: nets.build_mlp(3, nn.ReLU),
            rate="Adam 0.001 with eps 1e-5",
            optimizer=partial(Adam, lr=1e-3, eps=1e-5),
        ),
        "half sigmoid 4": classification(
            "4 layers of sigmoid, autocast to float16, a loss of small weight (0.0001)",
            lambda: nets.build_mlp(4, nn.Sigmoid),
            loss=lambda outputs, labels: 1e-4 * F.cross_entropy(outputs, labels),
            within=_HALF,
        ),
        "half relu 3": classification("3 layers of ReLU, autocast to float16", lambda: nets.build_mlp(3, nn.ReLU), within=_HALF),
        # Data and outputs
        "raw wine": classification(
            "3 layers of ReLU",
            lambda: nets.build_mlp(3, nn.ReLU, inputs=13, outputs=3),
            dataset=lambda: load_raw("wine"),
            data="wine, raw",
            size=32,
            steps=120,
        ),
        "softmax output": classification(
            "3 layers of ReLU and a softmax before a loss that has one",
            lambda: nets.build_mlp(3, nn.ReLU).append(nn.Softmax(-1)),
            rate="SGD 0.1",
            optimizer=partial(SGD, lr=0.1),
            steps=230,
        ),
        "sigmoid by hand": classification(
            "3 layers of ReLU and a sigmoid, a cross entropy written out",
            lambda: nets.build_mlp(3, nn.ReLU).append(nn.Sigmoid()),
            rate="Adam 0.01",
            optimizer=partial(Adam, lr=1e-2),
            loss=handwritten_cross_entropy,
        ),
        "scores by hand": classification(
            "3 layers of ReLU, a cross entropy written out",
            lambda: nets.build_mlp(3, nn.ReLU),
            loss=handwritten_cross_entropy,
            steps=230,
        ),
        "scores as logarithms": classification(
            "3 layers of ReLU before a likelihood that expects logarithms",
            lambda: nets.build_mlp(3, nn.ReLU),
            rate="SGD 0.1",
            optimizer=partial(SGD, lr=0.1),
            loss=F.nll_loss,
            steps=230,
        ),
        "bounded regression": diabetes_regression(
            "3 layers of ReLU and a tanh", lambda: nets.build_mlp(3, nn.ReLU, inputs=10, outputs=1).append(nn.Tanh())
        ),
    }
)
