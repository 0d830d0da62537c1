"""Changes to a network as data: the edits of a change, plans of remedies, and the prescription that proposes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from unvanish.record.initial_values import InitialValues
from unvanish.record.structure import Entry, Location

# The remedies that can be applied. Rules may name others of the field, which a person can apply by hand.
REMEDY_NAMES = frozenset(
    {
        *("relu", "leaky-relu", "elu", "selu", "gelu", "silu", "tailored-activation"),
        *("glorot-init", "he-init", "lecun-init", "orthogonal-init", "critical-init", "delta-orthogonal-init", "lsuv-init"),
        *("identity-rnn-init", "forget-bias", "zero-init-residual"),
        *("batchnorm", "layernorm", "groupnorm", "rmsnorm", "online-norm", "dynamic-tanh"),
        *("lstm", "gru", "residual", "pre-norm"),
        *("learning-rate", "warmup", "adamw", "sgd-momentum", "muon"),
        *("clip-norm", "clip-adaptive", "loss-scaling", "skip-non-finite", "epsilon"),
        *("standardise-input", "logits", "bounded-logits", "sigmoid-output", "softmax-output", "log-softmax-output"),
    }
)


def known_remedies(remedies: Sequence[str]) -> tuple[str, ...]:
    """Those of the remedies, names or names joined by " + ", that can be applied by name."""
    return tuple(remedy for remedy in remedies if REMEDY_NAMES.issuperset(name.strip() for name in remedy.split("+")))


@dataclass(frozen=True, slots=True)
class SourcePoint:
    """Where a call in the user's source ends: file, line from 1, and column from 0 in UTF-8 bytes. No two calls end alike."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class CallExchange:
    """A functional call in the user's source that is exchanged: `before` and `after` are such as "sigmoid(x)" and "relu(x)".

    `points` lead to it: the call in a method of the module and, where that calls a function of the user's, the call inside that
    one, and so on. `text` is the line of the last one, without its indentation.
    """

    points: tuple[SourcePoint, ...]
    before: str
    after: str
    text: str = ""


class EditTarget(StrEnum):
    """What an edit alters. An `unvanish.apply` line for an edit of the optimizer stands behind the one that builds the optimizer,
    a line for an edit of the network before it."""

    NETWORK = "network"
    OPTIMIZER = "optimizer"


@dataclass(frozen=True, slots=True)
class Edit:
    """One alteration of a network or of an optimizer.

    Arguments:
        action: replace, insert, remove, initialise or set.
        path: the module path; for an edit of an optimizer "optimizer", or "optimizers[0]" where there are several.
        before: what a person would read there before the edit, such as "Sigmoid()".
        after: what a person would read there after it, such as "ReLU()".
        calls: the functional calls in the user's source that are exchanged. The line that built a module is its ModuleOrigin.
        target: what is altered. A network may have a module called "optimizer", so `path` does not tell that.
        values: the new values of the parameters that are initialised; none where they cannot be told as data.
    """

    action: str
    path: str
    before: str
    after: str
    calls: tuple[CallExchange, ...] = ()
    target: EditTarget = EditTarget.NETWORK
    values: tuple[InitialValues, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What remedies did to a live network: their names, every edit, and how to undo them.

    `undo()` restores the network, and the optimizer if one was given, bit for bit. A second call does nothing.
    """

    remedies: tuple[str, ...]
    edits: tuple[Edit, ...]
    revert: Callable[[], None] = field(repr=False, compare=False)

    def undo(self) -> None:
        """Restores what the change altered. Raises UndoError where the network was altered again since."""
        self.revert()


@dataclass(frozen=True, slots=True)
class ModuleOrigin:
    """The line of the user's source that built a module; None where no line of the user's did.

    `through_library` says that this line called a library which built the module, so that the line does not call its class.
    `torch_class` is the class of torch.nn that the module is an instance of, the most special one: "Linear" for a subclass of it,
    "Module" for most classes of the user's; "" where it is not known. `is_shared` says that the module stands at other paths too.
    """

    path: str
    class_name: str
    location: Location | None = None
    through_library: bool = False
    torch_class: str = ""
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One remedy of a plan, with its edits. `needs_batch` says that it cannot act without an example batch."""

    remedy: str
    edits: tuple[Edit, ...]
    needs_batch: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What remedies, in this order, would do to a live network; or, in `refusal`, why they cannot act on it."""

    remedies: tuple[str, ...]
    steps: tuple[PlanStep, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class PatchContext:
    """What a patch needs to know of a live program: where a change can enter, which line built each module of the network, and
    the plans that were made on it. `outside_modules` are modules that live outside of the network, without paths. Only files below
    `project_folders` may be edited; without any, all that are not plainly a library's."""

    entry: Entry | None
    origins: tuple[ModuleOrigin, ...] = ()
    plans: tuple[Plan, ...] = ()
    outside_modules: tuple[ModuleOrigin, ...] = ()
    project_folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemedyForecast:
    """Remedies that are taken together, and what they would do before any training.

    `predicted` is log10 of the gradient's RMS at the input over that at the output as theory expects it of the treated network,
    `traced` the same as one exact look measures it; None where there is no number. `parameters` is the ratio of the treated
    network's size to that of the untreated one. `refusal` says why the remedies cannot act; then nothing else is known.
    """

    remedies: tuple[str, ...]
    predicted: float | None = None
    traced: float | None = None
    parameters: float = 1.0
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Prescription:
    """What to take for a finding, best first, and the untreated network: `predicted` and `traced` as in RemedyForecast."""

    finding: str
    predicted: float | None
    traced: float | None
    candidates: tuple[RemedyForecast, ...]

    @property
    def best(self) -> tuple[tuple[str, ...], ...]:
        """The candidates that can act, by name."""
        return tuple(candidate.remedies for candidate in self.candidates if not candidate.refusal)
