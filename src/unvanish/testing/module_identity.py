"""Records which parameter and module objects a network has, and lists those that a remedy replaced or altered without reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from unvanish.testing.state_snapshot import to_comparable


@dataclass(frozen=True, slots=True)
class _ParameterState:
    """One parameter: the object, the number of its names, and its values and optimizer state at that moment."""

    parameter: nn.Parameter
    name_count: int
    requires_grad: bool
    attributes: frozenset[str]
    value: Any
    optimizer_state: Any


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """The parameters and modules of a network and its optimizer at one moment."""

    names: Mapping[str, nn.Parameter]
    parameters: tuple[_ParameterState, ...]
    modules: Mapping[str, tuple[nn.Module, type[nn.Module], frozenset[str], bool]]
    dtypes_and_devices: frozenset[tuple[torch.dtype, torch.device]]
    optimizer_type: type[Optimizer]

    @classmethod
    def of(cls, network: nn.Module, optimizer: Optimizer) -> ModuleIdentity:
        """The present state of a network and its optimizer."""
        names = dict(network.named_parameters(remove_duplicate=False))
        parameter_ids = [id(parameter) for parameter in names.values()]
        parameters = tuple(
            _ParameterState(
                p,
                parameter_ids.count(id(p)),
                p.requires_grad,
                frozenset(vars(p)),
                to_comparable(p),
                to_comparable(optimizer.state.get(p, {})),
            )
            for p in network.parameters()
        )
        modules = {path: (m, type(m), frozenset(vars(m)), m.training) for path, m in network.named_modules(remove_duplicate=False)}
        dtypes_and_devices = frozenset((p.dtype, p.device) for p in names.values())
        return cls(names, parameters, modules, dtypes_and_devices, type(optimizer))

    def list_violations(self, network: nn.Module, optimizer: Optimizer) -> Iterator[str]:
        """What is wrong with the network and its optimizer after a remedy, one sentence each."""
        names = dict(network.named_parameters(remove_duplicate=False))
        yield from _optimizer_violations(network, optimizer)
        yield from self._replaced_parameters(names, network)
        yield from self._broken_ties(names)
        yield from self._altered_parameters(names, optimizer)
        yield from self._altered_modules(network)
        for name, parameter in names.items():
            if (parameter.dtype, parameter.device) not in self.dtypes_and_devices:
                yield f"{name} is {parameter.dtype} on {parameter.device}, as nothing in the network was"
            if not torch.isfinite(parameter).all():
                yield f"{name} is not finite"

    def _replaced_parameters(self, names: Mapping[str, nn.Parameter], network: nn.Module) -> Iterator[str]:
        """A module may be replaced by one of another class; one of the same class must keep the same parameter objects."""
        for name, parameter in self.names.items():
            now = names.get(name)
            if now is None or now is parameter:
                continue
            owner = name.rpartition(".")[0]
            if type(network.get_submodule(owner)) is self.modules[owner][1] and now.shape == parameter.shape:
                yield f"{name} is another object of the same shape: what held the old one no longer sees it"
            if now.requires_grad and not parameter.requires_grad:
                yield f"{name} was frozen and is trained now"

    def _broken_ties(self, names: Mapping[str, nn.Parameter]) -> Iterator[str]:
        for state in self.parameters:
            tied = [name for name, parameter in self.names.items() if parameter is state.parameter and name in names]
            if len({id(names[name]) for name in tied}) > 1:
                yield f"{' and '.join(tied)} were one parameter and are several now"

    def _altered_parameters(self, names: Mapping[str, nn.Parameter], optimizer: Optimizer) -> Iterator[str]:
        present = [id(parameter) for parameter in names.values()]
        names_before = {id(parameter): name for name, parameter in self.names.items()}
        for state in self.parameters:
            parameter, name = state.parameter, names_before[id(state.parameter)]
            if id(parameter) not in present:
                continue
            if present.count(id(parameter)) != state.name_count:
                yield f"{name} stood under {state.name_count} names and stands under {present.count(id(parameter))}"
            if parameter.requires_grad != state.requires_grad:
                yield f"requires_grad of {name} was {state.requires_grad} and is {parameter.requires_grad}"
            if state.attributes != frozenset(vars(parameter)):
                yield f"{name} got an attribute: tensors are the user's own"
            is_unchanged = to_comparable(parameter) == state.value and type(optimizer) is self.optimizer_type
            if is_unchanged and to_comparable(optimizer.state.get(parameter, {})) != state.optimizer_state:
                yield f"the optimizer's state of {name} is lost, though its value and the optimizer's kind are what they were"

    def _altered_modules(self, network: nn.Module) -> Iterator[str]:
        before = {
            id(module): (module_type, attributes, training) for module, module_type, attributes, training in self.modules.values()
        }
        for path, module in network.named_modules():
            module_type, attributes, training = before.get(id(module), (type(module), frozenset(vars(module)), network.training))
            if module.training != training:
                yield f"{path or 'the network'} is in {'training' if module.training else 'evaluation'} mode, and should not be"
            registered = {*vars(module)["_parameters"], *vars(module)["_buffers"], *vars(module)["_modules"]}
            if type(module) is module_type and (changed := (attributes ^ frozenset(vars(module))) - registered):
                yield f"{path or 'the network'} got or lost the attribute {', '.join(sorted(changed))}: modules are the user's own"


def _optimizer_violations(network: nn.Module, optimizer: Optimizer) -> Iterator[str]:
    """Trained parameters that are not in exactly one group of the optimizer, and groups with names for other parameters."""
    owned_ids: Sequence[int] = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    for name, parameter in network.named_parameters():
        count = owned_ids.count(id(parameter))
        if parameter.requires_grad and count != 1:
            yield f"{name} is trained and stands in {count} groups of the optimizer, where it must stand in one"
    for group in optimizer.param_groups:
        if "param_names" in group and len(group["param_names"]) != len(group["params"]):
            yield "a group of the optimizer has names for other parameters than it holds"
