"""Follows a process into those that it starts and forks, as long as a run lasts."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, final

from unvanish.import_hooks import when_imported
from unvanish.trials.children.environment import ChildEnvironment
from unvanish.trials.children.first_sign import FirstSign
from unvanish.trials.children.follow_order import FollowOrder

if TYPE_CHECKING:
    from unvanish.observe.structure.model_index import ModelIndex
    from unvanish.trials.children.watched_process import WatchedProcess

Release = Callable[[], "ModelIndex | None"]
"""Withdraws, in a forked process, the observation of the one that it was forked from, and returns that one's index of networks."""


@contextmanager
def following(order: FollowOrder, release: Release = lambda: None) -> Generator[ProcessFollower]:
    """A context in which the processes that this one starts or forks are watched, each once it trains.

    Arguments:
        order: which run they belong to.
        release: called first in a forked process.
    """
    environment, follower = ChildEnvironment(order), ProcessFollower(order, release)
    environment.install()
    try:
        yield follower
    finally:
        follower.stop()
        environment.remove()


@final
class ProcessFollower:
    """Has each process watched that is forked from this one, or from those; and this one, where `watch` is called."""

    def __init__(self, order: FollowOrder, release: Release = lambda: None) -> None:
        self._order, self._release, self._is_active = order, release, True
        self._watched: WatchedProcess | None = None
        self._sign: FirstSign | None = None
        self._model_index: ModelIndex | None = None
        self._cancel: Callable[[], None] = lambda: None
        os.register_at_fork(after_in_child=self._after_fork)  # Python has no way to take that back

    def stop(self) -> None:
        """Lets processes alone that are forked from now on."""
        self._is_active = False
        self._cancel()

    def watch(self, model_index: ModelIndex | None = None) -> None:
        """Has this very process watched from the first sign of a training on; `model_index` is what is known of its networks."""

        def attach() -> None:
            with suppress(Exception):
                from unvanish.trials.children.watched_process import WatchedProcess

                self._watched = WatchedProcess(self._order, model_index)
                self._watched.attach()

        def wait_for_sign() -> None:
            with suppress(Exception):
                self._sign = FirstSign(attach)

        self._model_index = model_index
        self._cancel = when_imported("torch", wait_for_sign)
        self._release = self._release_watched

    def close(self, ending: str) -> None:
        """Completes the record of this process, where it was watched."""
        if self._watched is not None:
            self._watched.close(ending)

    def _release_watched(self) -> ModelIndex | None:
        self._cancel()
        if self._sign is not None:
            self._sign.cancel()
        watched, self._watched, self._sign = self._watched, None, None
        return self._model_index if watched is None else watched.release()

    def _after_fork(self) -> None:
        if self._is_active:
            with suppress(Exception):
                self.watch(self._release())
