"""Every spelling of a loss that the tests try, and what must be found to judge the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watching import observed

from unvanish.record.run import Run
from unvanish.record.structure import Head

N, WIDE, CLASSES = 12, 5, 3


@dataclass(frozen=True, slots=True)
class Judged:
    """A head as it must be found. `last` is the weight that the way ends at, None where it is not to be understood."""

    criterion: str
    squash: tuple[str, ...] = ()
    width: int = CLASSES
    last: str | None = "0.weight"
    over: tuple[int | None, bool] = (None, False)
    turn: int = 0


def found(run: Run) -> list[Judged]:
    def last(head: Head) -> str | None:
        return None if head.parameter is None else run.anatomy.parameter_label(head.parameter)

    heads = run.anatomy.heads
    return [Judged(h.criterion, h.squash, h.width, last(h), (h.softmax_extent, h.over_examples), h.turn) for h in heads]


def step(network: nn.Module, loss: Callable[[Any], Tensor], shape: tuple[int, ...] = (N, WIDE)) -> Run:
    """One watched step on a batch of that shape."""

    def train() -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        loss(network(torch.randn(shape))).backward()
        optimizer.step()

    return observed(train)


def chain(*layers: nn.Module, width: int = CLASSES) -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDE, width), *layers)


class Bent(nn.Module):
    """A linear layer, and then something that is written out."""

    def __init__(self, bend: Callable[[Tensor], Tensor], width: int = CLASSES) -> None:
        super().__init__()
        self.last = nn.Linear(WIDE, width)
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(self.last(x))


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
LABELS, AMOUNTS = torch.arange(N) % CLASSES, torch.randn(N, CLASSES)
BITS, SOFT = (torch.randn(N, CLASSES) > 0).float(), torch.rand(N, CLASSES).softmax(1)
MAPS = torch.randint(CLASSES, (N, 4, 4))
PLACES = torch.randint(CLASSES, (N, 7))
SHARES = torch.tensor([0.2, 0.3, 0.5])


def hinge(o: Tensor) -> Tensor:
    return (1 - (2 * BITS - 1) * o).clamp_min(0).mean()


def picked(o: Tensor) -> Tensor:
    return o[torch.arange(N), LABELS]


CROSS, LIKELY = Judged("cross-entropy"), Judged("likelihood")
SQUARED, ABSOLUTE = Judged("squared"), Judged("absolute")
LOGITS, BINARY = Judged("binary-cross-entropy-with-logits"), Judged("binary-cross-entropy", ("sigmoid",))
SPELLINGS: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor], list[Judged]]] = {
    "cross entropy, module": (chain(), lambda o: nn.CrossEntropyLoss()(o, LABELS), [CROSS]),
    "cross entropy, function": (chain(), lambda o: F.cross_entropy(o, LABELS), [CROSS]),
    "cross entropy, sum": (chain(), lambda o: F.cross_entropy(o, LABELS, reduction="sum"), [CROSS]),
    "cross entropy, unreduced": (chain(), lambda o: F.cross_entropy(o, LABELS, reduction="none").mean(), [CROSS]),
    "cross entropy, weighted": (chain(), lambda o: F.cross_entropy(o, LABELS, weight=SHARES), [CROSS]),
    "cross entropy, smoothed": (chain(), lambda o: F.cross_entropy(o, LABELS, label_smoothing=0.1), [CROSS]),
    "cross entropy, ignoring": (chain(), lambda o: F.cross_entropy(o, LABELS, ignore_index=1), [CROSS]),
    "cross entropy, scaled loss": (chain(), lambda o: F.cross_entropy(o, LABELS) / 4 * 1024, [CROSS]),
    "cross entropy, soft targets": (chain(), lambda o: F.cross_entropy(o, SOFT), [CROSS]),
    "cross entropy, soft targets by hand": (chain(), lambda o: -(SOFT * o.log_softmax(1)).sum(1).mean(), [CROSS]),
    "cross entropy, distillation": (
        chain(),
        lambda o: F.kl_div(F.log_softmax(o / 2, 1), SOFT, reduction="batchmean"),
        [Judged("cross-entropy", ("scaled",))],
    ),
    "cross entropy in two steps": (chain(nn.LogSoftmax(1)), lambda o: F.nll_loss(o, LABELS), [CROSS]),
    "cross entropy of a softmax": (
        chain(nn.Softmax(1)),
        lambda o: F.cross_entropy(o, LABELS),
        [Judged("cross-entropy", ("softmax",), over=(3, False))],
    ),
    "cross entropy of a relu": (chain(nn.ReLU()), lambda o: F.cross_entropy(o, LABELS), [Judged("cross-entropy", ("relu",))]),
    "cross entropy over the examples": (
        chain(nn.LogSoftmax(0)),
        lambda o: F.nll_loss(o, LABELS),
        [Judged("cross-entropy", ("log_softmax",), over=(N, True))],
    ),
    "cross entropy of one class": (
        chain(width=1),
        lambda o: F.cross_entropy(o, torch.zeros(N).long()),
        [Judged("cross-entropy", ("log_softmax",), 1, over=(1, False))],
    ),
    "likelihood of scores": (chain(), lambda o: F.nll_loss(o, LABELS), [LIKELY]),
    "likelihood of probabilities": (
        chain(nn.Softmax(1)),
        lambda o: nn.NLLLoss()(o, LABELS),
        [Judged("likelihood", ("softmax",), over=(3, False))],
    ),
    "likelihood by hand": (
        chain(nn.Softmax(1)),
        lambda o: -torch.log(picked(o)).mean(),
        [Judged("logarithm", ("softmax",), 1, over=(3, False))],
    ),
    "squares, module": (chain(), lambda o: nn.MSELoss()(o, AMOUNTS), [SQUARED]),
    "squares, by hand": (chain(), lambda o: ((o - AMOUNTS) ** 2).mean(), [SQUARED]),
    "squares, the other way round": (chain(), lambda o: (AMOUNTS - o).pow(2).sum(), [SQUARED]),
    "squares, torch.square": (chain(), lambda o: torch.square(o - AMOUNTS).mean(), [SQUARED]),
    "squares, as a product": (chain(), lambda o: ((d := o - AMOUNTS) * d).mean(), [SQUARED]),
    "squares, root": (chain(), lambda o: F.mse_loss(o, AMOUNTS).sqrt(), [SQUARED]),
    "squares, weighted": (chain(), lambda o: (SOFT * (o - AMOUNTS) ** 2).mean(), [SQUARED]),
    "squares of one number": (chain(width=1), lambda o: ((o.squeeze(1) - AMOUNTS[:, 0]) ** 2).mean(), [Judged("squared", width=1)]),
    "sizes, module": (chain(), lambda o: nn.L1Loss()(o, AMOUNTS), [ABSOLUTE]),
    "sizes, by hand": (chain(), lambda o: (o - AMOUNTS).abs().mean(), [ABSOLUTE]),
    "sizes, smooth": (chain(), lambda o: F.smooth_l1_loss(o, AMOUNTS), [ABSOLUTE]),
    "sizes, huber": (chain(), lambda o: F.huber_loss(o, AMOUNTS), [ABSOLUTE]),
    "binary": (chain(nn.Sigmoid()), lambda o: nn.BCELoss()(o, BITS), [BINARY]),
    "binary of clamped": (chain(nn.Sigmoid()), lambda o: F.binary_cross_entropy(o.clamp(1e-6, 1 - 1e-6), BITS), [BINARY]),
    "binary with logits": (chain(), lambda o: nn.BCEWithLogitsLoss()(o, BITS), [LOGITS]),
    "binary with logits of a sigmoid": (
        chain(nn.Sigmoid()),
        lambda o: F.binary_cross_entropy_with_logits(o, BITS),
        [Judged("binary-cross-entropy-with-logits", ("sigmoid",))],
    ),
    "binary with logits, positive weight": (
        chain(),
        lambda o: F.binary_cross_entropy_with_logits(o, BITS, pos_weight=SHARES),
        [LOGITS],
    ),
    "a scaled output": (
        Bent(lambda z: 2 * torch.sigmoid(z) - 1),
        lambda o: F.mse_loss(o, AMOUNTS),
        [Judged("squared", ("sigmoid", "scaled", "scaled"), last="last.weight")],
    ),
    "one branch of constants": (
        Bent(lambda z: z.tanh() + AMOUNTS),
        lambda o: F.mse_loss(o, AMOUNTS),
        [Judged("squared", ("tanh", "scaled"), last="last.weight")],
    ),
    "a residual output": (
        Bent(lambda z: z + z.tanh()),
        lambda o: F.mse_loss(o, AMOUNTS),
        [Judged("squared", last=None)],
    ),
    "a normalised output": (chain(nn.BatchNorm1d(CLASSES)), lambda o: F.mse_loss(o, AMOUNTS), [Judged("squared", last="1.weight")]),
    "a function of the script's own": (Bent(Doubled.apply), lambda o: F.mse_loss(o, AMOUNTS), [Judged("squared", last=None)]),
    "a function named like one of torch's": (
        Bent(Mul.apply),
        lambda o: F.mse_loss(o, AMOUNTS),
        [Judged("squared", ("scaled",), last="last.weight")],
    ),
    "a penalty besides": (chain(), lambda o: F.mse_loss(o, AMOUNTS) + 0.01 * o.square().mean() + 0.1 * o.abs().mean(), [SQUARED]),
    "a hinge": (chain(), hinge, []),
    "the mean output": (chain(), lambda o: o.mean(), []),
    "its own square": (chain(), lambda o: o.square().mean(), []),
    "a cube": (chain(), lambda o: ((o - AMOUNTS) ** 3).abs().mean(), []),
    "exponents in a tensor": (chain(), lambda o: ((o - AMOUNTS) ** torch.full((CLASSES,), 2.0)).mean(), []),
    "a distance of both sides": (chain(), lambda o: F.mse_loss(o[:, :1], o[:, 1:2]), []),
    "a distance of both sides by hand": (chain(), lambda o: ((o[:, 0] - o[:, 1]) ** 2).mean(), []),
    "a sum of many terms": (
        chain(),
        lambda o: torch.stack([F.mse_loss(o[i], AMOUNTS[i]) for i in range(N)]).sum(),
        [Judged("squared", width=1, turn=i) for i in range(4)],
    ),
    "a sum of too many terms": (chain(), lambda o: sum((F.mse_loss(o[0], AMOUNTS[0]) for _ in range(1500)), torch.zeros(())), []),
    "an embedding's distances": (chain(), lambda o: F.triplet_margin_loss(o[:4], o[4:8], o[8:]), []),
    "a sequence of log-probabilities": (chain(), lambda o: F.gaussian_nll_loss(o, AMOUNTS, torch.ones(N, 1)), [SQUARED]),
}
