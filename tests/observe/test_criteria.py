"""Criteria are found in the graph however a loss is written, and a loss of unknown form has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from criterion_cases import (
    BINARY_TARGETS,
    CLASSES,
    CRITERION_CASES,
    CROSS_ENTROPY,
    EXAMPLES,
    FEATURES,
    LABELS,
    PIXEL_LABELS,
    PROBABILITIES,
    SQUARED,
    TOKEN_LABELS,
    VALUES,
    ExpectedHead,
    heads_of,
    linear_then,
    observe_step,
)
from small_networks import Checkpointed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from watching import observe_training

import unvanish


@pytest.mark.parametrize("name", CRITERION_CASES)
def test_a_criterion_is_found_however_it_is_written(name: str) -> None:
    network, loss, heads = CRITERION_CASES[name]
    assert heads_of(observe_step(network, loss)) == heads


def test_metrics_of_a_handwritten_criterion_are_those_of_the_torch_loss() -> None:
    torch.manual_seed(0)
    runs = []
    for loss in (
        lambda o: F.mse_loss(o, VALUES),
        lambda o: ((VALUES - o) ** 2).sum(),
        lambda o: torch.square(o - VALUES).mean(),
    ):
        torch.manual_seed(1)
        runs.append(observe_step(linear_then(nn.Tanh()), loss))
    for run in runs[1:]:
        for quantity in ("loss", "score", "target_low", "target_high", "output_low", "output_high", "unreachable_fraction"):
            np.testing.assert_allclose(run.readings[quantity], runs[0].readings[quantity], rtol=1e-5, err_msg=quantity)


def test_labels_of_pixels_are_compared_pixel_by_pixel() -> None:
    predicted: list[Tensor] = []

    def loss(output: Tensor) -> Tensor:
        predicted.append(output.argmax(1))
        return F.cross_entropy(output, PIXEL_LABELS)

    run = observe_step(nn.Sequential(nn.Conv2d(2, CLASSES, 3, padding=1)), loss, (EXAMPLES, 2, 4, 4))
    assert heads_of(run) == [CROSS_ENTROPY]
    assert run.readings["score"][0, 0] == pytest.approx((predicted[0] == PIXEL_LABELS).float().mean().item())
    assert run.readings["loss"][0, 0] == pytest.approx(run.losses[0, 0], rel=1e-5)


@pytest.mark.parametrize("spelling", ["flattened", "transposed", "rearranged"])
def test_labels_of_tokens_are_compared_token_by_token(spelling: str) -> None:
    losses = {
        "flattened": lambda o: F.cross_entropy(o.reshape(-1, CLASSES), TOKEN_LABELS.reshape(-1)),
        "transposed": lambda o: F.cross_entropy(o.transpose(1, 2), TOKEN_LABELS),
        "rearranged": lambda o: F.nll_loss(o.log_softmax(-1).permute(0, 2, 1), TOKEN_LABELS),
    }
    run = observe_step(linear_then(), losses[spelling], (EXAMPLES, 7, FEATURES))
    assert heads_of(run) == [CROSS_ENTROPY]
    assert run.readings["loss"][0, 0] == pytest.approx(run.losses[0, 0], rel=1e-5)
    assert run.readings["comparisons"][0, 0] == 1


@pytest.mark.parametrize("loss", ["logits", "squares"])
def test_a_gans_critic_has_a_head_for_real_and_one_for_generated_examples(loss: str) -> None:
    real, noise = torch.randn(EXAMPLES, 2), torch.randn(EXAMPLES, 3)
    criterion = F.binary_cross_entropy_with_logits if loss == "logits" else F.mse_loss

    def train() -> None:
        generator, critic = nn.Sequential(nn.Linear(3, 2)), nn.Linear(2, 1)
        (
            criterion(critic(real), torch.ones(EXAMPLES, 1))
            + criterion(critic(generator(noise).detach()), torch.zeros(EXAMPLES, 1))
        ).backward()
        criterion(critic(generator(noise)), torch.ones(EXAMPLES, 1)).backward()

    run = observe_training(train)
    name = "binary-cross-entropy-with-logits" if loss == "logits" else "squared"
    assert heads_of(run) == [ExpectedHead(name, width=1, last_weight="linear.weight", turn=turn) for turn in range(2)]


def test_a_siamese_pair_with_gradients_on_both_sides_has_no_head() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = linear_then()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.body(x), self.body(x.flip(0))

    def contrast(pair: tuple[Tensor, Tensor]) -> Tensor:
        return F.mse_loss(*pair) + (pair[0] - pair[1]).abs().mean() + F.cosine_embedding_loss(*pair, torch.ones(EXAMPLES))

    assert heads_of(observe_step(Siamese(), contrast)) == []


def test_a_siamese_pair_with_one_side_detached_has_that_side_as_target() -> None:
    network = linear_then()
    assert heads_of(observe_step(network, lambda o: F.mse_loss(o, o.flip(0).detach()))) == [SQUARED]


def test_every_head_of_a_network_with_several_is_found_in_order() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kind, self.size = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)

        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"kind": self.kind(x), "size": (self.size(x), None)}

    def loss(o: dict[str, Any]) -> Tensor:
        return F.cross_entropy(o["kind"], LABELS) + F.mse_loss(o["size"][0], VALUES) + 0.1 * F.mse_loss(o["size"][0], 2 * VALUES)

    assert heads_of(observe_step(Heads(), loss)) == [
        ExpectedHead("cross-entropy", last_weight="kind.weight"),
        ExpectedHead("squared", last_weight="size.weight"),
        ExpectedHead("squared", last_weight="size.weight", turn=1),
    ]


def test_losses_of_several_backward_calls_are_one_head() -> None:
    def train() -> None:
        network = linear_then()
        for _ in range(3):
            F.cross_entropy(network(torch.randn(EXAMPLES, FEATURES)), LABELS).backward()
        torch.autograd.backward([F.cross_entropy(network(torch.randn(EXAMPLES, FEATURES)), LABELS)])

    assert heads_of(observe_training(train)) == [CROSS_ENTROPY]


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_head_behind_a_checkpoint_is_found(reentrant: bool) -> None:
    targets = torch.arange(EXAMPLES) % 4
    run = observe_step(Checkpointed(reentrant=reentrant), lambda o: F.cross_entropy(o, targets), (EXAMPLES, 6))
    assert heads_of(run) == [ExpectedHead("cross-entropy", width=4, last_weight="last.weight")]


class CountsForwards(nn.Module):
    """Ends in a softmax within a checkpoint, and counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.runs = nn.Linear(FEATURES, CLASSES), 0

    def block(self, x: Tensor) -> Tensor:
        self.runs += 1
        return (self.last(x) ** 2).softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.block, x, use_reentrant=False)


@pytest.mark.parametrize(
    "loss", [lambda o: F.mse_loss(o, PROBABILITIES), lambda o: ((o - PROBABILITIES) ** 2).mean(), lambda o: o.log().mean()]
)
def test_reading_the_graph_recomputes_no_checkpoint(loss: Callable[[Tensor], Tensor]) -> None:
    network = CountsForwards()
    observe_step(network, loss)
    assert network.runs == 2  # the forward pass, and once in the script's own backward


def test_reading_the_graph_unpacks_nothing_that_the_script_has_packed() -> None:
    unpacked: list[int] = []

    def unpack(tensor: Tensor) -> Tensor:
        unpacked.append(1)
        return tensor

    def train() -> list[int]:
        network, counts = linear_then(nn.Softmax(1)), []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
            loss = F.mse_loss(network(torch.randn(EXAMPLES, FEATURES)), PROBABILITIES)
        loss.backward()
        counts.append(len(unpacked))
        return counts

    alone = train()
    unpacked.clear()
    counts: list[list[int]] = []
    observe_training(lambda: counts.append(train()))
    assert counts == [alone]


def test_a_gradient_penalty_disturbs_nothing() -> None:
    def train() -> None:
        network = linear_then(nn.Tanh(), nn.Linear(CLASSES, 1))
        inputs = torch.randn(EXAMPLES, FEATURES, requires_grad=True)
        output = network(inputs)
        (slope,) = torch.autograd.grad(output.sum(), inputs, create_graph=True)
        loss = F.binary_cross_entropy_with_logits(output, BINARY_TARGETS[:, :1]) + ((slope.norm(dim=1) - 1) ** 2).mean()
        loss.backward(create_graph=False)

    assert ExpectedHead("binary-cross-entropy-with-logits", width=1, last_weight="2.weight") in heads_of(observe_training(train))


@pytest.mark.filterwarnings("ignore:Using backward")
def test_a_backward_of_a_backward_disturbs_nothing() -> None:
    def train() -> None:
        network = linear_then(nn.Tanh())
        loss = F.mse_loss(network(torch.randn(EXAMPLES, FEATURES)), VALUES)
        loss.backward(create_graph=True)
        size = sum((p.grad.square().sum() for p in network.parameters()), torch.zeros(()))
        size.backward()
        network.zero_grad(set_to_none=True)

    assert heads_of(observe_training(train))[0] == ExpectedHead("squared", ("tanh",))


def test_a_graph_whose_saved_tensors_were_overwritten_disturbs_nothing() -> None:
    def train() -> None:
        network = linear_then()
        output = network(torch.randn(EXAMPLES, FEATURES))
        loss = F.mse_loss(output, VALUES.clone())
        with torch.no_grad():
            output.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()

    observe_training(train)


def test_a_graph_that_was_freed_disturbs_nothing() -> None:
    def train() -> None:
        loss = F.cross_entropy(linear_then()(torch.randn(EXAMPLES, FEATURES)), LABELS)
        loss.backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            loss.backward()

    assert heads_of(observe_training(train)) == [CROSS_ENTROPY]


@pytest.mark.parametrize("loss", [torch.zeros((), requires_grad=True), torch.ones(3, requires_grad=True)])
def test_a_loss_that_is_a_leaf_disturbs_nothing(loss: Tensor) -> None:
    assert heads_of(observe_training(lambda: loss.backward(torch.ones_like(loss)))) == []


def test_the_losses_of_a_sequence_of_any_length_are_a_bounded_number_of_heads() -> None:
    def train() -> None:
        network = linear_then(width=2)
        for length in range(3, 90):
            output = network(torch.randn(2, length, FEATURES))[..., 0]
            F.mse_loss(output, torch.zeros(2, length)).backward()

    assert len(heads_of(observe_training(train))) == 64


def test_the_loss_of_a_network_that_is_not_watched_is_not_recorded() -> None:
    watched, other = linear_then(), linear_then()
    with unvanish.watch(watched, every=1) as run:
        for network in (other, watched):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
            F.mse_loss(network(torch.randn(EXAMPLES, FEATURES)), VALUES).backward()
            optimizer.step()
    assert run.run.step_count == 1
    assert len(run.run.structure.parameters) == 2
    assert [h.parameter for h in run.run.structure.heads] == [0]
