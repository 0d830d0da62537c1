"""Finds the blocks of a flow, stretches between tensors that the whole gradient has to pass, and names them after modules.

Between two such tensors nothing leads around, so what a block does to the gradient is beyond dispute. Operations in a row make
one block from one weight to the next. Pure: works on names and positions only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

STARTS_BLOCK = frozenset({"weight", "embedding"})  # kinds of operations


@dataclass(frozen=True, slots=True)
class BlockMember:
    """What decides on an operation's block: its label, its module's path and its kind."""

    label: str
    path: str
    kind: str


@dataclass(slots=True)
class _Block:
    """Segments in a row, by index; `is_branched` says whether the first one has several operations."""

    segments: list[int] = field(default_factory=list[int])
    members: list[BlockMember] = field(default_factory=list[BlockMember])
    is_branched: bool = False

    @property
    def path(self) -> str:
        return common_path([member.path for member in self.members])


def find_cuts(edges: Iterable[tuple[int, int]], nodes: Sequence[int]) -> list[int]:
    """Those of `nodes`, given in the order of the forward pass, that every path goes through. `edges` are (producer, consumer).

    Example:
        >>> find_cuts([(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)], [1, 2, 3, 4, 5])
        [1, 4, 5]
    """
    position = {node: i for i, node in enumerate(nodes)}
    farthest = list(range(len(nodes)))  # the last position to which an edge leads from each
    for producer, consumer in edges:
        if producer in position and consumer in position:
            farthest[position[producer]] = max(farthest[position[producer]], position[consumer])
    cuts: list[int] = []
    reach = 0
    for i, node in enumerate(nodes):
        if reach <= i:
            cuts.append(node)
        reach = max(reach, farthest[i])
    return cuts


def name_blocks(segments: Sequence[Sequence[BlockMember]]) -> list[str]:
    """The block of every segment; segments are in the order of the forward pass and hold the operations between two cuts.

    Example:
        >>> operations = (("a", "weight"), ("b", "activation"), ("c", "weight"))
        >>> name_blocks([[BlockMember(label, label, kind)] for label, kind in operations])
        ['a … b', 'a … b', 'c']
    """
    blocks: list[_Block] = []
    for index, members in enumerate(segments):
        if not blocks or _starts_block(blocks[-1], members):
            blocks.append(_Block(is_branched=len(members) > 1))
        blocks[-1].segments.append(index)
        blocks[-1].members.extend(members)
    paths = Counter(block.path for block in blocks)
    names: list[str] = [""] * len(segments)
    uses: Counter[str] = Counter()
    for block in blocks:
        name = _block_name(block, is_whole_module=paths[block.path] == 1 and not _has_blocks_inside(block.path, paths))
        uses[name] += 1
        for index in block.segments:
            names[index] = name if uses[name] == 1 else f"{name} #{uses[name]}"
    return names


def common_path(paths: Sequence[str]) -> str:
    """The path of the innermost module that holds them all; "" is the network.

    Example:
        >>> common_path(["net.0.a", "net.0.b"])
        'net.0'
    """
    if not paths:
        return ""
    shared = paths[0].split(".")
    for path in paths[1:]:
        parts = path.split(".")
        count = 0
        while count < min(len(shared), len(parts)) and shared[count] == parts[count]:
            count += 1
        shared = shared[:count]
    return ".".join(shared)


def _starts_block(block: _Block, members: Sequence[BlockMember]) -> bool:
    """Whether a segment begins a new block after `block`."""
    path = common_path([member.path for member in members])
    is_inside = bool(block.path) and (path == block.path or path.startswith(f"{block.path}."))
    if len(members) > 1:
        return not (block.is_branched and is_inside)
    if block.is_branched and block.path:
        return not is_inside
    return bool(members) and members[0].kind in STARTS_BLOCK


def _has_blocks_inside(path: str, paths: Counter[str]) -> bool:
    return any(other.startswith(f"{path}.") for other in paths) if path else True


def _block_name(block: _Block, *, is_whole_module: bool) -> str:
    if not block.members:
        return "(input)"
    first, last = block.members[0].label, block.members[-1].label
    if block.path and is_whole_module and len(block.members) > 1:
        return block.path
    return first if first == last else f"{first} … {last}"
