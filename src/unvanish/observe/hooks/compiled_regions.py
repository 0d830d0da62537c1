"""Tells when code that torch.compile has compiled begins and ends to run, and has it run eagerly where that is wanted.

Dynamo, torch's compiler, traces whatever Python runs in a compiled region, hooks and wrappers of ours included: it would compile
them in, compile again for each other set of hooks, and break the graph at what it cannot trace. So none of them may be in place
while a region runs. Every region is entered and left through two functions of dynamo, which are wrapped here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from torch.optim import Optimizer

from unvanish.import_hooks import when_imported
from unvanish.monkey_patch import CallablePatch

_COMPILER = "torch._dynamo"
_CALLER_DEPTH = 2  # frames between a wrapper here and the function of dynamo that has called it


def _step_of_nothing(_: Any) -> None:
    """A step of an optimizer without parameters."""


_HOOKED_STEP = Optimizer.profile_hook_step(_step_of_nothing).__code__  # the function in which every optimizer calls its hooks


class RegionListener(Protocol):
    """Receives what happens around compiled regions, with the frame of the function of dynamo that enters or leaves one."""

    def runs_eagerly(self, frame: FrameType, callback: Any) -> bool:
        """Whether a region that is about to begin, outside of any other, is to run as if it were not compiled by `callback`."""
        ...

    def region_entered(self, frame: FrameType, *, is_stepping: bool) -> None:
        """A region begins to run compiled: what dynamo must not trace is removed here.

        `is_stepping`: whether an optimizer is making a step meanwhile, so that torch may be iterating over its hooks.
        """
        ...

    def region_left(self, frame: FrameType, *, is_over: bool) -> None:
        """No region runs any more (`is_over`), or a function that is excluded from compilation begins within one."""
        ...


class CompiledRegions:
    """Watches compiled regions of all threads, from `attach` to `detach`; the compiler may be loaded at any time in between."""

    def __init__(self, listener: RegionListener) -> None:
        self._listener = listener
        # By thread: the functions of dynamo that are running, and whether what they call is compiled.
        self._entries: dict[int, list[tuple[FrameType, bool]]] = {}
        self._entering: FrameType | None = None
        self._patches: tuple[CallablePatch, ...] = ()
        self._cancel_wait: Callable[[], None] = lambda: None

    def attach(self) -> None:
        """Begins to watch. Does not import the compiler, which would take seconds."""
        self._cancel_wait = when_imported(_COMPILER, self._patch_compiler)

    def detach(self) -> None:
        """Ends watching: the listener is not called from now on."""
        self._cancel_wait()
        for patch in self._patches:
            patch.remove()
        self._patches = ()
        self._entries.clear()

    @property
    def is_inside(self) -> bool:
        """Whether a compiled region runs, in any thread."""
        return any(entries[-1][1] for entries in tuple(self._entries.values()) if entries)

    def _patch_compiler(self) -> None:
        """Wraps the functions of dynamo; a torch in which they have other names is watched without regard to regions."""
        from torch._dynamo import eval_frame

        wrappers = {"_callback_from_stance": self._choose_callback, "_maybe_set_eval_frame": self._set_callback}
        if any(not callable(getattr(eval_frame, name, None)) for name in wrappers):
            return
        self._patches = tuple(CallablePatch(eval_frame, name, wrapper) for name, wrapper in wrappers.items())
        for patch in self._patches:
            patch.install()

    def _choose_callback(self, original: Callable[[Any], Any], /, callback: Any) -> Any:
        """Dynamo's choice of what compiles the frames of a region that it is about to enter: None where it is to run eagerly."""
        frame = self._entering = sys._getframe(_CALLER_DEPTH)  # pyright: ignore[reportPrivateUsage]
        if callback is None or self.is_inside or is_within_optimizer_step(frame):
            return original(callback)
        if not self._listener.runs_eagerly(frame, callback):
            return original(callback)
        _end_frame_count()
        return None

    def _set_callback(self, original: Callable[[Any], Any], /, callback: Any) -> Any:
        """Sets what compiles the frames from here on; dynamo calls this when it enters and when it leaves a region."""
        frame, was_inside = sys._getframe(_CALLER_DEPTH), self.is_inside  # pyright: ignore[reportPrivateUsage]
        entries = self._entries.setdefault(threading.get_ident(), [])
        if frame is self._entering:
            # A function that is excluded from compilation is entered by None as well, also by dynamo itself while it compiles.
            is_excluded = callback is None and frame.f_locals.get("prior") is not None
            is_compiled = callback is not None or (was_inside and not is_excluded)
            if is_compiled and not was_inside:
                self._listener.region_entered(frame, is_stepping=is_within_optimizer_step(frame))
            entries.append((frame, is_compiled))
        else:
            while entries and any(entry is frame for entry, _ in entries):
                entries.pop()
            if not was_inside and self.is_inside:  # back from an excluded function
                self._listener.region_entered(frame, is_stepping=is_within_optimizer_step(frame))
        self._entering = None
        previous = original(callback)
        if was_inside and not self.is_inside:
            self._listener.region_left(frame, is_over=not entries)
        return previous


def is_within_optimizer_step(frame: FrameType | None) -> bool:
    """Whether `frame` belongs to an optimizer's step, which is not compiled as a whole then."""
    while frame is not None:
        if frame.f_code is _HOOKED_STEP:
            return True
        frame = frame.f_back
    return False


def _end_frame_count() -> None:
    """Has dynamo not count the frames that it compiles: with `fullgraph=True` it raises where there is none."""
    from torch._C._dynamo import eval_frame

    count = getattr(eval_frame, "set_fullgraph_compiled_frame_count", None)  # torch before 2.10 does not count
    if count is not None:
        count(-1)
