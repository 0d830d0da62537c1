"""Remedies for the tests of the conformance suite: a sound one, and one for each invariant that a remedy can violate."""

from __future__ import annotations

import copy
import random
from typing import Any

import torch
from torch import nn

from unvanish.errors import NotApplicable
from unvanish.record.network_changes import Edit
from unvanish.remedies import Operation, Remedy
from unvanish.remedies.edits.module_edits import Initialise


class Perform(Operation):
    """Calls a function with a network and its optimizers."""

    def __init__(self, act: Any) -> None:
        self.act = act

    @property
    def edit(self) -> Edit:
        return Edit("set", "", "as it was", "otherwise")

    def perform(self, network: nn.Module, optimizers: Any) -> None:
        self.act(network, optimizers)


class Sound(Remedy):
    """Clears every bias.

    Does: puts zero into the biases of Linear layers, and drops the optimizer's state of them.
    Helps: where biases have run away.
    Harms: what was learned by them is lost.
    Cost: none.
    References: none.
    """

    name = "zero-bias"
    family = "initialisation"
    summary = "every bias zero"
    treats = ("off-critical-init",)

    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        layers = {path: m for path, m in network.named_modules() if type(m) is nn.Linear and m.bias.requires_grad}
        if not layers:
            raise NotApplicable("zero-bias: no Linear layer has a bias that is trained; choose another remedy")
        return tuple(Initialise(path, "bias", "0", ((m.bias, nn.init.zeros_),)) for path, m in layers.items())


class Acting(Sound):
    """One whose operation is `act`."""

    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        return (Perform(self.act),)

    def act(self, network: nn.Module, optimizers: Any) -> None:
        raise NotImplementedError


class Hasty(Sound):
    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        nn.init.zeros_(next(network.parameters()))
        return super().plan(network, context)


class Eager(Sound):
    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        torch.rand(3, generator=context.generator)
        return super().plan(network, context)


class Idle(Sound):
    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        return ()


class Curt(Sound):
    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        raise NotApplicable("it cannot be done")


class Helpless(Sound):
    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        raise NotApplicable("zero-bias: it cannot be done")


class Crashing(Sound):
    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        raise KeyError("bias")


class Gambling(Sound):
    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        random.random()
        return super().plan(network, context)


class Orphaning(Acting):
    """Its new parameters are in no optimizer."""

    def act(self, network: nn.Module, optimizers: Any) -> None:
        network.register_module("extra", nn.Linear(1, 1))


class Doubling(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        for optimizer in optimizers:
            optimizer.param_groups.append({**optimizer.param_groups[0], "params": list(network.parameters())[:1]})


class Exchanging(Acting):
    """It replaces the first layer by an equal one."""

    def act(self, network: nn.Module, optimizers: Any) -> None:
        path, layer = next((path, m) for path, m in network.named_modules() if type(m) is nn.Linear)
        twin = copy.deepcopy(layer)
        network.set_submodule(path, twin)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                swap = dict(zip(layer.parameters(), twin.parameters(), strict=True))
                group["params"][:] = [swap.get(p, p) for p in group["params"]]


class Thawing(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        network.requires_grad_(True)


class Forgetting(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        for optimizer in optimizers:
            optimizer.state.clear()


class Waking(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        network.train()


class Scribbling(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        network.seen = True  # type: ignore[assignment]


class Marking(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        next(network.parameters()).seen = True  # type: ignore[attr-defined]


class Widening(Acting):
    """It adds a layer of another dtype."""

    def act(self, network: nn.Module, optimizers: Any) -> None:
        network.register_module("extra", nn.Linear(1, 1, dtype=torch.float64))
        for optimizer in optimizers:
            optimizer.param_groups[0]["params"].extend(network.get_submodule("extra").parameters())


class Untying(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        seen: set[int] = set()
        for module in network.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if id(parameter) in seen:
                    module.register_parameter(name, nn.Parameter(parameter.detach().clone()))
                    for optimizer in optimizers:
                        optimizer.param_groups[0]["params"].append(module.get_parameter(name))
                seen.add(id(parameter))


class Exploding(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(float("inf"))


class Random(Acting):
    """It draws from a generator that no seed controls."""

    def act(self, network: nn.Module, optimizers: Any) -> None:
        with torch.no_grad():
            parameter = list(network.parameters())[-1]
            parameter.add_(random.SystemRandom().random())
        for optimizer in optimizers:
            optimizer.state.pop(parameter, None)


class Unpicklable(Acting):
    def act(self, network: nn.Module, optimizers: Any) -> None:
        network.register_forward_hook(lambda module, args, output: output)


class Counting(Acting):
    """Its step counter is in no checkpoint."""

    def act(self, network: nn.Module, optimizers: Any) -> None:
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(Warmup())


class Warmup:
    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.steps += 1
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * self.steps


class Elsewhere(Acting):
    """It alters something that undo does not restore."""

    def act(self, network: nn.Module, optimizers: Any) -> None:
        for module in network.modules():
            if type(module) is nn.Linear:
                module.bias.data = torch.zeros(1).expand_as(module.bias)


class Twice(Acting):
    """It refuses the second time, with a message that does not begin with its name."""

    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        if same in network._forward_hooks.values():
            raise NotApplicable("it is in place already; nothing is left to do")
        return super().plan(network, context)

    def act(self, network: nn.Module, optimizers: Any) -> None:
        network.register_forward_hook(same)


def same(module: nn.Module, args: Any, output: Any) -> Any:
    return output


class Bare(Sound):
    def plan(self, network: nn.Module, context: Any) -> tuple[Operation, ...]:
        context.inputs.shape  # noqa: B018
        return super().plan(network, context)


class Branch(Acting):
    """Its layer gives other results to compilers, and is not used for training."""

    def act(self, network: nn.Module, optimizers: Any) -> None:
        network.register_module("extra", Compiled())
        for optimizer in optimizers:
            optimizer.param_groups[0]["params"].extend(network.get_submodule("extra").parameters())


class Compiled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if torch.compiler.is_compiling() else x
