"""The trainings on which remedies are tried, each under a short name: what is sick about it is in its network or its settings."""

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
from benchmarks.remedies.data import Table, adding, batches, digits, images, lines, raw, sums
from benchmarks.remedies.training import Loss, Task, accuracy

ADAM = partial(Adam, lr=1e-3)
EPOCHS_20 = 460  # steps of 64 rows over 1437


def classified(
    network: str,
    build: Callable[[], nn.Module],
    *,
    rate: str = "Adam 0.001",
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
    table: Callable[[], Table] = digits,
    data: str = "digits",
    size: int = 64,
    steps: int = EPOCHS_20,
    loss: Loss = F.cross_entropy,
    clip: float | None = None,
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Task:
    """A classification of held-out rows, judged by accuracy."""
    told = f"{data}, {steps} steps of {size}" if size > 1 else f"{data}, {steps} single examples"
    drawn = batches(table, size=size, steps=steps)
    return Task(f"{network}, {rate}", told, build, optimizer, drawn, loss, accuracy(table), "accuracy", True, steps, clip, within)


def written_out(outputs: Tensor, labels: Tensor) -> Tensor:
    """The cross entropy of each class by itself, as people write it: it takes logarithms of whatever it gets."""
    y = F.one_hot(labels, nets.CLASSES)
    return -(y * torch.log(outputs) + (1 - y) * torch.log(1 - outputs)).sum(1).mean()


def remembered(network: str, build: Callable[[], nn.Module], *, length: int, steps: int) -> Task:
    """The adding problem, judged by the squared error on fresh sums; one who answers the mean has 0.167."""

    def judge(trained: nn.Module) -> float:
        x, y = sums(length, 512, torch.Generator().manual_seed(10**6))
        return F.mse_loss(trained(x), y).item()

    return Task(
        f"{network}, Adam 0.002, gradient clipped to 1",
        f"adding problem over {length} steps, {steps} batches of 32",
        build,
        partial(Adam, lr=2e-3),
        adding(length, size=32, steps=steps),
        F.mse_loss,
        judge,
        "squared error",
        False,
        steps,
        clip=1.0,
    )


def regressed(network: str, build: Callable[[], nn.Module]) -> Task:
    """The progress of diabetes, scaled to lie between -1 and 1, judged by the squared error on held-out patients."""

    def table() -> Table:
        data = raw("diabetes").standardised(each=True)
        return Table(data.x, data.y.unsqueeze(1) / 3.0, data.x_test, data.y_test.unsqueeze(1) / 3.0)

    def judge(trained: nn.Module) -> float:
        data = table()
        return F.mse_loss(trained(data.x_test), data.y_test).item()

    return Task(
        f"{network}, Adam 0.001",
        "diabetes, 120 steps of 32",
        build,
        ADAM,
        batches(table, size=32, steps=120),
        F.mse_loss,
        judge,
        "squared error",
        False,
        120,
    )


def _adding(kind: type[nn.RNNBase], *, width: int = 32) -> Callable[[], nn.Module]:
    return lambda: nets.Reader(kind, 2, width, 1)


def _lines(kind: type[nn.RNNBase], *, width: int = 32) -> Callable[[], nn.Module]:
    return lambda: nets.Reader(kind, 8, width, nets.CLASSES)


_HALF = partial(torch.autocast, "cpu", torch.float16)
_FEW = {"size": 64, "steps": 230}

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        # Plain networks over the rows of digits
        "shallow relu": classified("3 layers of ReLU", lambda: nets.plain(3, nn.ReLU)),
        "shallow tanh": classified("3 layers of tanh", lambda: nets.plain(3, nn.Tanh)),
        "sigmoid 8": classified("8 layers of sigmoid", lambda: nets.plain(8, nn.Sigmoid)),
        "sigmoid 30": classified("30 layers of sigmoid", lambda: nets.plain(30, nn.Sigmoid)),
        "sigmoid 50": classified("50 layers of sigmoid", lambda: nets.plain(50, nn.Sigmoid)),
        "tanh 30": classified("30 layers of tanh", lambda: nets.plain(30, nn.Tanh)),
        "tanh 50": classified("50 layers of tanh", lambda: nets.plain(50, nn.Tanh)),
        "glorot tanh 30": classified("30 layers of tanh, Glorot-initialised", lambda: nets.glorot(nets.plain(30, nn.Tanh))),
        "tanh 20": classified("20 layers of tanh", lambda: nets.plain(20, nn.Tanh)),
        "relu 30": classified("30 layers of ReLU", lambda: nets.plain(30, nn.ReLU)),
        "he relu 50": classified("50 layers of ReLU, He-initialised", lambda: nets.he(nets.plain(50, nn.ReLU))),
        "selu 30": classified("30 layers of SELU", lambda: nets.plain(30, nn.SELU)),
        "dead relu": classified("4 layers of ReLU with biases of -2", lambda: nets.dead(nets.plain(4, nn.ReLU))),
        "large relu 8": classified("8 layers of ReLU, weights times 6", lambda: nets.scaled(nets.plain(8, nn.ReLU), 6.0)),
        "one by one": classified("4 layers of ReLU", lambda: nets.plain(4, nn.ReLU), size=1, steps=1437),
        # Residual networks, convolutions, transformers
        "branches 30": classified("30 residual blocks without normalisation, He-initialised", lambda: nets.Branches(30)),
        "branches 2": classified("2 residual blocks without normalisation, He-initialised", lambda: nets.Branches(2)),
        "tanh cnn 20": classified("20 convolutions of tanh", lambda: nets.convolutions(20, nn.Tanh), table=images, **_FEW),
        "relu cnn 3": classified("3 convolutions of ReLU", lambda: nets.convolutions(3, nn.ReLU), table=images, **_FEW),
        "norm cnn pairs": classified(
            "4 convolutions of ReLU with batch normalisation",
            lambda: nets.convolutions(4, nn.ReLU, norm=True),
            table=images,
            size=2,
            steps=1000,
        ),
        "transformer 2": classified("2 post-norm transformer layers", lambda: nets.Transformer(2), table=lines, **_FEW),
        # Recurrent networks
        "adding rnn": remembered("an RNN of 32 units", _adding(nn.RNN), length=30, steps=1500),
        "adding lstm": remembered("an LSTM of 32 units", _adding(nn.LSTM), length=50, steps=800),
        "lines rnn": classified("an RNN of 32 units", _lines(nn.RNN), table=lines, data="digits line by line"),
        "lines lstm": classified("an LSTM of 32 units", _lines(nn.LSTM), table=lines, data="digits line by line"),
        # Settings of the optimizer
        "slow sgd": classified(
            "6 layers of ReLU", lambda: nets.plain(6, nn.ReLU), rate="SGD 0.01", optimizer=partial(SGD, lr=0.01)
        ),
        "tuned sgd": classified(
            "3 layers of ReLU",
            lambda: nets.plain(3, nn.ReLU),
            rate="SGD 0.1 with momentum 0.9",
            optimizer=partial(SGD, lr=0.1, momentum=0.9),
        ),
        "rash sgd": classified(
            "8 layers of ReLU, He-initialised",
            lambda: nets.he(nets.plain(8, nn.ReLU)),
            rate="SGD 0.2 with momentum 0.9",
            optimizer=partial(SGD, lr=0.2, momentum=0.9),
        ),
        "short": classified("6 layers of tanh", lambda: nets.plain(6, nn.Tanh), steps=46),
        "rash adam": classified(
            "4 layers of ReLU", lambda: nets.plain(4, nn.ReLU), rate="Adam 0.5", optimizer=partial(Adam, lr=0.5)
        ),
        "rash transformer": classified(
            "6 post-norm transformer layers",
            lambda: nets.Transformer(6),
            table=lines,
            rate="Adam 0.01",
            optimizer=partial(Adam, lr=0.01),
            **_FEW,
        ),
        "large eps": classified(
            "12 layers of tanh",
            lambda: nets.plain(12, nn.Tanh),
            rate="Adam 0.001 with eps 0.1",
            optimizer=partial(Adam, lr=1e-3, eps=0.1),
        ),
        "small eps": classified(
            "3 layers of ReLU",
            lambda: nets.plain(3, nn.ReLU),
            rate="Adam 0.001 with eps 1e-5",
            optimizer=partial(Adam, lr=1e-3, eps=1e-5),
        ),
        "half sigmoid 4": classified(
            "4 layers of sigmoid, autocast to float16, a loss of small weight (0.0001)",
            lambda: nets.plain(4, nn.Sigmoid),
            loss=lambda outputs, labels: 1e-4 * F.cross_entropy(outputs, labels),
            within=_HALF,
        ),
        "half relu 3": classified("3 layers of ReLU, autocast to float16", lambda: nets.plain(3, nn.ReLU), within=_HALF),
        # Data and outputs
        "raw wine": classified(
            "3 layers of ReLU",
            lambda: nets.plain(3, nn.ReLU, inputs=13, outputs=3),
            table=lambda: raw("wine"),
            data="wine, raw",
            size=32,
            steps=120,
        ),
        "softmax output": classified(
            "3 layers of ReLU and a softmax before a loss that has one",
            lambda: nets.plain(3, nn.ReLU).append(nn.Softmax(-1)),
            rate="SGD 0.1",
            optimizer=partial(SGD, lr=0.1),
            steps=230,
        ),
        "sigmoid by hand": classified(
            "3 layers of ReLU and a sigmoid, a cross entropy written out",
            lambda: nets.plain(3, nn.ReLU).append(nn.Sigmoid()),
            rate="Adam 0.01",
            optimizer=partial(Adam, lr=1e-2),
            loss=written_out,
        ),
        "scores by hand": classified(
            "3 layers of ReLU, a cross entropy written out",
            lambda: nets.plain(3, nn.ReLU),
            loss=written_out,
            steps=230,
        ),
        "scores as logarithms": classified(
            "3 layers of ReLU before a likelihood that expects logarithms",
            lambda: nets.plain(3, nn.ReLU),
            rate="SGD 0.1",
            optimizer=partial(SGD, lr=0.1),
            loss=F.nll_loss,
            steps=230,
        ),
        "bounded regression": regressed(
            "3 layers of ReLU and a tanh", lambda: nets.plain(3, nn.ReLU, inputs=10, outputs=1).append(nn.Tanh())
        ),
    }
)
