"""Writes statements about many modules as a person would: in loops over all of a kind, over a list or over a few, or singly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from unvanish.patch.constructor_calls import WEIGHTED
from unvanish.patch.edits.value_lines import ValueLines, about
from unvanish.patch.module_tree import ModuleTree, is_below, whole_subtrees
from unvanish.patch.text_replacements import NotExpressible

_LEAST_FOR_A_LOOP = 3
"""How many modules a loop over all of a kind, or over a slice, is worth."""
_WORTH_PICKING = 3
"""By how many lines picking modules out of lists must be shorter than a loop over all of a kind, which fits any network."""
_PICKED = re.compile(r" in \(.*\):$|\[\d*:\d*(:\d+)?\]:$")
_ATTENTION_LINEAR = "NonDynamicallyQuantizableLinear"
_LONGEST_HEADER = 100
"""Characters of the head of a loop over modules that are named."""


@dataclass(frozen=True, slots=True)
class LoopNames:
    """The names that statements use, which the program uses for nothing else."""

    module: str
    layer: str
    block: str
    index: str


@dataclass(frozen=True, slots=True)
class ModuleStatements:
    """Writes lines about the modules of a network.

    Arguments:
        tree: the modules.
        base: the code of the network, such as "self".
        names: the names for loops.
        class_code: the code of a class of torch.nn, from its name.
        assigns: whether the lines assign to the module, which a name that a loop gives it does not do.
    """

    tree: ModuleTree
    base: str
    names: LoopNames
    class_code: Callable[[str], str]
    assigns: bool = False

    def lines(self, by_path: Mapping[str, ValueLines]) -> list[str]:
        """The statements that have each module's lines, by path of the module, in as few loops as is plain.

        Raises NotExpressible where a module cannot be named.
        """
        if self.assigns:
            return self._named(by_path)
        looped = self._in_loops_over_kinds(by_path)
        try:
            named = self._named(by_path)
        except NotExpressible:
            return looped
        is_plain = not any(_PICKED.search(line) for line in named)
        return named if len(named) + (0 if is_plain else _WORTH_PICKING) <= len(looped) else looped

    def _in_loops_over_kinds(self, by_path: Mapping[str, ValueLines]) -> list[str]:
        """The statements with loops over all modules of a kind, and those for the others behind."""
        remaining = dict(by_path)
        written: list[str] = []
        for root, kinds in self._loops_over_kinds(remaining).items():
            majorities = {kind: Counter(remaining[path] for path in paths).most_common(1)[0][0] for kind, paths in kinds.items()}
            covered = [path for kind, paths in kinds.items() for path in paths if remaining[path] == majorities[kind]]
            written += self._loop_over_kinds(root, majorities, kinds)
            for path in covered:
                del remaining[path]
        return written + self._named(remaining)

    # All modules of some kinds

    def _loops_over_kinds(self, by_path: Mapping[str, ValueLines]) -> dict[str, dict[str, list[str]]]:
        """The subtrees of which all modules of a kind get lines, and enough of them for a loop: paths by root and kind."""
        loops: dict[str, dict[str, list[str]]] = {}
        for kind in dict.fromkeys(self.tree.kind(path) for path in by_path):
            paths = [path for path in by_path if self.tree.kind(path) == kind]
            among = self.tree.paths_of(kind)
            if kind not in WEIGHTED:
                continue
            if set(paths) == {path for path in among if self.tree.class_name(path) == kind}:
                among = paths  # the others are of subclasses
            for root in whole_subtrees(paths, among):
                inside = [path for path in paths if not root or path.startswith(f"{root}.")]
                if len(inside) >= _LEAST_FOR_A_LOOP:
                    loops.setdefault(root, {})[kind] = inside
        return loops

    def _loop_over_kinds(self, root: str, majorities: Mapping[str, ValueLines], kinds: Mapping[str, Sequence[str]]) -> list[str]:
        """A loop over all modules below a root, with a condition for each kind; kinds with equal lines share one."""
        name = self.names.module
        lines = [f"for {name} in {self.tree.expression(self.base, root)}.modules():"]
        for index, recipe in enumerate(dict.fromkeys(majorities.values())):
            of_recipe = [kind for kind, each in majorities.items() if each == recipe]
            condition = self._condition(name, of_recipe, root, kinds)
            lines.append(f"    {'elif' if index else 'if'} {condition}")
            lines += (f"        {line}" for line in about(recipe.lines, name))
        return lines

    def _condition(self, name: str, of_recipe: Sequence[str], root: str, kinds: Mapping[str, Sequence[str]]) -> str:
        """The condition for modules of some kinds; where those of subclasses are left out, it is about the very class."""
        codes = [self.class_code(kind) for kind in of_recipe]
        inside = [path for kind in of_recipe for path in self.tree.paths_of(kind) if is_below(path, root)]
        left_out = {path for path in inside if not any(path in kinds[kind] for kind in of_recipe)}
        subclasses = {self.tree.class_name(path) for path in left_out}.difference(of_recipe)
        if subclasses:
            reason = "those inside nn.MultiheadAttention" if subclasses == {_ATTENTION_LINEAR} else "those of subclasses"
            test = f"type({name}) in ({', '.join(codes)})" if len(codes) > 1 else f"type({name}) is {codes[0]}"
            return f"{test}:  # not {reason}"
        return f"isinstance({name}, ({', '.join(codes)})):" if len(codes) > 1 else f"isinstance({name}, {codes[0]}):"

    # Modules by name

    def _named(self, by_path: Mapping[str, ValueLines]) -> list[str]:
        """The statements for modules that are named, in the order of the first of each."""
        remaining = dict(by_path)
        groups: dict[tuple[str, str], list[str]] = {}  # by header, and for modules without a loop by path
        while remaining:
            path, recipe = next(iter(remaining.items()))
            alike = [each for each, lines in remaining.items() if lines == recipe]
            header, name, covered = self._header(path, alike, recipe)
            own = {remaining[each].own_lines for each in covered}
            groups.setdefault((header, "" if header else path), []).extend(
                about(own.pop() if len(own) == 1 else recipe.lines, name)
            )
            for each in covered:
                del remaining[each]
        return [line for (header, _), lines in groups.items() for line in _under(header, lines)]

    def _header(self, path: str, alike: Sequence[str], recipe: ValueLines) -> tuple[str, str, list[str]]:
        """The head of a loop ("" for none), how its body names a module, and the paths of the modules that it covers."""
        for listed in self._list_loops(path, alike):
            return listed
        others = [each for each in alike if not any(True for _ in self._list_loops(each, alike))]
        if not self.assigns and len(others) > 1 and (len(others) >= _LEAST_FOR_A_LOOP or len(recipe.lines) > 1):
            codes = ", ".join(self.tree.expression(self.base, each) for each in others)
            header = f"for {self.names.layer} in ({codes}):"
            if len(header) <= _LONGEST_HEADER:
                return header, self.names.layer, others
        code = self.tree.expression(self.base, path)
        if self.assigns and code.endswith(")"):
            raise NotExpressible(f"{path!r} has no name to which the source could assign")
        return "", code, [path]

    def _list_loops(self, path: str, alike: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
        """The loops over a list of modules, or a slice of it, that cover a path."""
        names = path.split(".")
        for position, index in enumerate(names):
            parent, suffix = ".".join(names[:position]), ".".join(names[position + 1 :])
            indices = self.tree.indices(parent) if index.isdigit() else []
            covered = {number: each for number in indices if (each := _join(parent, str(number), suffix)) in alike}
            selected = _slice(list(covered), indices) if index.isdigit() and int(index) in covered else None
            if selected is None:
                continue
            for each in covered.values():
                self.tree.require_unmoved(each)
            code = self.tree.expression(self.base, parent)
            if self.assigns and not suffix:
                header, variable = f"for {self.names.index} in {selected.range_of(code)}:", f"{code}[{self.names.index}]"
            else:
                variable = self.names.block if suffix else self.names.layer
                header = f"for {variable} in {code}{selected}:"
            yield header, self._inner(variable, _join(parent, index), suffix), list(covered.values())

    def _inner(self, variable: str, root: str, suffix: str) -> str:
        """The code of a module below another one that a loop names."""
        code, walked = variable, root
        for name in suffix.split(".") if suffix else ():
            code += f"[{name}]" if name.isdigit() and self.tree.indices(walked) else f".{name}"
            walked = f"{walked}.{name}"
        return code


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class _Slice:
    """A slice of a list; `stop` is None where it goes to the end."""

    start: int = 0
    stop: int | None = None
    step: int = 1

    def __str__(self) -> str:
        """The slice behind the code of a list; nothing for all of it."""
        if self == _Slice():
            return ""
        start, stop = self.start or "", self.stop or ""
        return f"[{start}:{stop}]" if self.step == 1 else f"[{start}:{stop}:{self.step}]"

    def range_of(self, code: str) -> str:
        """The range of the indices that the slice selects of a list."""
        stop = f"len({code})" if self.stop is None else str(self.stop)
        if self.step != 1:
            return f"range({self.start}, {stop}, {self.step})"
        return f"range({self.start}, {stop})" if self.start else f"range({stop})"


def _slice(chosen: Sequence[int], indices: Sequence[int]) -> _Slice | None:
    """The slice that selects some of the indices of a list; None where none does or it is not worth it."""
    if len(chosen) < 2:
        return None
    if list(chosen) == list(indices) == list(range(len(indices))):
        return _Slice()
    steps = {later - earlier for earlier, later in pairwise(chosen)}
    if len(steps) != 1 or len(chosen) < _LEAST_FOR_A_LOOP:
        return None
    step = steps.pop()
    return _Slice(chosen[0], None if chosen[-1] + step > indices[-1] else chosen[-1] + 1, step)


def _under(header: str, lines: Sequence[str]) -> list[str]:
    return [header, *(f"    {line}" for line in lines)] if header else list(lines)
