"""Gives networks, sites, parameters, optimizer groups and heads of the user's program stable indices, as they become known.

Modules and tensors are held weakly, so that observing prolongs no lifetime.
"""

from __future__ import annotations

import inspect
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.weak import WeakIdKeyDictionary, WeakTensorKeyDictionary

from unvanish import source_location
from unvanish.network.distributed_tensors import is_distributed, is_released, original_class
from unvanish.network.module_kinds import own_parameters, torch_class_name
from unvanish.network.unwrapping import unwrapped
from unvanish.observe.structure import module_origin
from unvanish.observe.structure.module_origin import BuildLine
from unvanish.record.model_wrappers import DATA_PARALLEL
from unvanish.record.network_changes import ModuleOrigin
from unvanish.record.quantities import Axis
from unvanish.record.structure import (
    LAYER_KINDS,
    Entry,
    Head,
    ModelStructure,
    Network,
    OptimizerGroup,
    Parameter,
    Site,
)
from unvanish.source_location import FileLine

# Parameters that belong to no module are listed under a network of this name.
UNOWNED = "parameters"
MAX_HEADS = 64  # a loss of its own for each sequence length would otherwise add heads without end


@dataclass(frozen=True, slots=True)
class SiteKey:
    """Identifies a site at every step: the operation, its module's path, and how many equal operations came before it in that
    module's call."""

    path: str
    op: str
    occurrence: int
    functional: bool


class ModelIndex:
    """Owner of all indices. `structure()` is the record of what is known now; `changed` says whether it grew since."""

    def __init__(self) -> None:
        self.changed = False
        self.has_modules = False
        self._networks: list[Network] = []
        self._sites: dict[tuple[int, SiteKey], int] = {}
        self._site_records: list[Site] = []
        self._lazy_parameters: dict[int, Tensor] = {}
        self._parameters: list[Parameter] = []
        self._groups: list[OptimizerGroup] = []
        self._heads: list[Head] = []
        self._network_of: Any = WeakIdKeyDictionary()  # root module, or the module that was called -> index
        self._paths: list[Any] = []  # for each network: module -> dotted path
        self._roots: list[weakref.ref[nn.Module] | None] = []
        self._parameter_of: Any = WeakTensorKeyDictionary()  # tensor -> index
        self._aliases: Any = WeakTensorKeyDictionary()  # other tensors that stand for a parameter: gathered, or replaced -> index
        self._parameter_names: dict[tuple[int, str], int] = {}
        self._local_sizes: dict[int, int] = {}
        self._optimizers: Any = WeakIdKeyDictionary()  # optimizer -> (objective, indices of its groups)
        self._optimizer_count = self._optimizers_built = 0
        self._build_lines: Any = WeakIdKeyDictionary()  # module -> BuildLine of the expression that built it
        self._entries: list[tuple[FileLine, dict[int, str], Any]] = []

    # Called while the program builds modules and optimizers

    def module_built(self, module: nn.Module, line: BuildLine | None) -> None:
        """Records a module under construction and the line that builds it."""
        self._build_lines[module] = line
        self.has_modules = True
        if type(module).__name__ in DATA_PARALLEL:
            self.optimizer_built(inspect.currentframe())  # a change has to enter the program before that line, too

    def optimizer_built(self, frame: FrameType | None) -> None:
        """Records how the frames that build an optimizer name the modules in their scope: a change can enter the program there."""
        self._optimizers_built += 1
        for user_frame in source_location.user_frames(frame):
            names: dict[int, str] = {}
            modules: Any = WeakIdKeyDictionary()
            for name, module in module_origin.named_modules(user_frame):
                names.setdefault(id(module), name)
                modules[module] = True
            if names:
                self._entries.append(((user_frame.f_code.co_filename, user_frame.f_lineno), names, modules))

    # Indices

    def network_index(self, called: nn.Module, frame: FrameType | None) -> int:
        """The index of the network that a call of `called` belongs to; all its parameters are registered with it."""
        known = self._network_of.get(called)
        if known is not None:
            return known
        root = self._root_of(called)
        known = self._network_of.get(root)
        if known is not None:
            self._network_of[called] = known
            return known
        index = self._network_of[root] = self._network_of[called] = len(self._networks)
        self._roots.append(weakref.ref(root))
        self._paths.append(_paths_in(root))
        entry = self._entry_of(root)
        class_name = original_class(root).__name__
        name = (entry.expression if entry else None) or module_origin.find_name(root, frame) or class_name.lower()
        self._networks.append(Network(name.removeprefix("self."), class_name, entry))
        for path, parameter in root.named_parameters():
            self.parameter_index(parameter, network=index, name=path)
        self.changed = True
        return index

    def site_index(self, network: int, key: SiteKey, *, kind: str, order: int, module: nn.Module, frame: FrameType | None) -> int:
        """The index of a site, registered at its first call. `frame` is the frame that called it."""
        known = self._sites.get((network, key))
        if known is not None:
            return known
        index = self._sites[network, key] = len(self._site_records)
        build_line = None if key.functional and not _is_torch_module(module) else self._build_lines.get(module)
        own = () if key.functional else own_parameters(module, recurse=kind in LAYER_KINDS)
        owned = tuple(
            self.parameter_index(p, network=network, name=f"{key.path}.{name}".lstrip("."), registered=False) for name, p in own
        )
        location = source_location.read_location(build_line.line if build_line else source_location.find_user_line(frame))
        self._site_records.append(Site(network, key.path, key.op, kind, order, key.occurrence, location, owned, key.functional))
        self.changed = True
        return index

    def parameter_index(self, tensor: Tensor, *, network: int | None = None, name: str = "", registered: bool = True) -> int:
        """The index of a parameter; a new one is registered under `name`, or in the network of parameters without a module."""
        if network is None and self.known_parameter(tensor) is None:
            self._register_owner(tensor)
        known = self.known_parameter(tensor)
        if known is not None:
            return known
        if network is None:
            network = self._unowned_network()
            name = f"{UNOWNED}.{sum(p.network == network for p in self._parameters)}"
        namesake = self._parameter_names.get((network, name))
        if namesake is not None:
            self._replace_tensor(namesake, tensor)
            return namesake
        index = self._parameter_of[tensor] = self._parameter_names[network, name] = len(self._parameters)
        if is_lazy(tensor):
            self._lazy_parameters[index] = tensor
        shape = () if is_lazy(tensor) else tuple(tensor.shape)
        self._parameters.append(Parameter(network, name, shape, tensor.requires_grad, None, registered))
        self.changed = True
        return index

    def objective_index(self, optimizer: Optimizer) -> int:
        """The objective of an optimizer: 0 for the first one that stepped, and so on. New parameter groups are registered."""
        known = self._optimizers.get(optimizer)
        if known is None:
            known = self._optimizers[optimizer] = (self._optimizer_count, list[int]())
            self._optimizer_count += 1
        objective, groups = known
        for group in optimizer.param_groups[len(groups) :]:  # more may be added at any time, as layers are unfrozen
            groups.append(len(self._groups))
            self._groups.append(OptimizerGroup(objective, type(optimizer).__name__, tuple(_numeric_settings(group))))
            for tensor in group["params"]:
                index = self.parameter_index(tensor)
                self._parameters[index] = replace(self._parameters[index], group=groups[-1], trainable=tensor.requires_grad)
            self.changed = True
        return objective

    def learning_rates(self, optimizer: Optimizer) -> list[tuple[int, float]]:
        """The current learning rate of every group of a known optimizer, as pairs (group index, rate)."""
        _, groups = self._optimizers[optimizer]
        rates = [(index, group.get("lr")) for index, group in zip(groups, optimizer.param_groups, strict=True)]
        return [(index, float(rate)) for index, rate in rates if isinstance(rate, int | float)]

    def living_parameters(self) -> list[Tensor]:
        """Every known parameter that still exists and has its memory."""
        return [tensor for tensor in self._parameter_of.keys() if not is_released(tensor)]  # noqa: SIM118

    def group_of(self, index: int) -> int | None:
        """The optimizer group that owns a parameter."""
        return self._parameters[index].group

    def head_index(self, head: Head) -> int | None:
        """The index of a head; a new one is registered, or gets None where MAX_HEADS are known.

        Its location counts only where there are several optimizers: a discriminator is in its own loss and in the generator's.
        """
        for index, known in enumerate(self._heads):
            location = known.location if max(self._optimizers_built, self._optimizer_count) > 1 else head.location
            if replace(known, location=location, objectives=()) == head:
                return index
        if len(self._heads) == MAX_HEADS:
            return None
        self._heads.append(head)
        self.changed = True
        return len(self._heads) - 1

    def heads_trained(self, heads: Iterable[int], objective: int) -> None:
        """Records that an objective's step was made on the gradient of a loss with these heads."""
        for index in heads:
            head = self._heads[index]
            if objective not in head.objectives:
                self._heads[index] = replace(head, objectives=(*head.objectives, objective))
                self.changed = True

    def known_parameter(self, tensor: Tensor) -> int | None:
        """The index of a registered parameter; None for any other tensor."""
        known = self._parameter_of.get(tensor)
        return self._aliases.get(tensor) if known is None else known

    def record_local_size(self, index: int, size: int) -> None:
        """Records how many elements of a parameter this process holds, where that is not all of it."""
        if size != self._parameters[index].size and self._local_sizes.get(index) != size:
            self._local_sizes[index] = size
            self._parameters[index] = replace(self._parameters[index], local_size=size)
            self.changed = True

    def network_of(self, index: int) -> int:
        """The index of the network that a parameter belongs to."""
        return self._parameters[index].network

    @property
    def axis_lengths(self) -> dict[Axis, int]:
        """How many entries of each axis are known."""
        return {
            Axis.SITE: len(self._site_records),
            Axis.PARAMETER: len(self._parameters),
            Axis.GROUP: len(self._groups),
            Axis.NETWORK: len(self._networks),
            Axis.HEAD: len(self._heads),
        }

    @property
    def objectives(self) -> int:
        """How many optimizers have stepped; at least one, since updates by hand are an objective too."""
        return max(1, self._optimizer_count)

    def _update_lazy_shapes(self) -> None:
        """Fills in the shapes of lazy parameters, which they get at their module's first call."""
        for index, tensor in list(self._lazy_parameters.items()):
            if not is_lazy(tensor):
                self._parameters[index] = replace(self._parameters[index], shape=tuple(tensor.shape))
                del self._lazy_parameters[index]

    def structure(self) -> ModelStructure:
        """The record of all that is known."""
        self._update_lazy_shapes()
        known = (self._networks, self._site_records, self._parameters, self._groups, self._heads)
        return ModelStructure(*(tuple(each) for each in known))  # pyright: ignore[reportArgumentType]

    def module_path(self, module: nn.Module, network: int, parent: nn.Module | None) -> str:
        """The dotted path of `module` in its network. One that is not registered is named after its parent's attribute."""
        path = self._paths[network].get(module)
        root_ref = self._roots[network]
        if path is None and root_ref is not None and (root := root_ref()) is not None:
            self._paths[network] = _paths_in(root)  # the tree may have grown
            path = self._paths[network].get(module)
        if path is not None:
            return path
        if parent is None or parent is module:
            return type(module).__name__.lower()
        return f"{self.module_path(parent, network, None)}.{_find_attribute(module, parent)}".lstrip(".")

    # Where a change can enter the program

    def origins(self, root: nn.Module) -> tuple[ModuleOrigin, ...]:
        """The modules of `root` by their paths, each with the line of the user's source that built it."""
        places = Counter(id(module) for _, module in root.named_modules(remove_duplicate=False))
        origins = ((_origin(path, module, self._build_lines.get(module)), module) for path, module in root.named_modules())
        return tuple(replace(origin, is_shared=places[id(module)] > 1) for origin, module in origins)

    def outside_modules(self, root: nn.Module) -> tuple[ModuleOrigin, ...]:
        """The living modules that the user's source built, and no library on its behalf, and that are no submodule of `root`."""
        inside = {id(module) for module in root.modules()}
        lines = [
            (module, line) for module, line in list(self._build_lines.items()) if line is not None and not line.through_library
        ]
        return tuple(_origin("", module, line) for module, line in lines if id(module) not in inside)

    def optimizers_of(self, root: nn.Module) -> tuple[Optimizer, ...]:
        """The known optimizers that hold a parameter of `root`."""
        owned = {id(parameter) for parameter in root.parameters()}
        return tuple(o for o in self._optimizers.keys() if any(id(p) in owned for group in o.param_groups for p in group["params"]))  # noqa: SIM118

    def entry(self, called: nn.Module) -> Entry | None:
        """Where a change to the network that a module belongs to can enter the program."""
        known = self._network_of.get(called)
        return None if known is None else self._networks[known].entry

    # Search

    def _root_of(self, called: nn.Module) -> nn.Module:
        """The outermost module that contains `called`: a program may call `model.encoder` and never `model`."""
        module = unwrapped(called)
        visited = {id(module)}
        while (parent := self._parent_of(module)) is not None and id(parent) not in visited:
            module = parent
            visited.add(id(module))
        return module

    def _parent_of(self, module: nn.Module) -> nn.Module | None:
        if self._network_of.get(module) is not None:
            return None
        for candidate in list(self._build_lines.keys()):
            if unwrapped(candidate) is candidate and any(child is module for child in candidate.children()):
                return candidate
        return None

    def _register_owner(self, tensor: Tensor) -> None:
        """Registers the network that a parameter belongs to: an optimizer with a closure steps before any module runs."""
        for module in list(self._build_lines.keys()):
            for name, own in module.named_parameters(recurse=False):
                if own is tensor:
                    network = self.network_index(module, None)
                    path = self.module_path(module, network, None)
                    self.parameter_index(tensor, network=network, name=f"{path}.{name}".lstrip("."))
                    return

    def _replace_tensor(self, index: int, tensor: Tensor) -> None:
        """Another tensor has taken a parameter's name: it is measured from now on, unless it is gathered from a divided one."""
        earlier = next((known for known, i in self._parameter_of.items() if i == index), None)
        if earlier is not None and is_distributed(earlier) and not is_distributed(tensor):
            self._aliases[tensor] = index
            return
        if earlier is not None:
            del self._parameter_of[earlier]
            self._aliases[earlier] = index
        self._parameter_of[tensor] = index

    def _entry_of(self, root: nn.Module) -> Entry | None:
        for line, names, modules in self._entries:
            for module in list(modules.keys()):
                location, built = source_location.read_location(line), self._build_lines.get(root)
                # The attribute of a trainer that builds the network itself is not there before that line has run.
                is_there = "." not in names[id(module)] or built is None or built.line != line
                if unwrapped(module) is root and location is not None and is_there:
                    return Entry(location, names[id(module)])
        return None

    def _unowned_network(self) -> int:
        for index, network in enumerate(self._networks):
            if network.name == UNOWNED:
                return index
        self._networks.append(Network(UNOWNED, "Tensor"))
        self._roots.append(None)
        self._paths.append(WeakIdKeyDictionary())
        return len(self._networks) - 1


def _origin(path: str, module: nn.Module, built: BuildLine | None) -> ModuleOrigin:
    location = source_location.read_location(built.line if built else None)
    return ModuleOrigin(path, type(module).__name__, location, bool(built and built.through_library), torch_class_name(module))


def _paths_in(root: nn.Module) -> Any:
    paths: Any = WeakIdKeyDictionary()
    for path, module in root.named_modules():
        paths[module] = path
    return paths


def _numeric_settings(group: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numeric settings of an optimizer group; pairs such as `betas` become beta1 and beta2."""
    for name, value in group.items():
        if name == "params":
            continue
        if isinstance(value, bool | int | float):
            yield name, float(value)
        elif name == "betas":
            yield "beta1", float(value[0])
            yield "beta2", float(value[1])


def _find_attribute(module: nn.Module, parent: nn.Module) -> str:
    for name, value in vars(parent).items():
        if value is module:
            return name
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
        for key, item in items:
            if item is module:
                return f"{name}.{key}"
    return type(module).__name__.lower()


def _is_torch_module(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.")
