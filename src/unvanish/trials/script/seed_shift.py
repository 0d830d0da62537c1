"""Shifts the seeds that a script sets by a trial's number, so that one script gives several comparable trainings.

The number is added to every integer seed that the script gives to `random`, numpy or torch; 0 leaves all as written. What the
script does not seed starts from a fixed state, so that trials of one number get the same data in the same order. Generators that
a script seeds by a method of their own (`torch.Generator().manual_seed`) keep their seed."""

from __future__ import annotations

import operator
import random
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from typing import Any

from unvanish.import_hooks import when_imported
from unvanish.monkey_patch import CallablePatch

SEED_NAMES = ("seed", "a", "x")  # names of the seed among the parameters of the seeding functions


@contextmanager
def shift_seeds(offset: int) -> Generator[None]:
    """A context in which seeds are shifted by `offset`. numpy and torch are patched when the script imports them, not before.

    Example:
        >>> import random
        >>> random.seed(8)
        >>> expected = random.random()
        >>> with shift_seeds(1):
        ...     random.seed(7)
        ...     random.random() == expected
        True
    """
    shift = SeedShift(offset)
    cancel_waits = (when_imported("numpy", shift.patch_numpy), when_imported("torch", shift.patch_torch))
    try:
        shift.patch_random()
        yield
    finally:
        for cancel in cancel_waits:
            cancel()
        shift.restore()


class SeedShift:
    """Owner of the patched seeding functions, and of the count of generators that were made without a seed."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._patches: list[CallablePatch] = []
        self._unseeded = count()
        self._nesting = threading.local()

    def patch_random(self) -> None:
        """Seeds the standard library's generator with the offset, and shifts the seeds that the script sets there."""
        random.seed(self._offset)
        self._patch(random, "seed")
        self._patch(random.Random, "seed", position=1)

    def patch_numpy(self) -> None:
        """Does the same for numpy, and gives a seed to generators that are made without one."""
        numpy_random = import_module("numpy.random")
        numpy_random.seed(self._offset)
        self._patch(numpy_random, "seed")
        self._patch(numpy_random, "default_rng", fill=True)
        self._patch(numpy_random, "RandomState", fill=True)  # a compiled class, whose seed is not reached otherwise

    def patch_torch(self) -> None:
        """Does the same for torch, whose own initial seed is fixed and only needs the shift."""
        torch, cuda = import_module("torch"), import_module("torch.cuda")
        if self._offset:
            torch.manual_seed(torch.initial_seed() + self._offset)
        is_same = torch.manual_seed is torch.random.manual_seed  # torch's compiler, once loaded, puts a wrapper into `torch`
        self._patch(torch.random, "manual_seed", aliases=(torch,))
        if not is_same:
            self._patch(torch, "manual_seed")
        for name in ("manual_seed", "manual_seed_all"):
            self._patch(cuda, name)

    def restore(self) -> None:
        """Restores every patched function."""
        while self._patches:
            self._patches.pop().remove()

    def _patch(self, owner: Any, name: str, *, position: int = 0, fill: bool = False, aliases: Sequence[Any] = ()) -> None:
        """Shifts the seed of a function. Seeding functions call each other, so only the outermost call shifts."""

        def call_with_shifted_seed(original: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            if getattr(self._nesting, "inside", False):
                return original(*args, **kwargs)
            self._nesting.inside = True
            try:
                args, kwargs = self._shift_arguments(args, kwargs, position=position, fill=fill)
                return original(*args, **kwargs)
            finally:
                self._nesting.inside = False

        patch = CallablePatch(owner, name, call_with_shifted_seed, aliases=aliases)
        patch.install()
        self._patches.append(patch)

    def _shift_arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, position: int, fill: bool
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
