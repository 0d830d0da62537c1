"""Replaces a function, method or class of another package by a wrapper, and removes that wrapper again without undoing others."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType, TracebackType
from typing import Any, Self, final

_MARK = "__unvanish_replacement__"  # attribute of a replacement that leads to its record
_ABSENT = object()  # the owner inherits the attribute, or has none of its own


def skipped_by_warnings(function: FunctionType) -> Any:
    """The function, whose frames `warnings.warn` passes over when it looks for the line of the program that a warning is about.

    It does so for frames of the import system, which it knows by these two words in their file's name. Without this, a warning
    of torch with a `stacklevel` would name our line in place of the user's.

    Example:
        >>> import warnings
        >>> @skipped_by_warnings
        ... def call():
        ...     warnings.warn("odd", stacklevel=2)
        >>> "(importlib._bootstrap)" in call.__code__.co_filename
        True
    """
    code = function.__code__
    function.__code__ = code.replace(co_filename=f"{code.co_filename} (importlib._bootstrap)")
    return function


@final
class CallablePatch:
    """A wrapper around a callable of another package, from `install` to `remove`; also a context manager.

    Arguments:
        owner: the module, class or instance that holds the callable.
        name: its attribute name.
        wrapper: called as `wrapper(original, *args, **kwargs)` in place of the original; what it returns or raises is what the
            caller gets. For a method patched on its class, `args` begins with the instance; on an instance, `original` is bound.
        aliases: further owners that hold the same callable under the same name and get the same replacement; those that hold
            something else are left alone.

    The replacement keeps the original's name, module, docstring and `__wrapped__`. A class is replaced by a subclass: calling it
    goes through `wrapper`, `isinstance` and `issubclass` answer as for the original. Static and class methods stay such; `args` of
    a class method begins with the class.

    Not thread-safe: install and remove from one thread. A call costs one more Python frame.

    Example:
        >>> import math
        >>> from unvanish.monkey_patch import CallablePatch
        >>> arguments = []
        >>> def record(original, /, *args, **kwargs):
        ...     arguments.append(args)
        ...     return original(*args, **kwargs)
        >>> with CallablePatch(math, "sqrt", record):
        ...     math.sqrt(4.0)
        2.0
        >>> math.sqrt(9.0), arguments
        (3.0, [(4.0,)])
    """

    def __init__(self, owner: Any, name: str, wrapper: Callable[..., Any], *, aliases: Sequence[Any] = ()) -> None:
        self._owners, self._name, self._wrapper = (owner, *aliases), name, wrapper
        self._replacement: _Replacement | None = None

    def install(self) -> None:
        """Puts the wrapper in place.

        Raises AttributeError where the owner has no such attribute, TypeError where it is not callable, RuntimeError where the
        patch is installed already.
        """
        if self._replacement is not None:
            raise RuntimeError(f"{self._name} is patched already")
        stored = inspect.getattr_static(self._owners[0], self._name)
        holders = [owner for owner in self._owners if inspect.getattr_static(owner, self._name, _ABSENT) is stored]
        previous = [(holder, vars(holder).get(self._name, _ABSENT)) for holder in holders]
        self._replacement = _Replacement(getattr(self._owners[0], self._name), stored, self._wrapper, previous)
        for holder in holders:
            setattr(holder, self._name, self._replacement.value)

    def remove(self) -> None:
        """Restores the original wherever the replacement still stands; removing twice does nothing more.

        Where somebody else has replaced the attribute or wrapped ours since, that stays, and ours only passes calls on to the
        original.
        """
        replacement, self._replacement = self._replacement, None
        if replacement is None:
            return
        replacement.is_active = False
        for holder, _ in replacement.previous:
            if vars(holder).get(self._name) is replacement.value:
                original = replacement.active_below(holder)
                if original is _ABSENT:
                    delattr(holder, self._name)
                else:
                    setattr(holder, self._name, original)

    @property
    def replacement(self) -> Any:
        """What stands in the owners while the patch is installed; None otherwise."""
        return None if self._replacement is None else self._replacement.value

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.remove()


def patch_in_package(module: str, name: str, wrapper: Callable[..., Any]) -> CallablePatch | None:
    """A patch of a function, or of a "Class.method", wherever its top-level package holds it; it is not installed yet.

    Arguments:
        module: the imported module that defines it.
        name: its name there.
        wrapper: as for `CallablePatch`.

    None where the module has no callable of that name.

    Example:
        >>> import json
        >>> with patch_in_package("json", "dumps", lambda original, value: original([value])):
        ...     json.dumps(1)
        '[1]'
    """
    package, (owner, _, attribute) = module.partition(".")[0], name.rpartition(".")
    holder: Any = vars(sys.modules[module]).get(owner) if owner else sys.modules[module]
    if not isinstance(holder, type | ModuleType) or not callable(vars(holder).get(attribute)):
        return None
    imported: list[tuple[str, object]] = [] if owner else list(sys.modules.items())
    modules = [each for key, each in imported if key.partition(".")[0] == package and isinstance(each, ModuleType)]
    return CallablePatch(holder, attribute, wrapper, aliases=[each for each in modules if each is not holder])


@final
class _Replacement:
    """What stands in the owners (`value`), and what each held before (`previous`)."""

    def __init__(self, original: Any, stored: Any, wrapper: Callable[..., Any], previous: Sequence[tuple[Any, Any]]) -> None:
        self.is_active, self.previous = True, tuple(previous)
        descriptor = type(stored) if isinstance(stored, staticmethod | classmethod) else None
        target: Any = stored.__func__ if isinstance(stored, staticmethod | classmethod) else original
        if not callable(target):
            raise TypeError(f"{target!r} is not callable")

        @skipped_by_warnings
        def call(*args: Any, **kwargs: Any) -> Any:
            return wrapper(target, *args, **kwargs) if self.is_active else target(*args, **kwargs)

        substitute = _subclass_called_by(call, target) if isinstance(target, type) else functools.wraps(target)(call)
        self.value: Any = substitute if descriptor is None else descriptor(substitute)
        setattr(substitute if descriptor is None else self.value, _MARK, self)

    def active_below(self, holder: Any) -> Any:
        """What is to stand in a holder without this replacement: the one before it, or further down where that is withdrawn too."""
        below = next(value for owner, value in self.previous if owner is holder)
        record = getattr(below, _MARK, None)
        # `functools.wraps` copies the mark to wrappers of other people, which must stay.
        if isinstance(record, _Replacement) and record.value is below and not record.is_active:
            return record.active_below(holder)
        return below


def _subclass_called_by(call: Callable[..., Any], original: type[Any]) -> type[Any]:
    """A class that passes for `original` and makes its instances by `call`. Its own subclasses are made as usual."""

    class Meta(type(original)):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs) if cls is substitute else super().__call__(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, original) if cls is substitute else super().__instancecheck__(instance)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, original) if cls is substitute else super().__subclasscheck__(subclass)

    substitute = Meta(original.__name__, (original,), {"__doc__": original.__doc__, "__module__": original.__module__})
    return substitute
