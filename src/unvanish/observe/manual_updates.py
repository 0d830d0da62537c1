"""Detects the steps of a training loop without an optimizer: a step ends where the weights have changed after a backward call."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from unvanish.observe.statistics.parameter_updates import has_changed, take_fingerprint


class ManualSteps:
    """Compares the parameters' first elements with a copy that was made after the last backward call."""

    def __init__(self) -> None:
        self._fingerprint: list[tuple[Tensor, Tensor]] = []
        self._is_manual = False

    def expect_update(self, parameters: Iterable[Tensor]) -> None:
        """Copies the parameters' first elements: from here on the script may update them."""
        self._fingerprint = take_fingerprint(parameters)

    def has_ended(self) -> bool:
        """Whether a step has ended when the next forward or backward pass begins.

        Once a first update was found, every pass after a backward call is taken to follow an update: that needs no comparison.
        """
        return bool(self._fingerprint) and (self._is_manual or self.has_updated())

    def has_updated(self) -> bool:
        """Whether the parameters were changed since `expect_update`. Synchronises with the device."""
        return bool(self._fingerprint) and has_changed(self._fingerprint)

    def end_step(self) -> None:
        """The step whose update was found has been recorded."""
        self._is_manual = True
        self.discard()

    def discard(self) -> None:
        """Releases the copy: an optimizer takes over, or observing ends."""
        self._fingerprint = []
