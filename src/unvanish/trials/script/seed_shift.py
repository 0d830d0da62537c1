"""Shifts the seeds that the script sets, so that one script gives several comparable trainings. It draws no random number.

A trial's number is added to every integer seed that the script gives to `random`, numpy or torch; 0 leaves all as written.
What the script does not seed starts from a fixed state all the same, so that trials of one number see the same data in
the same order. Generators that a script seeds by a method of their own (`torch.Generator().manual_seed`) keep their seed.
"""

from __future__ import annotations

import operator
import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from itertools import count
from typing import Any

from unvanish.trials.script.import_hooks import when_imported

SEED_NAMES = ("seed", "a", "x")  # what the seeding functions call their seed


@contextmanager
def shift_seeds(offset: int) -> Generator[None]:
    """A context in which seeds are shifted by `offset`. numpy and torch are met when the script imports them, and not before."""
    shift = SeedShift(offset)
    cancel = (when_imported("numpy", shift.meet_numpy), when_imported("torch", shift.meet_torch))
    try:
        shift.meet_random()
        yield
    finally:
        for withdraw in cancel:
            withdraw()
        shift.leave()


class SeedShift:
    """Owner of the seeding functions that were replaced, and of the number of generators that were made without a seed."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._replaced: list[tuple[Any, str, Any]] = []
        self._unseeded = count()
        self._inside = threading.local()

    def meet_random(self) -> None:
        """Seeds the standard library's generator, and shifts what the script seeds there."""
        random.seed(self._offset)
        self._replace(random, "seed", self._shifting(random.seed))
        self._replace(random.Random, "seed", self._shifting(random.Random.seed, position=1))

    def meet_numpy(self) -> None:
        """The same for numpy, also for generators that are made without a seed."""
        numpy_random = import_module("numpy.random")
        numpy_random.seed(self._offset)
        self._replace(numpy_random, "seed", self._shifting(numpy_random.seed))
        self._replace(numpy_random, "default_rng", self._shifting(numpy_random.default_rng, fill=True))
        self._replace(numpy_random, "RandomState", _stand_in(numpy_random.RandomState, self._seeds))

    def meet_torch(self) -> None:
        """The same for torch, whose own starting seed is fixed and only needs the shift."""
        torch, cuda = import_module("torch"), import_module("torch.cuda")
        if self._offset:
            torch.manual_seed(torch.initial_seed() + self._offset)
        self._replace(torch.random, "manual_seed", self._shifting(torch.manual_seed))
        self._replace(torch, "manual_seed", torch.random.manual_seed)
        for name in ("manual_seed", "manual_seed_all"):
            self._replace(cuda, name, self._shifting(getattr(cuda, name)))

    def leave(self) -> None:
        """Puts every function back."""
        while self._replaced:
            owner, name, original = self._replaced.pop()
            setattr(owner, name, original)

    def _replace(self, owner: Any, name: str, substitute: Any) -> None:
        self._replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, substitute)

    def _shifting(self, function: Callable[..., Any], *, position: int = 0, fill: bool = False) -> Callable[..., Any]:
        """The function with its seed shifted. Seeding functions call each other, so only the outermost call shifts."""

        @wraps(function)
        def shifted(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "call", False):
                return function(*args, **kwargs)
            self._inside.call = True
            try:
                args, kwargs = self._seeds(args, kwargs, position=position, fill=fill)
                return function(*args, **kwargs)
            finally:
                self._inside.call = False

        return shifted

    def _seeds(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, position: int = 0, fill: bool = True
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with the seed shifted, at `position` or under its name; `fill` gives one where there is none."""
        if len(args) > position:
            return (*args[:position], self._shift(args[position], fill=fill), *args[position + 1 :]), kwargs
        if kwargs:
            return args, {name: self._shift(value, fill=fill) if name in SEED_NAMES else value for name, value in kwargs.items()}
        return ((*args, self._shift(None, fill=True)), kwargs) if fill else (args, kwargs)

    def _shift(self, seed: Any, *, fill: bool) -> Any:
        if seed is None:
            return [self._offset, next(self._unseeded)] if fill else None
        try:
            return operator.index(seed) + self._offset
        except TypeError:  # text, or a state: nothing that a number can be added to
            return seed


def _stand_in(original: type[Any], seeds: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]) -> type[Any]:
    """A class in place of a compiled one, whose seed is not reached otherwise. Its instances are the original's."""

    class Meta(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is stand_in:
                args, kwargs = seeds(args, kwargs)
                return original(*args, **kwargs)
            return super().__call__(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, original) if cls is stand_in else super().__instancecheck__(instance)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, original) if cls is stand_in else super().__subclasscheck__(subclass)

    stand_in = Meta(original.__name__, (original,), {"__doc__": original.__doc__, "__module__": original.__module__})
    return stand_in
