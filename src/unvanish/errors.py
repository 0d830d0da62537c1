"""Every exception that unvanish raises, in one tree. Each message says what was wrong, where, and what to do next.

    UnvanishError
    ├── UsageError            an option or argument that cannot be used
    │   └── FolderTaken       the folder holds another run
    ├── ScriptError           the training script cannot be found, read or watched
    ├── RecordError           a run's file is foreign, truncated, or newer than this version
    ├── ObservationError      nothing can be observed: no module, no backward pass
    ├── TraceError            a network cannot be traced: no gradient, a loss that is no number, values that are not finite
    ├── RemedyError           a remedy cannot do what was asked
    │   ├── UnknownRemedy     no remedy has that name
    │   ├── NotApplicable     the remedy cannot act on this network; the reason is in the message
    │   └── UndoError         the network was changed since, so the change cannot be taken back
    └── TrialError            a trial cannot be set up (a trial that crashes is a result, not an error)

This module raises nothing itself and imports nothing of the package.
"""

from __future__ import annotations


class UnvanishError(Exception):
    """The root: catching it catches everything that unvanish raises on its own account."""


class UsageError(UnvanishError):
    """An option or argument cannot be used."""


class FolderTaken(UsageError):
    """The folder for a run holds another one."""


class ScriptError(UnvanishError):
    """The training script cannot be found, read or watched."""


class RecordError(UnvanishError):
    """A run's file is foreign, truncated, or written by a newer version."""


class ObservationError(UnvanishError):
    """There was nothing to observe: no module, no backward pass."""


class TraceError(UnvanishError):
    """A network cannot be traced; the message says where the gradient ends or stops being a number."""


class RemedyError(UnvanishError):
    """A remedy cannot do what was asked."""


class UnknownRemedy(RemedyError):
    """No remedy has that name."""


class NotApplicable(RemedyError):
    """The remedy cannot act on this network; the message gives the reason."""


class UndoError(RemedyError):
    """The network was changed since the remedy, so the change cannot be taken back."""


class TrialError(UnvanishError):
    """A trial cannot be set up. One that crashes is a result, not an error."""
