"""Describes a network for kernel shaping: layers in sequence, and residual sums whose branch is a network again.

A map of one layer composes along a sequence; a residual sum w x + sqrt(1 - w^2) branch(x) mixes maps as w^2 and 1 - w^2 (Martens
2021, arXiv 2110.01765).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unvanish.errors import UsageError

Map = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Layers:
    """`count` layers in sequence, each one weight and one activation."""

    count: int


@dataclass(frozen=True, slots=True)
class Sequential:
    """Networks one after another."""

    parts: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Residual:
    """w times the input plus sqrt(1 - w^2) times a branch; `shortcut_weight` is w, between 0 and 1."""

    branch: Network
    shortcut_weight: float


Network = Layers | Sequential | Residual


def compose_map(network: Network, layer: Map) -> Map:
    """The correlation map of the network, from that of one layer."""

    def value(c: float) -> float:
        return _map_value(network, layer, c)

    return value


def slope_at_one(network: Network, layer_slope: float) -> float:
    """C_f'(1) of the network, from C'(1) of one layer: slopes multiply along a sequence."""
    match network:
        case Layers(count):
            return layer_slope**count
        case Sequential(parts):
            slope = 1.0
            for part in parts:
                slope *= slope_at_one(part, layer_slope)
            return slope
        case Residual(branch, w):
            return w**2 + (1.0 - w**2) * slope_at_one(branch, layer_slope)


def curvature_at_one(network: Network) -> float:
    """C_f''(1) over C''(1) of one layer, where every slope at one is one: curvatures add along a sequence."""
    match network:
        case Layers(count):
            return float(count)
        case Sequential(parts):
            return sum(curvature_at_one(part) for part in parts)
        case Residual(branch, w):
            return (1.0 - w**2) * curvature_at_one(branch)


def subnetworks(network: Network) -> Iterator[Network]:
    """The network, and the branch of every residual sum in it: a branch alone can be more curved than the sum it is part of."""
    yield network
    yield from _branches(network)


def check_network(network: Network) -> Network:
    """The network itself. Raises UsageError where a count or weight is out of range or there is no layer."""
    match network:
        case Layers(count):
            if count < 1:
                raise UsageError(f"a chain of {count} layers cannot be shaped; give at least one layer")
        case Sequential(parts):
            if not parts:
                raise UsageError("an empty sequence cannot be shaped; give at least one part")
            for part in parts:
                check_network(part)
        case Residual(branch, w):
            if not 0.0 <= w < 1.0:
                raise UsageError(f"a shortcut of weight {w} leaves nothing to shape or is no weight; give w with 0 <= w < 1")
            check_network(branch)
    return network


def _branches(network: Network) -> Iterator[Network]:
    match network:
        case Layers():
            return
        case Sequential(parts):
            for part in parts:
                yield from _branches(part)
        case Residual(branch, _):
            yield from subnetworks(branch)


def _map_value(network: Network, layer: Map, c: float) -> float:
    match network:
        case Layers(count):
            for _ in range(count):
                c = layer(c)
            return c
        case Sequential(parts):
            for part in parts:
                c = _map_value(part, layer, c)
            return c
        case Residual(branch, w):
            return w**2 * c + (1.0 - w**2) * _map_value(branch, layer, c)
