"""Loads what packages offer under a group of entry points; a broken plugin is left out, with one line that says why.

No plugin is imported before it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Generic, TypeVar, cast, final

from unvanish.standard_error import print_to_stderr

OWN_PACKAGE = "unvanish"
KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PluginGroup(Generic[T]):
    """A group of entry points, and what may be offered under it.

    Each entry point stands for a class derived from `kind`, an instance of one, or a function that gives several.

    Arguments:
        built_in: the entry point of this package itself, also where the package was never installed.
        kind: the type of a plugin.
        noun: what a person calls one.
        key: the attribute that holds a plugin's name, in kebab-case.
        example: such a name.
        flaw: says what else is wrong with a plugin; "" where nothing is.
    """

    built_in: EntryPoint
    kind: type[T]
    noun: str
    key: str
    example: str
    flaw: Callable[[T], str]

    def entries(self) -> tuple[EntryPoint, ...]:
        """The installed entry points: our own first, then those of other packages by name."""
        others = [entry for entry in entry_points(group=self.built_in.group) if entry.value != self.built_in.value]
        return (self.built_in, *sorted(others, key=lambda entry: (package_of(entry), entry.name)))

    def plugins_of(self, loaded: object) -> list[T]:
        """The plugins that a loaded entry point stands for. Raises TypeError, with what it gives, where that is something else."""
        if isinstance(loaded, (type, self.kind)):
            return [self._instance(loaded)]
        if not callable(loaded):
            raise TypeError(f"it gives {loaded!r}, which is no {self.kind.__name__}")
        return [self._instance(each) for each in cast("Iterable[object]", loaded())]

    def objection(self, plugin: T, packages: Mapping[str, str]) -> str:
        """Why a plugin cannot join the others, whose packages are given by name; "" where it can."""
        kind, name = type(plugin).__qualname__, getattr(plugin, self.key, None)
        if not isinstance(name, str) or not KEBAB.fullmatch(name):
            return f"the {self.key} of {kind} is {name!r}, and must be in kebab-case, as in {self.example!r}"
        if name in packages:
            return f"the {self.key} {name} of {kind} is taken by {packages[name]}"
        return self.flaw(plugin)

    def _instance(self, loaded: object) -> T:
        instance = loaded() if isinstance(loaded, type) and issubclass(loaded, self.kind) else loaded
        if not isinstance(instance, self.kind):
            name = loaded.__qualname__ if isinstance(loaded, type) else repr(loaded)
            raise TypeError(f"it gives {name}, which is no {self.kind.__module__}.{self.kind.__qualname__}")
        return instance


@final
class PluginRegistry(Generic[T]):
    """The plugins of a group by name, our own first; those that cannot be used are left out.

    Arguments:
        group: what may be offered.
        entries: the entry points to load.
        warn: called with a line for each plugin that cannot be used, once.

    `plugins` are by name; `packages` says which package each name comes from.
    """

    def __init__(self, group: PluginGroup[T], entries: Iterable[EntryPoint], *, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._warned: set[str] = set()
        plugins: dict[str, T] = {}
        packages: dict[str, str] = {}
        for entry in entries:
            package = package_of(entry)
            for plugin in self._load(group, entry, package):
                if objection := group.objection(plugin, packages):
                    self.leave_out(f"a {group.noun} of the plugin {package}", objection, package=package)
                else:
                    name = str(getattr(plugin, group.key))
                    plugins[name], packages[name] = plugin, package
        self.plugins: Mapping[str, T] = MappingProxyType(plugins)
        self.packages: Mapping[str, str] = MappingProxyType(packages)

    def leave_out(self, what: str, reason: str, *, package: str) -> None:
        """Warns, once, that something of a package is left out, why, and what to do about it."""
        line = f"{what} is left out: {reason}; {_advice(package)}"
        if line not in self._warned:
            self._warned.add(line)
            self._warn(line)

    def _load(self, group: PluginGroup[T], entry: EntryPoint, package: str) -> list[T]:
        """The plugins of an entry point; none where it is broken. Our own always loads: without rules every run looks healthy."""
        if package == OWN_PACKAGE:
            return group.plugins_of(entry.load())
        try:
            return group.plugins_of(entry.load())
        except (Exception, SystemExit) as fault:
            self.leave_out(f"the plugin {package} ({entry.name} = {entry.value})", describe_fault(fault), package=package)
            return []


def package_of(entry: EntryPoint) -> str:
    """The distribution that an entry point belongs to; of one that no distribution brought, the package that it leads to."""
    return entry.value.split(":")[0].split(".")[0] if entry.dist is None else str(entry.dist.name)


def describe_fault(fault: BaseException) -> str:
    """A fault as its type and message."""
    return f"{type(fault).__name__}: {fault}".removesuffix(": ")


def warn_on_stderr(line: str) -> None:
    """Prints one line on standard error."""
    print_to_stderr(" ".join(line.split()))


def _advice(package: str) -> str:
    if package == OWN_PACKAGE:
        return "please report it, with the run's folder"
    return f"update it, tell its authors, or take it out with: pip uninstall {package}"
