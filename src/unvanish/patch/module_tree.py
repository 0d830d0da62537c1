"""The modules of a network by path, as the user's source names them: `self.blocks[0].fc`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property

from unvanish.patch.text_replacements import NotExpressible
from unvanish.record.network_changes import Edit, ModuleOrigin, Plan

_LISTS = frozenset({"Sequential", "ModuleList"})


class ModuleTree:
    """The modules of a network, and the edits of a plan that move some of them to other paths."""

    def __init__(self, origins: Mapping[str, ModuleOrigin], plan: Plan) -> None:
        self._origins = origins
        self._edits = [edit for step in plan.steps for edit in step.edits if edit.path and not edit.calls]

    def paths_of(self, kind: str) -> list[str]:
        """The paths of the modules that are instances of a class of torch.nn, in the network's order."""
        return [path for path, origin in self._origins.items() if origin.torch_class == kind]

    def kind(self, path: str) -> str:
        """The class of torch.nn that the module at a path is an instance of; "" where it is not known."""
        return self._origins[path].torch_class if path in self._origins else ""

    def class_name(self, path: str) -> str:
        """The class of the module at a path; "" where it is not known."""
        return self._origins[path].class_name if path in self._origins else ""

    def indices(self, path: str) -> list[int]:
        """The indices of the modules in the list or sequence at a path; none where it is neither."""
        return self._indices.get(path, []) if self.kind(path) in _LISTS else []

    @cached_property
    def _indices(self) -> dict[str, list[int]]:
        indices: dict[str, list[int]] = {}
        for path in self._origins:
            parent, _, name = path.rpartition(".")
            if name.isdigit():
                indices.setdefault(parent, []).append(int(name))
        return indices

    def expression(self, base: str, path: str) -> str:
        """The code of the module at a path, from the code of the network on. Raises NotExpressible where the plan moves it.

        Example:
            >>> kinds = {"": "Module", "body": "Sequential"}
            >>> origins = {path: ModuleOrigin(path, kind, torch_class=kind) for path, kind in kinds.items()}
            >>> ModuleTree(origins, Plan(())).expression("self", "body.0")
            'self.body[0]'
        """
        self.require_unmoved(path)
        code, walked = base, ""
        for name in path.split(".") if path else ():
            if name.isdigit() and self.kind(walked) in _LISTS:
                code += f"[{name}]"
            elif self.kind(walked) == "ModuleDict":
                code += f'["{name}"]'
            elif name.isidentifier():
                code += f".{name}"
            else:
                return f'{base}.get_submodule("{path}")'
            walked = f"{walked}.{name}".lstrip(".")
        return code

    def require_unmoved(self, path: str) -> None:
        """Raises NotExpressible where an edit of the plan puts the module at a path elsewhere, in a module around it or further
        back in its sequence."""
        for edit in self._edits:
            if edit.action != "initialise" and _moves(edit, path):
                raise NotExpressible(f"{edit.after.partition('(')[0]} comes beside {path!r}, which moves it")


def _moves(edit: Edit, path: str) -> bool:
    parent, _, name = edit.path.rpartition(".")
    rest = path.removeprefix(f"{parent}.") if parent else path
    is_sibling = name.isdigit() and rest.partition(".")[0].isdigit() and (not parent or path.startswith(f"{parent}."))
    is_inserted = edit.action == "insert" and (path == edit.path or is_sibling)
    return is_inserted or path.startswith(f"{edit.path}.") or (edit.action == "remove" and is_sibling)


def is_below(path: str, root: str) -> bool:
    """Whether a path is that of a module or of one in it."""
    return not root or path == root or path.startswith(f"{root}.")


def whole_subtrees(paths: Collection[str], among: Collection[str]) -> list[str]:
    """The roots of the largest subtrees in which all of `among` are in `paths`; together they have all of `paths`.

    Example:
        >>> whole_subtrees(["a.0", "a.1", "b.0"], ["a.0", "a.1", "b.0", "b.1"])
        ['a', 'b.0']
    """
    chosen, roots = set(paths), dict[str, None]()
    for path in paths:
        names = path.split(".")
        prefixes = [".".join(names[:count]) for count in range(len(names) + 1)]
        root = next(each for each in prefixes if each == path or all(p in chosen for p in among if is_below(p, each)))
        roots[root] = None
    return list(roots)
