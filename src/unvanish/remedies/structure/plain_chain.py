"""A network read as mean-field theory reads it: weights, an activation, weights again. It says where a network is no such chain.

It alters nothing and computes nothing. Theory's layer is h' = W phi(h) + b: an activation belongs to the weights behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from torch import nn

from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import ARITHMETIC, WEIGHTED, Kind
from unvanish.remedies.graph.nonlinearities import nonlinearity_of
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity

# They hand on the numbers that they get, or averages of them.
_PASSING = frozenset(
    {"getitem", "cat", "concat", "concatenate", "stack", "chunk", "split", "unbind", "to", "float", "double", "half", "mean"}
)
_SIZES = frozenset({"size", "getattr", "dim", "len"})  # they take a signal and give a number of it
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


class _Signal(IntEnum):
    """What the result of a step carries; of several, the greatest counts."""

    NONE = 0
    INPUT = 1
    """The network's inputs, looked up or scaled at most."""
    INNER = 2
    """What weights or activations made of them."""


class NoPlainChain(Exception):
    """Theory does not speak of this network; the message says why, and what to take instead."""


@dataclass(frozen=True, slots=True)
class Chain:
    """`before` has the activation in front of the layers that run with a weight, most often where there are several; None for
    layers that read the network's inputs only. `last` are the weights behind which no other comes. `depth` is the largest number
    of weighted layers in a row."""

    before: Mapping[nn.Parameter, Nonlinearity | None]
    last: frozenset[nn.Parameter]
    depth: int


def plain_chain(layout: ForwardGraph) -> Chain:
    """The chain of a layout; several weights in a row have a linear activation between them.

    Paths may part and be laid side by side again. Raises NoPlainChain where the order of operations is unknown, where signals are
    added or multiplied, and for normalisations, recurrent and attention layers, and activations without a formula. Cost: linear in
    the number of operations.
    """
    if not layout.traced:
        raise NoPlainChain("its forward could not be traced, so that the order of its layers is unknown; pass inputs=")
    for step in layout.steps:
        if step.kind is Kind.WEIGHT and step.module is not None and not isinstance(step.module, (*WEIGHTED, *_EMBEDDINGS)):
            raise NoPlainChain(f"{step.path!r} ({type(step.module).__name__}) is no plain layer; use orthogonal-init")
    signals = _signals(layout)
    uses: dict[nn.Parameter, list[int]] = {}
    for module, positions in layout.uses.items():
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        if isinstance(module, WEIGHTED) and weight is not None:
            uses.setdefault(weight, []).extend(positions)
    return Chain(
        {weight: _most_common([_before(i, layout, signals) for i in at]) for weight, at in uses.items()},
        frozenset(weight for weight, at in uses.items() if not any(layout.hidden[i] for i in at)),
        _depth(layout),
    )


def _depth(layout: ForwardGraph) -> int:
    depths: list[int] = []
    for step in layout.steps:
        depths.append(max((depths[s] for s in step.sources), default=0) + isinstance(step.module, WEIGHTED))
    return max(depths, default=0)


def _signals(layout: ForwardGraph) -> list[_Signal]:
    found: list[_Signal] = []
    for step in layout.steps:
        if _is_end(step):
            found.append(_Signal.INNER)
        elif step.op in _SIZES or step.op == PARAMETER:
            found.append(_Signal.NONE)
        elif step.op == "placeholder":
            found.append(_Signal.INPUT)
        else:
            found.append(max((found[s] for s in step.sources), default=_Signal.NONE))
    return found


def _is_end(step: GraphStep) -> bool:
    """Whether a step is what a chain is made of: weights that mix, or an activation."""
    return step.kind in (Kind.ACTIVATION, Kind.WEIGHT) and not isinstance(step.module, _EMBEDDINGS)


def _most_common(found: list[Nonlinearity | None]) -> Nonlinearity | None:
    """What stands most often before some layers; the inputs only if nothing else does."""
    own = [phi for phi in found if phi is not None]
    return Counter(own).most_common(1)[0][0] if own else None


def _before(position: int, layout: ForwardGraph, signals: list[_Signal]) -> Nonlinearity | None:
    """The one activation whose result reaches a step, linear for weights; None where only inputs do."""
    found: set[Nonlinearity | None] = set()
    queue, seen = list(layout.steps[position].sources), {position}
    while queue:
        here = queue.pop()
        step = layout.steps[here]
        if here in seen or signals[here] is _Signal.NONE:
            continue
        seen.add(here)
        if signals[here] is _Signal.INPUT:
            found.add(None)
        elif _is_end(step):
            found.add(_end(here, layout, signals))
        else:
            _require_passing(step)
            queue.extend(step.sources)
    if len(found) > 1:
        names = ", ".join(sorted("the inputs" if phi is None else phi.name for phi in found))
        raise NoPlainChain(f"{layout.steps[position].path!r} takes signals of several kinds ({names}); use orthogonal-init")
    return found.pop() if found else None


def _end(position: int, layout: ForwardGraph, signals: list[_Signal]) -> Nonlinearity:
    step = layout.steps[position]
    where = f"{step.op} in {step.path or 'the network itself'}"
    if step.kind is Kind.WEIGHT:
        if sum(signals[source] is not _Signal.NONE for source in step.sources) > 1:
            raise NoPlainChain(f"two signals are multiplied ({where}), of which there is no theory; use lsuv-init")
        return nonlinearity("linear")
    phi = nonlinearity_of(step)
    if phi is None:
        raise NoPlainChain(f"there is no formula for {where}; use he-init or lsuv-init")
    if _before(position, layout, signals) not in (None, nonlinearity("linear")):
        raise NoPlainChain(f"{where} follows another activation; use lsuv-init")
    return phi


def _require_passing(step: GraphStep) -> None:
    if step.kind in (Kind.NEUTRAL, Kind.RESHAPE) or step.op in _PASSING:
        return
    where = f"{step.op} in {step.path or 'the network itself'}"
    if step.kind is Kind.NORMALISATION:
        raise NoPlainChain(f"a normalisation ({where}) sets the size of the signal whatever the weights are; use orthogonal-init")
    if step.kind is Kind.PRODUCT:
        raise NoPlainChain(f"two signals are multiplied ({where}), of which there is no theory; use lsuv-init")
    if step.op in ARITHMETIC:
        raise NoPlainChain(
            f"two signals are summed ({where}): weights critical for a chain would double the signal at each sum; "
            "use zero-init-residual or orthogonal-init"
        )
    raise NoPlainChain(f"there is no theory of what {where} does to a signal; use orthogonal-init or lsuv-init")
