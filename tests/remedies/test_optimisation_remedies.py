"""Tests of all remedies that change the optimizer: they act in place, are undone, and schedulers and scalers go on."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from optimisation_remedies import CATALOGUE, OPTIMIZERS
from optimizer_state import state_with_hooks
from remedy_networks import Nested, example_inputs, mlp, training_step
from state_of_network import random_state
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as schedulers

from unvanish.docgen.cards import parse_class_card
from unvanish.errors import NotApplicable
from unvanish.remedies import Context, apply
from unvanish.remedies.base import FAMILIES

SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "lambda": lambda o: schedulers.LambdaLR(o, lambda t: 1 / (1 + t)),
    "step": lambda o: schedulers.StepLR(o, 2, gamma=0.1),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, 10),
    "one cycle": lambda o: schedulers.OneCycleLR(o, 1e-3, total_steps=12),
    "cyclic": lambda o: schedulers.CyclicLR(o, 1e-5, 1e-3, cycle_momentum=False),
    "chained": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, total_iters=3), schedulers.ExponentialLR(o, 0.9)], milestones=[3]
    ),
}
every_remedy = pytest.mark.parametrize("name", CATALOGUE)
every_optimizer = pytest.mark.parametrize("kind", OPTIMIZERS)


def network_for(name: str) -> nn.Module:
    torch.manual_seed(0)
    return Nested().half() if name == "loss-scaling" else Nested()


def batch_for(name: str) -> torch.Tensor:
    return example_inputs("nested").half() if name == "loss-scaling" else example_inputs("nested")


def arguments(name: str, optimizer: Any) -> dict[str, Any]:
    """What `apply` needs beside the network and the name."""
    extra = {"inputs": example_inputs("nested"), "loss": lambda out: out.square().mean()} if name == "learning-rate" else {}
    return {"optimizer": optimizer, "catalogue": CATALOGUE, **extra}


def applied(network: nn.Module, name: str, optimizer: Optimizer) -> Any:
    """The change, or None where the remedy says that it has nothing to do."""
    try:
        return apply(network, name, **arguments(name, optimizer))
    except NotApplicable:
        return None


@every_remedy
def test_without_the_optimizer_the_error_says_what_to_pass(name: str) -> None:
    with pytest.raises(NotApplicable, match=rf"^{name}: .*pass optimizer="):
        apply(network_for(name), name, catalogue=CATALOGUE)
    with pytest.raises(NotApplicable, match=rf"^{name}: .*pass as optimizer= the one that does"):
        apply(network_for(name), name, **arguments(name, SGD(mlp().parameters(), lr=0.1)))


@every_remedy
def test_cards_and_names_are_complete(name: str) -> None:
    remedy = CATALOGUE[name]
    assert remedy.family in FAMILIES
    assert remedy.treats
    assert "\n" not in remedy.summary
    card = parse_class_card(remedy)
    assert card.summary.endswith(".")
    assert [section.heading for section in card.sections] == ["Does", "Helps", "Harms", "Cost", "References"]


@every_optimizer
@every_remedy
def test_a_plan_alters_nothing(name: str, kind: str) -> None:
    network = network_for(name)
    optimizer = OPTIMIZERS[kind](network.parameters())
    training_step(network, optimizer, batch_for(name))
    gradients = [p.grad.clone() for p in network.parameters()]
    before, random_before = state_with_hooks(network, optimizer), random_state()
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    extra = arguments(name, optimizer)
    try:
        operations = CATALOGUE[name].plan(network, Context(generator, (optimizer,), extra.get("inputs"), extra.get("loss")))
    except NotApplicable:
        operations = ()
    assert state_with_hooks(network, optimizer) == before
    assert random_state() == random_before
    assert torch.equal(generator.get_state(), state)
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    assert all(operation.edit.before != operation.edit.after for operation in operations)


@every_optimizer
@every_remedy
def test_undo_is_the_identity_also_after_training(name: str, kind: str) -> None:
    network = network_for(name)
    optimizer = OPTIMIZERS[kind](network.parameters())
    called: list[str] = []
    optimizer.register_step_post_hook(lambda *_: called.append("user's hook"))
    training_step(network, optimizer, batch_for(name))
    before, random_before = state_with_hooks(network, optimizer), random_state()
    change = applied(network, name, optimizer)
    assert random_state() == random_before
    if change is None:
        assert state_with_hooks(network, optimizer) == before
        return
    assert state_with_hooks(network, optimizer) != before
    for _ in range(2):
        training_step(network, optimizer, batch_for(name))
    optimizer.param_groups[0]["lr"] = 0.5
    assert len(called) == 3
    change.undo()
    assert state_with_hooks(network, optimizer) == before
    change.undo()
    assert state_with_hooks(network, optimizer) == before
    training_step(network, optimizer, batch_for(name))


@every_optimizer
@every_remedy
def test_a_second_application_is_refused(name: str, kind: str) -> None:
    network = network_for(name)
    optimizer = OPTIMIZERS[kind](network.parameters())
    applied(network, name, optimizer)
    with pytest.raises(NotApplicable, match=r"already|has no eps|is right"):
        apply(network, name, **arguments(name, optimizer))


@pytest.mark.parametrize("schedule", SCHEDULERS)
@pytest.mark.parametrize("kind", ["sgd", "nesterov", "adam", "adamw"])
@every_remedy
def test_a_scheduler_that_was_there_before_goes_on(name: str, kind: str, schedule: str) -> None:
    if schedule == "one cycle" and kind == "sgd":
        pytest.skip("torch asks for a momentum to turn up and down")
    rates = []
    for treated in (False, True):
        torch.manual_seed(0)
        network = network_for(name)
        optimizer = OPTIMIZERS[kind](network.parameters())
        scheduler = SCHEDULERS[schedule](optimizer)
        if treated:
            applied(network, name, optimizer)
        group_rates = []
        for _ in range(6):
            training_step(network, optimizer, batch_for(name))
            group_rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
        rates.append(group_rates)
    assert rates[0] == rates[1]  # and no warning that the scheduler stepped first


@pytest.mark.parametrize("schedule", SCHEDULERS)
@every_remedy
def test_a_scheduler_that_is_built_afterwards_starts_from_the_new_rate(name: str, schedule: str) -> None:
    network = network_for(name)
    optimizer = SGD(network.parameters(), lr=1e-4, momentum=0.5)
    applied(network, name, optimizer)
    scheduler = SCHEDULERS[schedule](optimizer)
    for _ in range(3):
        training_step(network, optimizer, batch_for(name))
        scheduler.step()
    assert all(torch.isfinite(p).all() for p in network.parameters())


@every_optimizer
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "loss-scaling"])  # whose factor begins anew
def test_the_state_dict_goes_through_a_file_and_training_goes_on_the_same(name: str, kind: str) -> None:
    twins = []
    for _ in range(2):
        torch.manual_seed(0)
        network = network_for(name).eval()  # no dropout
        optimizer = OPTIMIZERS[kind](network.parameters())
        applied(network, name, optimizer)
        twins.append((network, optimizer))
    (network, optimizer), (other, restored) = twins
    for _ in range(3):
        training_step(network, optimizer, batch_for(name))
    stream = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, stream)
    stream.seek(0)
    kept = torch.load(stream, weights_only=True)
    other.load_state_dict(kept["network"])
    restored.load_state_dict(kept["optimizer"])
    for _ in range(3):
        for n, o in ((network, optimizer), (other, restored)):
            training_step(n, o, batch_for(name))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


@every_optimizer
@every_remedy
def test_a_pair_of_network_and_optimizer_copies(name: str, kind: str) -> None:
    network = network_for(name)
    optimizer = OPTIMIZERS[kind](network.parameters())
    applied(network, name, optimizer)
    training_step(network, optimizer, batch_for(name))
    other, twin = copy.deepcopy((network, optimizer))
    assert type(twin) is type(optimizer)
    assert {id(p) for group in twin.param_groups for p in group["params"]} == {id(p) for p in other.parameters()}
    before = [p.clone() for p in network.parameters()]
    for _ in range(8):  # the first of which may overflow
        training_step(other, twin, batch_for(name))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(other.parameters(), before, strict=True))


@every_optimizer
@every_remedy
def test_a_gradient_scaler_and_a_closure_go_on(name: str, kind: str) -> None:
    network = network_for(name)
    optimizer = OPTIMIZERS[kind](network.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    applied(network, name, optimizer)
    batch = batch_for(name)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = network(batch).square().mean()
        loss.backward()
        return loss

    before = [p.detach().clone() for p in network.parameters()]
    assert float(optimizer.step(closure).detach()) > 0
    optimizer.zero_grad()
    scaler.scale(network(batch).square().mean()).backward()
    if name != "loss-scaling":  # nor does a scaler take parameters in float16
        scaler.step(optimizer)
        scaler.update()
        assert all(torch.isfinite(p).all() for p in network.parameters())
        assert any(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))
