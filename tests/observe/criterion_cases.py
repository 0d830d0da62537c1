"""Losses in every way of writing them, each with the heads that must be found in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watching import observe_training

from unvanish.record.run import Run
from unvanish.record.structure import Head

EXAMPLES, FEATURES, CLASSES = 12, 5, 3


@dataclass(frozen=True, slots=True)
class ExpectedHead:
    """A head as it must be found.

    `last_weight` is the weight that its path ends at, None where the path has an unknown operation. `softmax` is the extent of the
    last softmax, and whether that runs over the examples.
    """

    criterion: str
    squash: tuple[str, ...] = ()
    width: int = CLASSES
    last_weight: str | None = "0.weight"
    softmax: tuple[int | None, bool] = (None, False)
    turn: int = 0


def heads_of(run: Run) -> list[ExpectedHead]:
    def last_weight(head: Head) -> str | None:
        return None if head.parameter is None else run.structure.parameter_label(head.parameter)

    heads = run.structure.heads
    return [
        ExpectedHead(h.criterion, h.squash, h.width, last_weight(h), (h.softmax_extent, h.over_examples), h.turn) for h in heads
    ]


def observe_step(network: nn.Module, loss: Callable[[Any], Tensor], shape: tuple[int, ...] = (EXAMPLES, FEATURES)) -> Run:
    """One observed step on a batch of that shape."""

    def train() -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        loss(network(torch.randn(shape))).backward()
        optimizer.step()

    return observe_training(train)


def linear_then(*layers: nn.Module, width: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, width), *layers)


class Transformed(nn.Module):
    """A linear layer, followed by a function."""

    def __init__(self, function: Callable[[Tensor], Tensor], width: int = CLASSES) -> None:
        super().__init__()
        self.last = nn.Linear(FEATURES, width)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.last(x))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


class Mul(Doubled):
    """Its node has the name of torch's own multiplication."""


torch.manual_seed(31)
LABELS, VALUES = torch.arange(EXAMPLES) % CLASSES, torch.randn(EXAMPLES, CLASSES)
BINARY_TARGETS, PROBABILITIES = (torch.randn(EXAMPLES, CLASSES) > 0).float(), torch.rand(EXAMPLES, CLASSES).softmax(1)
PIXEL_LABELS = torch.randint(CLASSES, (EXAMPLES, 4, 4))
TOKEN_LABELS = torch.randint(CLASSES, (EXAMPLES, 7))
CLASS_WEIGHTS = torch.tensor([0.2, 0.3, 0.5])


def hinge(o: Tensor) -> Tensor:
    return (1 - (2 * BINARY_TARGETS - 1) * o).clamp_min(0).mean()


def select_labels(o: Tensor) -> Tensor:
    return o[torch.arange(EXAMPLES), LABELS]


CROSS_ENTROPY, LIKELIHOOD = ExpectedHead("cross-entropy"), ExpectedHead("likelihood")
SQUARED, ABSOLUTE = ExpectedHead("squared"), ExpectedHead("absolute")
LOGITS, BINARY = ExpectedHead("binary-cross-entropy-with-logits"), ExpectedHead("binary-cross-entropy", ("sigmoid",))
CRITERION_CASES: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor], list[ExpectedHead]]] = {
    "cross entropy, module": (linear_then(), lambda o: nn.CrossEntropyLoss()(o, LABELS), [CROSS_ENTROPY]),
    "cross entropy, function": (linear_then(), lambda o: F.cross_entropy(o, LABELS), [CROSS_ENTROPY]),
    "cross entropy, sum": (linear_then(), lambda o: F.cross_entropy(o, LABELS, reduction="sum"), [CROSS_ENTROPY]),
    "cross entropy, unreduced": (linear_then(), lambda o: F.cross_entropy(o, LABELS, reduction="none").mean(), [CROSS_ENTROPY]),
    "cross entropy, weighted": (linear_then(), lambda o: F.cross_entropy(o, LABELS, weight=CLASS_WEIGHTS), [CROSS_ENTROPY]),
    "cross entropy, smoothed": (linear_then(), lambda o: F.cross_entropy(o, LABELS, label_smoothing=0.1), [CROSS_ENTROPY]),
    "cross entropy, ignoring": (linear_then(), lambda o: F.cross_entropy(o, LABELS, ignore_index=1), [CROSS_ENTROPY]),
    "cross entropy, scaled loss": (linear_then(), lambda o: F.cross_entropy(o, LABELS) / 4 * 1024, [CROSS_ENTROPY]),
    "cross entropy, soft targets": (linear_then(), lambda o: F.cross_entropy(o, PROBABILITIES), [CROSS_ENTROPY]),
    "cross entropy, soft targets by hand": (
        linear_then(),
        lambda o: -(PROBABILITIES * o.log_softmax(1)).sum(1).mean(),
        [CROSS_ENTROPY],
    ),
    "cross entropy, distillation": (
        linear_then(),
        lambda o: F.kl_div(F.log_softmax(o / 2, 1), PROBABILITIES, reduction="batchmean"),
        [ExpectedHead("cross-entropy", ("scaled",))],
    ),
    "cross entropy in two steps": (linear_then(nn.LogSoftmax(1)), lambda o: F.nll_loss(o, LABELS), [CROSS_ENTROPY]),
    "cross entropy of a softmax": (
        linear_then(nn.Softmax(1)),
        lambda o: F.cross_entropy(o, LABELS),
        [ExpectedHead("cross-entropy", ("softmax",), softmax=(3, False))],
    ),
    "cross entropy of a relu": (
        linear_then(nn.ReLU()),
        lambda o: F.cross_entropy(o, LABELS),
        [ExpectedHead("cross-entropy", ("relu",))],
    ),
    "cross entropy over the examples": (
        linear_then(nn.LogSoftmax(0)),
        lambda o: F.nll_loss(o, LABELS),
        [ExpectedHead("cross-entropy", ("log_softmax",), softmax=(EXAMPLES, True))],
    ),
    "cross entropy of one class": (
        linear_then(width=1),
        lambda o: F.cross_entropy(o, torch.zeros(EXAMPLES).long()),
        [ExpectedHead("cross-entropy", ("log_softmax",), 1, softmax=(1, False))],
    ),
    "likelihood of scores": (linear_then(), lambda o: F.nll_loss(o, LABELS), [LIKELIHOOD]),
    "likelihood of probabilities": (
        linear_then(nn.Softmax(1)),
        lambda o: nn.NLLLoss()(o, LABELS),
        [ExpectedHead("likelihood", ("softmax",), softmax=(3, False))],
    ),
    "likelihood by hand": (
        linear_then(nn.Softmax(1)),
        lambda o: -torch.log(select_labels(o)).mean(),
        [ExpectedHead("logarithm", ("softmax",), 1, softmax=(3, False))],
    ),
    "squares, module": (linear_then(), lambda o: nn.MSELoss()(o, VALUES), [SQUARED]),
    "squares, by hand": (linear_then(), lambda o: ((o - VALUES) ** 2).mean(), [SQUARED]),
    "squares, the other way round": (linear_then(), lambda o: (VALUES - o).pow(2).sum(), [SQUARED]),
    "squares, torch.square": (linear_then(), lambda o: torch.square(o - VALUES).mean(), [SQUARED]),
    "squares, as a product": (linear_then(), lambda o: ((d := o - VALUES) * d).mean(), [SQUARED]),
    "squares, root": (linear_then(), lambda o: F.mse_loss(o, VALUES).sqrt(), [SQUARED]),
    "squares, weighted": (linear_then(), lambda o: (PROBABILITIES * (o - VALUES) ** 2).mean(), [SQUARED]),
    "squares of one number": (
        linear_then(width=1),
        lambda o: ((o.squeeze(1) - VALUES[:, 0]) ** 2).mean(),
        [ExpectedHead("squared", width=1)],
    ),
    "sizes, module": (linear_then(), lambda o: nn.L1Loss()(o, VALUES), [ABSOLUTE]),
    "sizes, by hand": (linear_then(), lambda o: (o - VALUES).abs().mean(), [ABSOLUTE]),
    "sizes, smooth": (linear_then(), lambda o: F.smooth_l1_loss(o, VALUES), [ABSOLUTE]),
    "sizes, huber": (linear_then(), lambda o: F.huber_loss(o, VALUES), [ABSOLUTE]),
    "binary": (linear_then(nn.Sigmoid()), lambda o: nn.BCELoss()(o, BINARY_TARGETS), [BINARY]),
    "binary of clamped": (
        linear_then(nn.Sigmoid()),
        lambda o: F.binary_cross_entropy(o.clamp(1e-6, 1 - 1e-6), BINARY_TARGETS),
        [BINARY],
    ),
    "binary with logits": (linear_then(), lambda o: nn.BCEWithLogitsLoss()(o, BINARY_TARGETS), [LOGITS]),
    "binary with logits of a sigmoid": (
        linear_then(nn.Sigmoid()),
        lambda o: F.binary_cross_entropy_with_logits(o, BINARY_TARGETS),
        [ExpectedHead("binary-cross-entropy-with-logits", ("sigmoid",))],
    ),
    "binary with logits, positive weight": (
        linear_then(),
        lambda o: F.binary_cross_entropy_with_logits(o, BINARY_TARGETS, pos_weight=CLASS_WEIGHTS),
        [LOGITS],
    ),
    "a scaled output": (
        Transformed(lambda z: 2 * torch.sigmoid(z) - 1),
        lambda o: F.mse_loss(o, VALUES),
        [ExpectedHead("squared", ("sigmoid", "scaled", "scaled"), last_weight="last.weight")],
    ),
    "one branch of constants": (
        Transformed(lambda z: z.tanh() + VALUES),
        lambda o: F.mse_loss(o, VALUES),
        [ExpectedHead("squared", ("tanh", "scaled"), last_weight="last.weight")],
    ),
    "a residual output": (
        Transformed(lambda z: z + z.tanh()),
        lambda o: F.mse_loss(o, VALUES),
        [ExpectedHead("squared", last_weight=None)],
    ),
    "a normalised output": (
        linear_then(nn.BatchNorm1d(CLASSES)),
        lambda o: F.mse_loss(o, VALUES),
        [ExpectedHead("squared", last_weight="1.weight")],
    ),
    "a function of the script's own": (
        Transformed(Doubled.apply),
        lambda o: F.mse_loss(o, VALUES),
        [ExpectedHead("squared", last_weight=None)],
    ),
    "a function named like one of torch's": (
        Transformed(Mul.apply),
        lambda o: F.mse_loss(o, VALUES),
        [ExpectedHead("squared", ("scaled",), last_weight="last.weight")],
    ),
    "a penalty besides": (
        linear_then(),
        lambda o: F.mse_loss(o, VALUES) + 0.01 * o.square().mean() + 0.1 * o.abs().mean(),
        [SQUARED],
    ),
    "a hinge": (linear_then(), hinge, []),
    "the mean output": (linear_then(), lambda o: o.mean(), []),
    "its own square": (linear_then(), lambda o: o.square().mean(), []),
    "a cube": (linear_then(), lambda o: ((o - VALUES) ** 3).abs().mean(), []),
    "exponents in a tensor": (linear_then(), lambda o: ((o - VALUES) ** torch.full((CLASSES,), 2.0)).mean(), []),
    "a distance of both sides": (linear_then(), lambda o: F.mse_loss(o[:, :1], o[:, 1:2]), []),
    "a distance of both sides by hand": (linear_then(), lambda o: ((o[:, 0] - o[:, 1]) ** 2).mean(), []),
    "a sum of many terms": (
        linear_then(),
        lambda o: torch.stack([F.mse_loss(o[i], VALUES[i]) for i in range(EXAMPLES)]).sum(),
        [ExpectedHead("squared", width=1, turn=i) for i in range(4)],
    ),
    "a sum of too many terms": (
        linear_then(),
        lambda o: sum((F.mse_loss(o[0], VALUES[0]) for _ in range(1500)), torch.zeros(())),
        [],
    ),
    "an embedding's distances": (linear_then(), lambda o: F.triplet_margin_loss(o[:4], o[4:8], o[8:]), []),
    "a sequence of log-probabilities": (
        linear_then(),
        lambda o: F.gaussian_nll_loss(o, VALUES, torch.ones(EXAMPLES, 1)),
        [SQUARED],
    ),
}
