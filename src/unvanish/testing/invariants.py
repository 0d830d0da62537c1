"""What every remedy promises of every network, tried out on one network at a time. It judges no cure: for that there are races."""

from __future__ import annotations

import copy
import gc
import io
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.change import Change
from unvanish.remedies import Context, Remedy, apply
from unvanish.testing.module_identity import ModuleIdentity
from unvanish.testing.networks import Patient
from unvanish.testing.state_snapshot import difference, luck, plain, state_snapshot

SEED = 3  # of what a remedy draws


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one remedy on one network: whether it acted, every promise that it broke, and its words where it refused."""

    applied: bool
    faults: tuple[str, ...]
    refusals: tuple[str, ...]

    @property
    def word(self) -> str:
        """The outcome in a word or two."""
        return "broken" if self.faults else "applied" if self.applied else "not applicable"


@dataclass(frozen=True, slots=True)
class Subject:
    """One network that a remedy is tried on, its optimizer, which has taken a step, and the batch; equal for equal seeds."""

    patient: Patient
    network: nn.Module
    optimizer: Optimizer
    batch: Any

    @classmethod
    def of(cls, patient: Patient, *, training: bool = True) -> Subject:
        """A fresh one. Torch's random state stays as it is."""
        with seeded(0):
            network, batch = patient.build(), patient.batch()
            subject = cls(patient, network, patient.optimizer(network), batch)
            subject.step()
        network.train(training)
        return subject

    def treat(self, remedy: Remedy) -> Change:
        """The change that the remedy makes, given all that a caller can give."""
        catalogue, loss = {remedy.name: remedy}, self.patient.loss
        return apply(
            self.network, remedy.name, optimizer=self.optimizer, inputs=self.batch, loss=loss, seed=SEED, catalogue=catalogue
        )

    def step(self) -> Tensor:
        """The loss at one training step."""
        self.optimizer.zero_grad()
        loss = self.patient.loss(self.network(self.batch))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def answer(self, network: nn.Module | None = None) -> Tensor:
        """What a network, by default the subject's own, makes of the batch in evaluation mode; left in that mode."""
        with torch.no_grad():
            return (self.network if network is None else network).eval()(self.batch)

    def picture(self) -> dict[str, Any]:
        """All that an undo has to restore."""
        return state_snapshot(self.network, self.optimizer)


@dataclass(slots=True)
class _Ledger:
    """The promises that were broken so far, and the refusals that were heard."""

    remedy: Remedy
    faults: list[str] = field(default_factory=list[str])
    refusals: list[str] = field(default_factory=list[str])

    @contextmanager
    def promise(self, what: str) -> Generator[None]:
        """Notes what is raised inside as a broken promise, and goes on."""
        try:
            yield
        except Broken as fault:
            self.faults.append(f"{what}: {fault}")
        except Exception as fault:
            self.faults.append(f"{what}: {type(fault).__name__}: {fault}")

    def refused(self, refusal: NotApplicable, before: dict[str, Any], subject: Subject) -> None:
        """Notes why the remedy did not act on a subject, of which there is a picture from before."""
        self.refusals.append(str(refusal))
        _require(str(refusal).startswith(f"{self.remedy.name}: "), f"a refusal begins with the remedy's name: {str(refusal)!r}")
        _require(not (fault := difference(before, subject.picture())), f"refused, and yet it altered {fault}")


class Broken(Exception):
    """A promise is broken; the message says how."""


def examine(remedy: Remedy, patient: Patient) -> Finding:
    """What comes of a remedy on a network: everything that one process can tell in some hundredths of a second."""
    ledger = _Ledger(remedy)
    with warnings.catch_warnings(), seeded(1):
        warnings.simplefilter("error")
        first = Subject.of(patient)
        before, census, chance = first.picture(), ModuleIdentity.of(first.network, first.optimizer), luck()
        with ledger.promise("a plan alters and draws nothing"):
            _plans(remedy, first, before)
        change: Change | None = None
        with ledger.promise("it acts, or says why it cannot"):
            try:
                change = first.treat(remedy)
            except NotApplicable as refusal:
                ledger.refused(refusal, before, first)
        with ledger.promise("the program's random state stays as it was"):
            _require(luck() == chance, "it drew from a generator of the program")
        if change is not None:
            _treated(remedy, first, change, (before, census), ledger)
        with ledger.promise("without optimizer, inputs and loss it acts or says why it cannot"):
            _bare(remedy, patient, ledger)
    return Finding(change is not None, tuple(ledger.faults), tuple(ledger.refusals))


def deploy(remedy: Remedy, patients: Mapping[str, Patient]) -> tuple[str, ...]:
    """The promises that a remedy breaks under torch.compile and DistributedDataParallel, on networks on which it acts.

    Cost: about a tenth of a second a network, for the compiler.
    """
    ledger = _Ledger(remedy)
    for name, patient in patients.items():
        with seeded(1), ledger.promise(f"a treated network compiles to equal outputs ({name})"):
            subject = Subject.of(patient)
            subject.treat(remedy)
            expected = subject.answer()
            torch.compiler.reset()
            compiled = cast("nn.Module", torch.compile(subject.network, backend="eager"))
            torch.testing.assert_close(subject.answer(compiled), expected)  # it takes another way through torch's attention
    with _process_group():
        for name, patient in patients.items():
            with seeded(1), ledger.promise(f"a treated network takes the same steps under DistributedDataParallel ({name})"):
                _spread(remedy, patient)
    return tuple(ledger.faults)


def _spread(remedy: Remedy, patient: Patient) -> None:
    plainly, spread = Subject.of(patient), Subject.of(patient)
    for each in (plainly, spread):
        each.treat(remedy)
    parallel = replace(spread, network=DistributedDataParallel(spread.network))
    for each in (plainly, parallel, plainly, parallel):
        with seeded(4):
            each.step()
    _require_equal(spread.answer(), plainly.answer())


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seeds torch inside, and leaves the program's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _process_group() -> Generator[None]:
    """The process group that is there, or one of this process alone for as long as it is needed."""
    if distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        # Gloo's threads need the interpreter to let go of the last tensors, and must have done so before they are joined.
        gc.collect()
        distributed.barrier()
        distributed.destroy_process_group()


def _plans(remedy: Remedy, subject: Subject, before: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(SEED)
    state = generator.get_state()
    with suppress(NotApplicable):  # what a refusal must be like is another promise
        operations = remedy.plan(subject.network, Context(generator, (subject.optimizer,), subject.batch, subject.patient.loss))
        _require(bool(operations), "it planned nothing; where it cannot act it must raise NotApplicable")
    _require(not (fault := difference(before, subject.picture())), f"it altered {fault}")
    _require(torch.equal(generator.get_state(), state), "it drew random numbers before it was carried out")


def _treated(remedy: Remedy, first: Subject, change: Change, past: tuple[dict[str, Any], ModuleIdentity], ledger: _Ledger) -> None:
    """Follows a treated network through training, copies and checkpoints back to where it came from."""
    before, census = past
    with ledger.promise("the change says what it did"):
        _require(bool(change.edits), "it has no edits")
    with ledger.promise("what it has no reason to touch stays"):
        faults = list(census.faults(first.network, first.optimizer))
        _require(not faults, "; ".join(faults[:3]))
    fresh = plain(first.network.state_dict())
    with ledger.promise("a treated network trains"):
        _require(all(torch.isfinite(first.step()).all() for _ in range(2)), "its loss is not finite")
        _require(all(torch.isfinite(p).all() for p in first.network.parameters()), "its parameters are not finite after two steps")
    _copies(first, ledger)
    _twin(remedy, first, fresh, ledger)
    with ledger.promise("undo after training, in evaluation mode, restores every bit"):
        first.network.eval()
        change.undo()
        _require(not (fault := difference(before, first.picture())), f"other than it was: {fault}")


def _copies(first: Subject, ledger: _Ledger) -> None:
    with ledger.promise("a treated network gives finite outputs in evaluation mode"):
        _require(bool(torch.isfinite(first.answer()).all()), "they are not finite")
    with ledger.promise("a deep copy gives equal outputs"):
        _require_equal(first.answer(copy.deepcopy(first.network)), first.answer())
    with ledger.promise("torch.save and torch.load of the whole module give equal outputs"):
        stream = io.BytesIO()
        torch.save(first.network, stream)
        stream.seek(0)
        _require_equal(first.answer(torch.load(stream, weights_only=False)), first.answer())


def _twin(remedy: Remedy, first: Subject, fresh: Any, ledger: _Ledger) -> None:
    """Treats an equal network in evaluation mode, has it go on where the first one stands, then takes it back twice over."""
    twin = Subject.of(first.patient, training=False)
    before, census = twin.picture(), ModuleIdentity.of(twin.network, twin.optimizer)
    changes: list[Change] = []
    with ledger.promise("the same seed gives equal networks equal weights, in evaluation mode too"):
        changes.append(twin.treat(remedy))
        now = plain(twin.network.state_dict())
        _require(
            now == fresh, f"other values in {', '.join(name for name in fresh if now.get(name) != fresh[name]) or 'new names'}"
        )
    if not changes:
        return
    with ledger.promise("what it has no reason to touch stays, in evaluation mode too"):
        faults = list(census.faults(twin.network, twin.optimizer))
        _require(not faults, "; ".join(faults[:3]))
    _resumes(first, twin, ledger)
    with ledger.promise("applying it twice works, or is refused and alters nothing"):
        present = twin.picture()
        try:
            changes.append(twin.treat(remedy))
        except NotApplicable as refusal:
            ledger.refused(refusal, present, twin)
        else:
            _require(bool(torch.isfinite(twin.step()).all()), "the loss is not finite after the second time")
    with ledger.promise("undo restores every bit, later changes first"):
        for change in reversed(changes):
            change.undo()
            change.undo()
        twin.network.eval()
        _require(not (fault := difference(before, twin.picture())), f"other than it was: {fault}")


def _resumes(first: Subject, twin: Subject, ledger: _Ledger) -> None:
    with ledger.promise("its checkpoint goes strictly into an equally treated network, and training goes on equally"):
        stored = io.BytesIO()
        torch.save((first.network.state_dict(), first.optimizer.state_dict()), stored)
        stored.seek(0)
        weights, state = torch.load(stored, weights_only=True)
        twin.network.load_state_dict(weights)
        twin.optimizer.load_state_dict(state)
        _require_equal(twin.answer(), first.answer())
        for subject in (first, twin):
            subject.network.train()
            with seeded(4):
                subject.step()
        _require_equal(twin.answer(), first.answer())


def _bare(remedy: Remedy, patient: Patient, ledger: _Ledger) -> None:
    subject = Subject.of(patient)
    before = subject.picture()
    try:
        change = apply(subject.network, remedy.name, seed=SEED, catalogue={remedy.name: remedy})
    except NotApplicable as refusal:
        ledger.refused(refusal, before, subject)
    else:
        _require(bool(torch.isfinite(subject.answer()).all()), "outputs are not finite")
        subject.network.train()
        change.undo()
        _require(not (fault := difference(before, subject.picture())), f"other than it was: {fault}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def _require_equal(one: Tensor, other: Tensor) -> None:
    if not torch.equal(one, other):
        gap = float((one.double() - other.double()).abs().max()) if one.shape == other.shape else float("nan")
        raise Broken(f"outputs differ by up to {gap:.3g}")
