"""Unusual trainings: half and double precision, complex numbers, empty batches, nested arguments, computed weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from small_networks import small_mlp
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint
from trainings import STEPS, Outcome, Training, draw, outcome, set_seeds

Loss = Callable[[Any], Tensor]


def loop(network: nn.Module, loss: Callable[[int], Tensor], *, optimizer: Optimizer | None = None, steps: int = STEPS) -> Outcome:
    """A loop whose loss is a function of the step; the elements of a loss have equal weight."""
    optimizer = optimizer or torch.optim.Adam(network.parameters(), lr=0.01)
    losses: list[float] = []
    for step in range(steps):
        optimizer.zero_grad()
        value = loss(step)
        value.backward(torch.ones_like(value))
        optimizer.step()
        losses.append(value.mean().item())
    return outcome(losses, [network], [optimizer])


class AllLayers(nn.Module):
    """Batch normalisation, attention of both kinds, dropout, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.spread = nn.BatchNorm1d(5), nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.kind, self.size = nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.norm(F.dropout(self.spread(x), 0.1))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], dropout_p=0.1, is_causal=True)[:, 0]
        x = (torch.softmax(x @ x.transpose(1, 2), -1) @ x).mean(1)
        return {"kind": self.kind(x), "size": torch.sigmoid(self.size(x))}


def all_layers() -> Outcome:
    """Accumulated over two batches, clipped, with an optimizer for the heads and one for the rest."""
    set_seeds()
    network = AllLayers()
    heads = [*network.kind.parameters(), *network.size.parameters()]
    rest = [p for p in network.parameters() if all(p is not head for head in heads)]
    optimizers = [torch.optim.SGD(heads, lr=0.05, momentum=0.9), torch.optim.AdamW(rest, lr=0.01)]
    losses = []
    for _ in range(STEPS):
        total = 0.0
        for _ in range(2):
            output = network(draw(6, 5, 8))
            loss = F.cross_entropy(output["kind"], torch.randint(4, (6,)), label_smoothing=0.1)
            loss = (loss + F.binary_cross_entropy(output["size"], torch.rand(6, 1))) / 2
            loss.backward()
            total += loss.item() / 2
        nn.utils.clip_grad_norm_(network.parameters(), 0.3)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append((total, total))
    return outcome(losses, [network], list(optimizers))


def sparse(*, empty: bool = False) -> Outcome:
    """Some batches touch no row of the table."""
    set_seeds()
    network = nn.Sequential(nn.Embedding(20, 4, sparse=True))
    optimizer = torch.optim.SparseAdam(network.parameters(), lr=0.05)

    def loss(step: int) -> Tensor:
        words = torch.randint(20, (0 if empty and step % 3 == 1 else 7, 3))
        return network(words).sum() + F.mse_loss(network(torch.randint(20, (2,))), torch.ones(2, 4)) * (not empty)

    return loop(network, loss, optimizer=optimizer)


def double() -> Outcome:
    set_seeds()
    network = small_mlp().double()
    return loop(network, lambda _: F.mse_loss(network(draw(5, 6).double()), draw(5, 4).double()))


def huge() -> Outcome:
    """Numbers that float32 cannot hold."""
    set_seeds()
    network = nn.Sequential(nn.Linear(6, 4)).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-200)
    return loop(network, lambda _: (network(draw(5, 6).double() * 1e60) - 1e60).square().mean(), optimizer=optimizer)


def half(dtype: torch.dtype, *, backward_inside: bool) -> Outcome:
    set_seeds()
    network = nn.Sequential(*small_mlp(), nn.Sigmoid())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype):
            loss = F.binary_cross_entropy(network(draw(5, 6)).float(), torch.rand(5, 4))
            if backward_inside:
                loss.backward()
        if not backward_inside:
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return outcome(losses, [network], [optimizer])


def half_weights() -> Outcome:
    set_seeds()
    network = small_mlp().half()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    return loop(network, lambda _: F.mse_loss(network(draw(5, 6).half()), draw(5, 4).half()), optimizer=optimizer)


class Waves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4, dtype=torch.complex64) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def waves(loss: Loss) -> Outcome:
    set_seeds()
    network = Waves()
    return loop(network, lambda _: loss(network(torch.complex(draw(5, 6), draw(5, 6)))))


class Flexible(nn.Module):
    """Takes nested arguments, 0-dimensional and integer tensors; returns nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(9, 6), nn.Linear(6, 4)

    def forward(self, time: Tensor, pair: Any, *, options: Any) -> Any:
        x, (words, _) = pair
        out = self.last((x + self.words(words)) * time + options["shift"])
        return (out, [out.mean(), None]), {"again": out.tanh()}


def flexible() -> Outcome:
    set_seeds()
    network = Flexible()

    def loss(step: int) -> Tensor:
        pair = (draw(5, 6), (torch.randint(9, (5,)), "text"))
        (out, (mean, _)), named = network(torch.tensor(0.5 + step), pair, options={"shift": torch.tensor(1.0)})
        return F.mse_loss(named["again"], torch.zeros(5, 4)) + (out - 1.0).abs().mean() + mean**2

    return loop(network, loss)


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class OwnLoss(nn.Module):
    """As in the Transformers library: the network computes its loss and returns it in a data class."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small_mlp()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Output:
        logits = self.body(x)
        return Output(logits, None if labels is None else F.cross_entropy(logits, labels))


def own_loss() -> Outcome:
    set_seeds()
    network = OwnLoss()
    return loop(network, lambda _: network(draw(5, 6), labels=torch.randint(4, (5,))).loss)


def empty_batches() -> Outcome:
    """Every third batch holds nothing."""
    set_seeds()
    network = small_mlp()

    def loss(step: int) -> Tensor:
        count = 0 if step % 3 == 1 else 5
        output = network(draw(count, 6))
        by_hand = ((output - 1.0) ** 2).sum() + (output.sigmoid().clamp_min(1e-6).log()).sum()
        total = F.mse_loss(output, torch.zeros(count, 4), reduction="sum")
        total = total + F.cross_entropy(output, torch.zeros(count).long(), reduction="sum")
        return total + by_hand + F.binary_cross_entropy_with_logits(output, torch.ones(count, 4), reduction="sum")

    return loop(network, loss)


def vector_loss() -> Outcome:
    set_seeds()
    network = small_mlp()
    return loop(network, lambda _: F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,)), reduction="none"))


def several_losses() -> Outcome:
    set_seeds()
    network = small_mlp()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = network(draw(5, 6))
        parts = [F.mse_loss(output, draw(5, 4)), F.cross_entropy(output, torch.randint(4, (5,)))]
        torch.autograd.backward(parts)
        optimizer.step()
        losses.append(sum(part.item() for part in parts))
    return outcome(losses, [network], [optimizer])


def without_a_batch() -> Outcome:
    """One example at a time, as a vector, against a number."""
    set_seeds()
    network = nn.Sequential(nn.Linear(6, 1))
    return loop(network, lambda _: (network(draw(6)).squeeze() - torch.tensor(0.5)).square())


def constants() -> Outcome:
    """Inputs and targets that are all alike, and all zero."""
    set_seeds()
    network = nn.Sequential(nn.Linear(6, 2), nn.Sigmoid())

    def loss(step: int) -> Tensor:
        output = network(torch.full((30, 6), float(step % 2)))
        return F.binary_cross_entropy(output, torch.ones(30, 2)) + F.mse_loss(output, torch.zeros(30, 2))

    return loop(network, loss)


def nan_from_step_five() -> Outcome:
    """From the fifth step on everything is NaN."""
    set_seeds()
    network = small_mlp()

    def loss(step: int) -> Tensor:
        output = network(draw(25, 6) * (float("nan") if step >= 5 else 1.0))
        return F.cross_entropy(output, torch.randint(4, (25,))) + ((output - 1) ** 2).mean()

    result = loop(network, loss)
    return Outcome([(float("inf"),) if row[0] != row[0] else row for row in result.losses], result.state)


class Recomputed(nn.Module):
    """Ends in a checkpoint with batch normalisation and softmax, which updates the running mean each time it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block = nn.Linear(6, 8), nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Softmax(1))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.block, self.first(x), use_reentrant=False)


def recomputed() -> Outcome:
    set_seeds()
    network = Recomputed()
    return loop(network, lambda _: F.mse_loss(network(draw(9, 6)), torch.rand(9, 8)))


def on_the_cpu() -> Outcome:
    set_seeds()
    network = small_mlp()

    def loss(_: int) -> Tensor:
        with torch.autograd.graph.save_on_cpu():
            return F.cross_entropy(network(draw(5, 6)).softmax(1), torch.randint(4, (5,)))

    return loop(network, loss)


class Spectral(nn.Module):
    """Has weights that are computed at every access, which updates the buffers that they are computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = parametrizations.spectral_norm(nn.Linear(6, 8)), nn.BatchNorm1d(8)
        self.attention = parametrizations.spectral_norm(nn.MultiheadAttention(8, 2, batch_first=True), "in_proj_weight")
        self.last = parametrizations.weight_norm(nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))[:, None]
        return self.last(self.attention(x, x, x)[0][:, 0])


def spectral() -> Outcome:
    set_seeds()
    network = Spectral()
    return loop(network, lambda _: F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,))))


def evaluated_with_gradients() -> Outcome:
    """Between the steps it is evaluated without `no_grad`."""
    set_seeds()
    network = small_mlp()

    def loss(step: int) -> Tensor:
        for _ in range(3):
            assert F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,))).isfinite()
        return F.cross_entropy(network(draw(5, 6)), torch.randint(4, (5,)))

    return loop(network, loss)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: nn.utils.rnn.PackedSequence) -> Tensor:
        return self.last(self.rnn(x)[1][-1])


def packed() -> Outcome:
    set_seeds()
    network, lengths = Packed(), torch.tensor([4, 3, 1])

    def loss(_: int) -> Tensor:
        sequences = nn.utils.rnn.pack_padded_sequence(draw(3, 4, 6), lengths, batch_first=True)
        return F.cross_entropy(network(sequences), torch.randint(4, (3,)))

    return loop(network, loss)


def deterministic() -> Outcome:
    """Where torch is told to refuse whatever is not deterministic."""
    torch.use_deterministic_algorithms(True)
    try:
        return all_layers()
    finally:
        torch.use_deterministic_algorithms(False)


ODD_TRAININGS: dict[str, Training] = {
    "everything at once": Training(all_layers),
    "everything, deterministic": Training(deterministic),
    "sparse embedding": Training(sparse),
    "sparse embedding of nothing": Training(lambda: sparse(empty=True)),
    "float64": Training(double),
    "beyond float32": Training(huge),
    "float16 autocast": Training(lambda: half(torch.float16, backward_inside=False)),
    "bfloat16 autocast around backward": Training(lambda: half(torch.bfloat16, backward_inside=True)),
    "float16 weights": Training(half_weights),
    "complex, sizes": Training(lambda: waves(lambda o: (o - 1j).abs().mean())),
    "complex, squares": Training(lambda: waves(lambda o: torch.view_as_real(o).square().mean() + o.real.tanh().mean())),
    "nested arguments and outputs": Training(flexible),
    "loss from within": Training(own_loss),
    "empty batches": Training(empty_batches),
    "vector loss": Training(vector_loss),
    "several losses": Training(several_losses),
    "without a batch": Training(without_a_batch),
    "constants": Training(constants),
    "poisoned": Training(nan_from_step_five),
    "recomputed batch normalisation": Training(recomputed),
    "saved on the CPU": Training(on_the_cpu),
    "weights that are computed": Training(spectral),
    "evaluated with gradients on": Training(evaluated_with_gradients),
    "packed sequences": Training(packed),
}
