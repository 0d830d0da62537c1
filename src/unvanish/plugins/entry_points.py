"""Entry points: what packages offer under a group, each under a name of its own. A broken offer is left out, and said once.

It knows no rule and no remedy, and imports no plugin before it is asked to.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Generic, TypeVar, cast, final

OURS = "unvanish"
KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PluginGroup(Generic[T]):
    """A group of entry points, and what may come in by it.

    Each entry stands for a class derived from `kind`, an instance of one, or a function that gives several. `noun` is what a person
    calls one, `key` the attribute that holds its name, in kebab-case as in `example`. `flaw` says what else is wrong with one; ""
    where nothing is. `built_in` is our own entry.
    """

    built_in: EntryPoint
    kind: type[T]
    noun: str
    key: str
    example: str
    flaw: Callable[[T], str]

    def installed(self) -> tuple[EntryPoint, ...]:
        """The entry points: ours first, also where the package was never installed, then those of others by name."""
        others = [entry for entry in entry_points(group=self.built_in.group) if entry.value != self.built_in.value]
        return (self.built_in, *sorted(others, key=lambda entry: (package_of(entry), entry.name)))

    def offered(self, thing: object) -> list[T]:
        """What a loaded entry point stands for. Raises TypeError, with what it gives, where that is something else."""
        if isinstance(thing, (type, self.kind)):
            return [self._made(thing)]
        if not callable(thing):
            raise TypeError(f"it gives {thing!r}, which is no {self.kind.__name__}")
        return [self._made(each) for each in cast("Iterable[object]", thing())]

    def objection(self, thing: T, packages: Mapping[str, str]) -> str:
        """Why one cannot join the others, whose packages are given by name; "" where it can."""
        kind, name = type(thing).__qualname__, getattr(thing, self.key, None)
        if not isinstance(name, str) or not KEBAB.fullmatch(name):
            return f"the {self.key} of {kind} is {name!r}, and must be in kebab-case, as in {self.example!r}"
        if name in packages:
            return f"the {self.key} {name} of {kind} is taken by {packages[name]}"
        return self.flaw(thing)

    def _made(self, thing: object) -> T:
        made = thing() if isinstance(thing, type) and issubclass(thing, self.kind) else thing
        if not isinstance(made, self.kind):
            name = thing.__qualname__ if isinstance(thing, type) else repr(thing)
            raise TypeError(f"it gives {name}, which is no {self.kind.__module__}.{self.kind.__qualname__}")
        return made


@final
class PluginRegistry(Generic[T]):
    """What came in by a door, by name, ours first, and the owner of what was said of all that was left out.

    `packages` tells which package each name comes from. `say` gets a line for each offer that cannot be used, once.
    """

    def __init__(self, door: PluginGroup[T], entries: Iterable[EntryPoint], *, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()
        things: dict[str, T] = {}
        packages: dict[str, str] = {}
        for entry in entries:
            package = package_of(entry)
            for thing in self._loaded(door, entry, package):
                if objection := door.objection(thing, packages):
                    self.leave_out(f"a {door.noun} of the plugin {package}", objection, package=package)
                else:
                    name = str(getattr(thing, door.key))
                    things[name], packages[name] = thing, package
        self.things: Mapping[str, T] = MappingProxyType(things)
        self.packages: Mapping[str, str] = MappingProxyType(packages)

    def leave_out(self, what: str, why: str, *, package: str) -> None:
        """Says, once, that something of a package is left out, why, and what to do about it."""
        line = f"{what} is left out: {why}; {_way_out(package)}"
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _loaded(self, door: PluginGroup[T], entry: EntryPoint, package: str) -> list[T]:
        """What is behind an entry point; nothing where it is broken. Our own is never left out: without it all looks well."""
        if package == OURS:
            return door.offered(entry.load())
        try:
            return door.offered(entry.load())
        except (Exception, SystemExit) as fault:
            self.leave_out(f"the plugin {package} ({entry.name} = {entry.value})", said_by(fault), package=package)
            return []


def package_of(entry: EntryPoint) -> str:
    """The distribution that an entry point belongs to; of one that no distribution brought, the package that it leads to."""
    return entry.value.split(":")[0].split(".")[0] if entry.dist is None else str(entry.dist.name)


def said_by(fault: BaseException) -> str:
    """A fault as its type and message."""
    return f"{type(fault).__name__}: {fault}".removesuffix(": ")


def say(line: str) -> None:
    """One line on standard error."""
    print(f"unvanish: {' '.join(line.split())}", file=sys.stderr)


def _way_out(package: str) -> str:
    if package == OURS:
        return "please report it, with the run's folder"
    return f"update it, tell its authors, or take it out with: pip uninstall {package}"
