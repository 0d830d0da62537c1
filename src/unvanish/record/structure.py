"""The structure of what is trained: networks, their sites and parameters, the optimizers that own them, and what computes the loss.

Indices are stable: sites, parameters and optimizers are only ever appended, so a vector
that was written early in a run still lines up with the structure that was complete at its end.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

LAYER_KINDS = ("weight", "recurrence", "attention", "embedding")  # kinds of sites that have weights to learn with

KNOWN_KINDS = (*LAYER_KINDS, "normalisation")


@dataclass(frozen=True, slots=True)
class Location:
    """A line of the user's source: absolute file, 1-based line, and the line's text without its indentation."""

    file: str
    line: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a change to a network can be written in the user's source: before the statement at `location`, where `expression` names
    the network."""

    location: Location
    expression: str


@dataclass(frozen=True, slots=True)
class Network:
    """One module tree that is trained: its name in the user's program, its class, and where a change to it can be written."""

    name: str
    class_name: str
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """One operation in a network's forward pass.

    `path` is the module path of the module that ran it ("" is the network itself), `op` the operation in lower case
    ("linear", "sigmoid", "batchnorm1d"), `occurrence` counts equal functional calls within one call of that module, from 0, and
    the places at which its holder uses one activation module. `kind` is one of activation, weight, normalisation, recurrence,
    attention, pooling, embedding, merge, other.
    `order` is the position in the forward pass in which the site was first seen. `parameters` are indices into
    `ModelStructure.parameters`. `functional` tells a call such as `F.relu(x)` from a module such as `nn.ReLU()`.
    """

    network: int
    path: str
    op: str
    kind: str
    order: int
    occurrence: int = 0
    location: Location | None = None
    parameters: tuple[int, ...] = ()
    functional: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter tensor: its dotted name in its network, and the optimizer group that owns it (None: no optimizer does).

    `registered` is False where the network runs the tensor without listing it in `parameters()`. `local_size` is the number of
    elements that the process held, where the tensor is divided among processes (None: all of it).
    """

    network: int
    name: str
    shape: tuple[int, ...]
    trainable: bool = True
    group: int | None = None
    registered: bool = True
    local_size: int | None = None

    @property
    def holder(self) -> str:
        """The path of the module that holds it, by itself or in a list of parameters."""
        path, _, name = self.name.rpartition(".")
        return path.rpartition(".")[0] if name.isdecimal() else path

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


@dataclass(frozen=True, slots=True)
class OptimizerGroup:
    """One parameter group of an optimizer, with the numeric settings it had when first seen (`lr`, `eps`, `weight_decay`, ...)."""

    optimizer: int
    class_name: str
    settings: tuple[tuple[str, float], ...] = ()

    def setting(self, name: str, default: float = 0.0) -> float:
        """The setting of that name, or `default` where the optimizer has none."""
        return dict(self.settings).get(name, default)


@dataclass(frozen=True, slots=True)
class Head:
    """What lies between a network's last weights and one criterion of its loss.

    `criterion` is what the output is compared by: "cross-entropy" (on scores), "likelihood" (on what should be logarithms of
    probabilities), "binary-cross-entropy" (on probabilities), "binary-cross-entropy-with-logits", "squared", "absolute",
    "logarithm" (a likelihood made by hand), or "policy" (the logarithm of a chosen probability times a reward). `squash` are
    the operations in between that bend values, from the weights on, such as ("softmax",); "scaled" stands for a multiplication
    or shift. `width` is the extent of the classes' dimension, of the last one where there are none. `parameter` is the index of
    the last weights, None where the way to them was not understood. `softmax_extent` is over how many values a softmax in
    `squash` runs, and `over_examples` whether these are the examples of the batch. `turn` counts equal heads of a step, from 0.
    `location` is the line that called `backward`. `objectives` are the optimizers that stepped on the gradient of its loss.
    """

    network: int
    criterion: str
    squash: tuple[str, ...]
    width: int
    parameter: int | None = None
    softmax_extent: int | None = None
    over_examples: bool = False
    turn: int = 0
    location: Location | None = None
    objectives: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightCount:
    """A number of weights, and how many of them are frozen, and in layers of a kind that is not known."""

    total: int
    frozen: int
    unknown: int

    @property
    def is_mostly_unknown(self) -> bool:
        """Whether fewer than most are in layers that are known, so that readings of layers say little of the network."""
        return 2 * self.unknown > self.total

    @property
    def is_mostly_frozen(self) -> bool:
        """Whether fewer than most are trained."""
        return 2 * self.frozen > self.total


@dataclass(frozen=True, slots=True)
class ModelStructure:
    """Everything known of the structure of what is trained.

    Example:
        >>> structure = ModelStructure(
        ...     networks=(Network("net", "Sequential"),),
        ...     sites=(Site(0, "0", "linear", "weight", order=0), Site(0, "", "relu", "activation", order=1, functional=True)),
        ... )
        >>> [structure.site_label(index) for index in structure.in_order()]
        ['0', 'net:relu']
    """

    networks: tuple[Network, ...] = ()
    sites: tuple[Site, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    groups: tuple[OptimizerGroup, ...] = ()
    heads: tuple[Head, ...] = ()

    def site_label(self, index: int) -> str:
        """The name that people read: "net.2", or "block.1:relu#2" for the second functional relu of that module.

        The network's own name is put in front where the program trains more than one.
        """
        site = self.sites[index]
        place = self._within(site.network, site.path)
        operation = f"{place}:{site.op}" if site.functional else place
        return f"{operation}#{site.occurrence + 1}" if site.occurrence else operation

    def parameter_label(self, index: int) -> str:
        """The parameter's dotted name, with its network's name in front where there are several."""
        parameter = self.parameters[index]
        return self._within(parameter.network, parameter.name)

    def _within(self, network: int, path: str) -> str:
        name = self.networks[network].name
        if not path:
            return name
        return f"{name}.{path}" if len(self.networks) > 1 else path

    def count_weights(self, networks: Collection[int] | None = None) -> WeightCount:
        """The weights of these networks, of all by default, and how many of them are frozen or in no layer that is known.

        Bare weights of a module whose own code calls activations count as known: the gradient is measured between them.
        """
        known = {i for site in self.sites if site.kind in KNOWN_KINDS for i in site.parameters}
        by_hand = {(site.network, site.path) for site in self.sites if site.functional and site.kind == "activation"}
        known |= {i for i, p in enumerate(self.parameters) if (p.network, p.holder) in by_hand}
        chosen = [(i, p) for i, p in enumerate(self.parameters) if networks is None or p.network in networks]
        return WeightCount(
            sum(p.size for _, p in chosen),
            frozen=sum(p.size for _, p in chosen if not p.trainable),
            unknown=sum(p.size for i, p in chosen if i not in known),
        )

    def in_order(self) -> list[int]:
        """Site indices from the input to the output, network by network."""
        return sorted(range(len(self.sites)), key=lambda i: (self.sites[i].network, self.sites[i].order, i))
