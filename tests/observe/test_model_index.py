"""How sites and networks are named, and where a change to a network can enter the user's source."""

from __future__ import annotations

import runpy
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import small_mlp
from torch import Tensor, nn
from watching import observe_training, site_labels, watching

from unvanish.observe.structure.model_index import ModelIndex
from unvanish.observe.structure.module_origin import BuildLine
from unvanish.record.network_changes import ModuleOrigin
from unvanish.record.run import Run
from unvanish.record.structure import Location


def step(*networks: nn.Module, inputs: Tensor | None = None, before: Callable[[], None] = lambda: None) -> None:
    """One step of gradient descent on all of them, one after the other."""
    optimizer = torch.optim.SGD([p for n in networks for p in n.parameters()], lr=0.1)
    before()
    x = torch.ones(3, 6) if inputs is None else inputs
    for network in networks:
        x = network(x)
    x.square().mean().backward()
    optimizer.step()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.extra = {"gate": nn.Linear(6, 6)}

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.linear(x).relu()) * torch.sigmoid(self.extra["gate"](x))


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class HeldParameters(nn.Module):
    """A layer in the style of Keras: its parameters lie in a dictionary, and it applies its activation itself."""

    def __init__(self, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.held = nn.ParameterDict({"kernel": nn.Parameter(torch.eye(width) * 0.5), "bias": nn.Parameter(torch.ones(width))})
        self.activation = activation

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Any:
        return super().named_parameters(prefix, recurse, remove_duplicate)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x @ self.held["kernel"] + self.held["bias"])


class WithoutCalls(nn.Module):
    """A module that computes with its child's weight, and never calls the child."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.inner.weight, self.inner.bias)


class ScaleNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x / x.norm(dim=-1, keepdim=True)


def block_sites(path: str) -> list[str]:
    return [f"{path}.linear", f"{path}:relu", f"{path}:relu#2", f"{path}.extra.gate", f"{path}:sigmoid", path]


def test_nested_functional_repeated_and_unregistered_operations_have_names_of_their_own() -> None:
    run = observe_training(lambda: step(Stack()))
    assert site_labels(run) == [*block_sites("blocks.0"), *block_sites("blocks.1")]
    kinds = {run.structure.site_label(i): (site.op, site.kind, site.functional) for i, site in enumerate(run.structure.sites)}
    assert kinds["blocks.0.linear"] == ("linear", "weight", False)
    assert kinds["blocks.1:relu#2"] == ("relu", "activation", True)
    assert kinds["blocks.1"] == ("block", "merge", False)


def test_a_layer_is_known_by_its_weights_whoever_holds_them_and_whatever_it_applies_to_its_output() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(HeldParameters(6, torch.sigmoid), WithoutCalls(), ScaleNorm(), HeldParameters(6, lambda x: x))
    run = observe_training(lambda: step(network))
    sites, parameters = run.structure.sites, run.structure.parameters
    found = [(s.path, s.kind, s.functional, tuple(parameters[i].name for i in s.parameters)) for s in sites]
    assert (
        found
        == [
            ("0", "weight", False, ("0.held.bias", "0.held.kernel")),
            ("0", "activation", True, ()),
            ("1", "weight", False, ("1.inner.weight", "1.inner.bias")),
            ("2", "normalisation", False, ("2.gain",)),
            ("3", "weight", False, ("3.held.bias", "3.held.kernel")),
            ("", "merge", False, ()),
        ][: len(found)]
    )
    assert run.readings["activation_mean"][0, 0] == pytest.approx(1.5)  # before the sigmoid: 0.5 times one, plus one
    assert np.isfinite(run.readings["log10_gradient_rms"][0, :5]).all()


def test_every_spelling_of_an_activation_is_recorded_with_its_slope() -> None:
    class Spelled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.leaky_relu(input=x, negative_slope=0.5)
            x = torch.sigmoid(input=x)
            x = x.tanh()
            x = F.gelu(x, approximate="tanh")
            return F.relu_(x.mul(2))

    def train() -> None:
        network = nn.Sequential(nn.Linear(6, 6), Spelled())
        step(network, inputs=-torch.ones(3, 6))

    run = observe_training(train)
    assert site_labels(run) == ["0", "1:leaky_relu", "1:sigmoid", "1:tanh", "1:gelu", "1:relu"]
    assert np.isfinite(run.readings["log10_slope_rms"][0, 1:]).all()


def test_an_activation_module_used_twice_is_a_site_at_each_place() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.act = nn.Linear(6, 6), nn.Linear(6, 6), nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.second(self.act(self.first(x))))

    assert site_labels(observe_training(lambda: step(Shared()))) == ["first", "act", "second", "act#2"]


def test_parameters_that_the_network_does_not_list_are_marked() -> None:
    run = observe_training(lambda: step(Stack()))
    registered = {run.structure.parameter_label(i): p.registered for i, p in enumerate(run.structure.parameters)}
    assert registered["blocks.0.linear.weight"]
    assert not registered["blocks.0.extra.gate.weight"]
    gate = site_labels(run).index("blocks.0.extra.gate")
    owned = run.structure.sites[run.structure.in_order()[gate]].parameters
    assert [run.structure.parameter_label(i) for i in owned] == ["blocks.0.extra.gate.weight", "blocks.0.extra.gate.bias"]


def test_two_networks_have_different_names() -> None:
    def train() -> None:
        encoder, decoder = nn.Sequential(nn.Linear(6, 4), nn.ReLU()), nn.Sequential(nn.Linear(4, 2))
        optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.1)
        decoder(encoder(torch.ones(3, 6))).square().mean().backward()
        optimizer.step()

    run = observe_training(train)
    assert site_labels(run) == ["encoder.0", "encoder.1", "decoder.0"]
    assert run.structure.parameter_label(2) == "decoder.0.weight"
    assert [network.class_name for network in run.structure.networks] == ["Sequential", "Sequential"]


def test_a_network_of_which_only_a_part_is_called_is_one_network() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Linear(6, 4), nn.Linear(4, 2)

    def train() -> None:
        model = Model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.head(model.encoder(torch.ones(3, 6))).square().mean().backward()
        optimizer.step()

    run = observe_training(train)
    assert site_labels(run) == ["encoder", "head"]
    assert [network.name for network in run.structure.networks] == ["model"]


def test_a_network_built_before_observing_has_the_name_of_its_callers_variable() -> None:
    mine = Stack()
    with watching(networks=(mine,)) as watched:
        mine(torch.ones(3, 6)).square().mean().backward()
    assert [network.name for network in watched.run.structure.networks] == ["mine"]


def test_parameters_without_a_module_are_listed_in_a_network_of_their_own() -> None:
    def train() -> None:
        weight = torch.ones(3, 3, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1)
        (weight @ weight).sum().backward()
        optimizer.step()

    run = observe_training(train)
    assert [run.structure.parameter_label(i) for i in range(1)] == ["parameters.0"]
    assert run.structure.parameters[0].shape == (3, 3)


def test_a_site_has_the_location_where_it_was_built_or_called() -> None:
    def train() -> None:
        network = nn.Sequential(
            nn.Linear(6, 6),
            Block(),
        )
        step(network)

    run = observe_training(train)
    places = {run.structure.site_label(i): site.location for i, site in enumerate(run.structure.sites)}
    texts = {label: place.text for label, place in places.items() if place is not None}
    assert texts["0"] == "nn.Linear(6, 6),"
    assert texts["1.linear"] == "self.linear = nn.Linear(6, 6)"
    assert texts["1:relu"].startswith("return x + F.relu(")
    assert {place.file for place in places.values() if place is not None} == {__file__}


# Where a change can enter

HEAD = """
import torch
from torch import nn
"""
SCRIPTS = {
    "at module level": """
        model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # here
        model(torch.ones(3, 2)).square().mean().backward()
        optimizer.step()
        """,
    "in main": """
        def main():
            net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
            for lr in [0.1]:
                optimizer = torch.optim.SGD(net.parameters(), lr=lr)  # here
                net(torch.ones(3, 2)).square().mean().backward()
                optimizer.step()

        if __name__ == "__main__":
            main()
        """,
    "in a trainer": """
        class Trainer:
            def __init__(self, model):
                self.model = model
                self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)  # here

            def fit(self):
                self.model(torch.ones(3, 2)).square().mean().backward()
                self.optimizer.step()

        Trainer(nn.Sequential(nn.Linear(2, 2), nn.Tanh())).fit()
        """,
    "in a module that makes its optimizer": """
        class Lit(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)  # here

            def training_step(self):
                return self.net(torch.ones(3, 2)).square().mean()

        def fit(module):
            optimizer = module.configure_optimizers()
            module.training_step().backward()
            optimizer.step()

        fit(Lit())
        """,
    "in a factory": """
        def build():
            network = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
            return network, torch.optim.SGD(network.parameters(), lr=0.1)  # here

        model, optimizer = build()
        model(torch.ones(3, 2)).square().mean().backward()
        optimizer.step()
        """,
    "in a function that uses a global": """
        def train():
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # here
            model(torch.ones(3, 2)).square().mean().backward()
            optimizer.step()

        model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        train()
        """,
    "around a factory of optimizers": """
        def make(parameters):
            return torch.optim.SGD(parameters, lr=0.1)

        model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        optimizer = make(model.parameters())  # here
        model(torch.ones(3, 2)).square().mean().backward()
        optimizer.step()
        """,
}


def watched_script(path: Path) -> Run:
    return observe_training(lambda: runpy.run_path(str(path), run_name="__main__"))


@pytest.mark.parametrize("kind", SCRIPTS)
def test_the_entry_is_the_optimizers_line_and_its_expression_names_the_network(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(HEAD + textwrap.dedent(SCRIPTS[kind]))
    (network,) = watched_script(script).structure.networks
    assert network.entry is not None
    location = network.entry.location
    assert location.file == str(script)
    lines = script.read_text().splitlines()
    assert "# here" in lines[location.line - 1]
    assert location.text == lines[location.line - 1].strip()

    indent = lines[location.line - 1][: -len(lines[location.line - 1].lstrip())]
    lines.insert(location.line - 1, f"{indent}probe({network.entry.expression})")
    script.write_text("\n".join(lines))
    probed: list[Any] = []
    runpy.run_path(str(script), init_globals={"probe": probed.append}, run_name="__main__")
    assert [type(module).__name__ for module in probed] == [network.class_name]


def test_without_an_optimizer_there_is_no_entry() -> None:
    def forward_only() -> None:
        network = small_mlp()
        network(torch.ones(3, 6)).sum().backward()

    (network,) = observe_training(forward_only).structure.networks
    assert network.entry is None
    assert network.name == "network"


def test_modules_outside_of_a_network_are_listed_with_their_lines() -> None:
    index, network, loss, deleted = ModelIndex(), nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.MSELoss(), nn.Sigmoid()
    for line, module in enumerate((network, network[0], network[1], loss, deleted), start=1):
        index.module_built(module, BuildLine(("/nowhere/net.py", line)))
    index.module_built(without_line := nn.ReLU(), None)
    del deleted, module
    assert index.outside_modules(network) == (
        ModuleOrigin("", "MSELoss", Location("/nowhere/net.py", 4, ""), torch_class="MSELoss"),
    )
    assert [origin.class_name for origin in index.outside_modules(loss)] == ["Sequential", "Linear", "Tanh"]
    assert without_line is not None
