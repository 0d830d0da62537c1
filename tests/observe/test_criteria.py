"""What judges a network is read off the graph however its loss is spelt, and a loss that is not understood is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import Checkpointed
from spellings import (
    AMOUNTS,
    BITS,
    CLASSES,
    CROSS,
    LABELS,
    MAPS,
    PLACES,
    SOFT,
    SPELLINGS,
    SQUARED,
    WIDE,
    Judged,
    N,
    chain,
    found,
    step,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from watching import observed

import unvanish


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_criterion_is_found_however_it_is_spelt(name: str) -> None:
    network, loss, heads = SPELLINGS[name]
    assert found(step(network, loss)) == heads


def test_a_criterion_by_hand_is_judged_like_torchs_own() -> None:
    torch.manual_seed(0)
    runs = []
    for loss in (
        lambda o: F.mse_loss(o, AMOUNTS),
        lambda o: ((AMOUNTS - o) ** 2).sum(),
        lambda o: torch.square(o - AMOUNTS).mean(),
    ):
        torch.manual_seed(1)
        runs.append(step(chain(nn.Tanh()), loss))
    for run in runs[1:]:
        for quantity in ("loss", "score", "target_low", "target_high", "output_low", "output_high", "unreachable_fraction"):
            np.testing.assert_allclose(run.readings[quantity], runs[0].readings[quantity], rtol=1e-5, err_msg=quantity)


def test_classes_of_pictures_are_those_of_their_places() -> None:
    said: list[Tensor] = []

    def loss(output: Tensor) -> Tensor:
        said.append(output.argmax(1))
        return F.cross_entropy(output, MAPS)

    run = step(nn.Sequential(nn.Conv2d(2, CLASSES, 3, padding=1)), loss, (N, 2, 4, 4))
    assert found(run) == [CROSS]
    assert run.readings["score"][0, 0] == pytest.approx((said[0] == MAPS).float().mean().item())
    assert run.readings["loss"][0, 0] == pytest.approx(run.losses[0, 0], rel=1e-5)


@pytest.mark.parametrize("spelling", ["flattened", "transposed", "rearranged"])
def test_classes_of_sequences_are_those_of_their_places(spelling: str) -> None:
    losses = {
        "flattened": lambda o: F.cross_entropy(o.reshape(-1, CLASSES), PLACES.reshape(-1)),
        "transposed": lambda o: F.cross_entropy(o.transpose(1, 2), PLACES),
        "rearranged": lambda o: F.nll_loss(o.log_softmax(-1).permute(0, 2, 1), PLACES),
    }
    run = step(chain(), losses[spelling], (N, 7, WIDE))
    assert found(run) == [CROSS]
    assert run.readings["loss"][0, 0] == pytest.approx(run.losses[0, 0], rel=1e-5)
    assert run.readings["comparisons"][0, 0] == 1


@pytest.mark.parametrize("loss", ["logits", "squares"])
def test_a_gans_critic_is_judged_for_what_is_real_and_for_what_is_made(loss: str) -> None:
    real, made = torch.randn(N, 2), torch.randn(N, 3)
    judge = F.binary_cross_entropy_with_logits if loss == "logits" else F.mse_loss

    def train() -> None:
        maker, critic = nn.Sequential(nn.Linear(3, 2)), nn.Linear(2, 1)
        (judge(critic(real), torch.ones(N, 1)) + judge(critic(maker(made).detach()), torch.zeros(N, 1))).backward()
        judge(critic(maker(made)), torch.ones(N, 1)).backward()

    run = observed(train)
    name = "binary-cross-entropy-with-logits" if loss == "logits" else "squared"
    assert found(run) == [Judged(name, width=1, last="linear.weight", turn=turn) for turn in range(2)]


def test_a_siamese_pair_of_which_both_sides_learn_has_no_supervised_head() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = chain()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.body(x), self.body(x.flip(0))

    def contrast(pair: tuple[Tensor, Tensor]) -> Tensor:
        return F.mse_loss(*pair) + (pair[0] - pair[1]).abs().mean() + F.cosine_embedding_loss(*pair, torch.ones(N))

    assert found(step(Siamese(), contrast)) == []


def test_a_siamese_pair_of_which_one_side_is_held_is_judged_by_the_other() -> None:
    network = chain()
    assert found(step(network, lambda o: F.mse_loss(o, o.flip(0).detach()))) == [SQUARED]


def test_every_head_of_a_network_with_several_is_found_in_its_turn() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kind, self.size = nn.Linear(WIDE, CLASSES), nn.Linear(WIDE, CLASSES)

        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"kind": self.kind(x), "size": (self.size(x), None)}

    def loss(o: dict[str, Any]) -> Tensor:
        return F.cross_entropy(o["kind"], LABELS) + F.mse_loss(o["size"][0], AMOUNTS) + 0.1 * F.mse_loss(o["size"][0], 2 * AMOUNTS)

    assert found(step(Heads(), loss)) == [
        Judged("cross-entropy", last="kind.weight"),
        Judged("squared", last="size.weight"),
        Judged("squared", last="size.weight", turn=1),
    ]


def test_losses_of_several_backward_calls_are_one_head() -> None:
    def train() -> None:
        network = chain()
        for _ in range(3):
            F.cross_entropy(network(torch.randn(N, WIDE)), LABELS).backward()
        torch.autograd.backward([F.cross_entropy(network(torch.randn(N, WIDE)), LABELS)])

    assert found(observed(train)) == [CROSS]


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_within_a_network_is_passed(reentrant: bool) -> None:
    targets = torch.arange(N) % 4
    run = step(Checkpointed(reentrant=reentrant), lambda o: F.cross_entropy(o, targets), (N, 6))
    assert found(run) == [Judged("cross-entropy", width=4, last="last.weight")]


class Counted(nn.Module):
    """Ends in a softmax within a checkpoint, and counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.runs = nn.Linear(WIDE, CLASSES), 0

    def block(self, x: Tensor) -> Tensor:
        self.runs += 1
        return (self.last(x) ** 2).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.block, x, use_reentrant=False)


@pytest.mark.parametrize("loss", [lambda o: F.mse_loss(o, SOFT), lambda o: ((o - SOFT) ** 2).mean(), lambda o: o.log().mean()])
def test_reading_the_graph_recomputes_no_checkpoint(loss: Callable[[Tensor], Tensor]) -> None:
    network = Counted()
    step(network, loss)
    assert network.runs == 2  # forward, and once for the script's own backward


def test_reading_the_graph_unpacks_nothing_that_the_script_has_packed() -> None:
    unpacked: list[int] = []

    def unpack(tensor: Tensor) -> Tensor:
        unpacked.append(1)
        return tensor

    def train() -> list[int]:
        network, counts = chain(nn.Softmax(1)), []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
            loss = F.mse_loss(network(torch.randn(N, WIDE)), SOFT)
        loss.backward()
        counts.append(len(unpacked))
        return counts

    alone = train()
    unpacked.clear()
    counts: list[list[int]] = []
    observed(lambda: counts.append(train()))
    assert counts == [alone]


def test_a_gradient_penalty_disturbs_nothing() -> None:
    def train() -> None:
        network = chain(nn.Tanh(), nn.Linear(CLASSES, 1))
        inputs = torch.randn(N, WIDE, requires_grad=True)
        output = network(inputs)
        (slope,) = torch.autograd.grad(output.sum(), inputs, create_graph=True)
        loss = F.binary_cross_entropy_with_logits(output, BITS[:, :1]) + ((slope.norm(dim=1) - 1) ** 2).mean()
        loss.backward(create_graph=False)

    assert Judged("binary-cross-entropy-with-logits", width=1, last="2.weight") in found(observed(train))


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_backward_of_a_backward_disturbs_nothing() -> None:
    def train() -> None:
        network = chain(nn.Tanh())
        loss = F.mse_loss(network(torch.randn(N, WIDE)), AMOUNTS)
        loss.backward(create_graph=True)
        size = sum((p.grad.square().sum() for p in network.parameters()), torch.zeros(()))
        size.backward()
        network.zero_grad(set_to_none=True)

    assert found(observed(train))[0] == Judged("squared", ("tanh",))


def test_a_graph_that_was_written_over_since_disturbs_nothing() -> None:
    def train() -> None:
        network = chain()
        output = network(torch.randn(N, WIDE))
        loss = F.mse_loss(output, AMOUNTS.clone())
        with torch.no_grad():
            output.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()

    observed(train)


def test_a_graph_that_was_let_go_disturbs_nothing() -> None:
    def train() -> None:
        loss = F.cross_entropy(chain()(torch.randn(N, WIDE)), LABELS)
        loss.backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()

    assert found(observed(train)) == [CROSS]


@pytest.mark.parametrize("loss", [torch.zeros((), requires_grad=True), torch.ones(3, requires_grad=True)])
def test_a_loss_that_is_a_leaf_disturbs_nothing(loss: Tensor) -> None:
    assert found(observed(lambda: loss.backward(torch.ones_like(loss)))) == []


def test_the_losses_of_a_sequence_of_any_length_are_a_bounded_number_of_heads() -> None:
    def train() -> None:
        network = chain(width=2)
        for length in range(3, 90):
            output = network(torch.randn(2, length, WIDE))[..., 0]
            F.mse_loss(output, torch.zeros(2, length)).backward()

    assert len(found(observed(train))) == 64


def test_a_loss_of_a_network_that_is_not_watched_is_none_of_ours() -> None:
    watched, other = chain(), chain()
    with unvanish.watch(watched, every=1) as run:
        for network in (other, watched):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
            F.mse_loss(network(torch.randn(N, WIDE)), AMOUNTS).backward()
            optimizer.step()
    assert run.run.step_count == 1
    assert len(run.run.anatomy.parameters) == 2
    assert [h.parameter for h in run.run.anatomy.heads] == [0]
