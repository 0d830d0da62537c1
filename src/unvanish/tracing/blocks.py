"""The blocks of a flow: stretches between tensors that the whole gradient has to pass, named as the user's modules are.

Between two such tensors nothing leads around, so what a block does to the gradient is beyond dispute. Operations in a row make
one block from one weight to the next. Names and positions only; nothing here knows torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

STARTS_BLOCK = frozenset({"weight", "embedding"})


@dataclass(frozen=True, slots=True)
class Member:
    """An operation as a block sees it."""

    label: str
    path: str
    kind: str


@dataclass(slots=True)
class _Block:
    segments: list[int] = field(default_factory=list[int])
    members: list[Member] = field(default_factory=list[Member])
    braided: bool = False

    @property
    def home(self) -> str:
        return common_path([member.path for member in self.members])


def cuts(edges: Iterable[tuple[int, int]], nodes: Sequence[int]) -> list[int]:
    """Those of `nodes`, given in the order of the forward pass, that every path goes through. `edges` are (producer, consumer)."""
    place = {node: i for i, node in enumerate(nodes)}
    farthest = list(range(len(nodes)))
    for producer, consumer in edges:
        if producer in place and consumer in place:
            farthest[place[producer]] = max(farthest[place[producer]], place[consumer])
    found: list[int] = []
    reach = 0
    for i, node in enumerate(nodes):
        if reach <= i:
            found.append(node)
        reach = max(reach, farthest[i])
    return found


def block_names(segments: Sequence[Sequence[Member]]) -> list[str]:
    """The block of every segment; segments are in the order of the forward pass and hold the operations between two cuts."""
    blocks: list[_Block] = []
    for index, members in enumerate(segments):
        if not blocks or _starts(blocks[-1], members):
            blocks.append(_Block(braided=len(members) > 1))
        blocks[-1].segments.append(index)
        blocks[-1].members.extend(members)
    homes = Counter(block.home for block in blocks)
    names: list[str] = [""] * len(segments)
    given: Counter[str] = Counter()
    for block in blocks:
        name = _name(block, alone=homes[block.home] == 1 and not _has_inner(block.home, homes))
        given[name] += 1
        for index in block.segments:
            names[index] = name if given[name] == 1 else f"{name} #{given[name]}"
    return names


def common_path(paths: Sequence[str]) -> str:
    """The innermost module that holds them all; "" is the network."""
    if not paths:
        return ""
    shared = paths[0].split(".")
    for path in paths[1:]:
        parts = path.split(".")
        keep = 0
        while keep < min(len(shared), len(parts)) and shared[keep] == parts[keep]:
            keep += 1
        shared = shared[:keep]
    return ".".join(shared)


def _starts(block: _Block, members: Sequence[Member]) -> bool:
    """Whether a segment begins a new block after `block`."""
    home = common_path([member.path for member in members])
    within = bool(block.home) and (home == block.home or home.startswith(f"{block.home}."))
    if len(members) > 1:
        return not (block.braided and within)
    if block.braided and block.home:
        return not within
    return bool(members) and members[0].kind in STARTS_BLOCK


def _has_inner(home: str, homes: Counter[str]) -> bool:
    return any(other.startswith(f"{home}.") for other in homes) if home else True


def _name(block: _Block, *, alone: bool) -> str:
    if not block.members:
        return "(input)"
    first, last = block.members[0].label, block.members[-1].label
    if block.home and alone and len(block.members) > 1:
        return block.home
    return first if first == last else f"{first} … {last}"
