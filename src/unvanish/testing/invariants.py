"""Checks the invariants of a remedy on one network: exact undo, equal weights for equal seeds, checkpoints, copies, compilation."""

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
from unvanish.record.network_changes import Change
from unvanish.remedies import Context, Remedy, apply
from unvanish.testing.module_identity import ModuleIdentity
from unvanish.testing.networks import SampleNetwork
from unvanish.testing.state_snapshot import name_differences, random_state, state_snapshot, to_comparable

SEED = 3  # given to the remedy


@dataclass(frozen=True, slots=True)
class ConformanceResult:
    """The result of checking one remedy on one network: whether it acted, what it violated, and the messages of its refusals."""

    applied: bool
    violations: tuple[str, ...]
    refusals: tuple[str, ...]

    @property
    def status(self) -> str:
        """ "applied", "not applicable" or "broken"."""
        return "broken" if self.violations else "applied" if self.applied else "not applicable"


@dataclass(frozen=True, slots=True)
class NetworkUnderTest:
    """A sample network that was built, its optimizer, which has taken one step, and its batch; equal each time it is built."""

    sample: SampleNetwork
    network: nn.Module
    optimizer: Optimizer
    batch: Any

    @classmethod
    def build(cls, sample: SampleNetwork, *, training: bool = True) -> NetworkUnderTest:
        """A newly built one. torch's random state stays as it is."""
        with seeded(0):
            network, batch = sample.build(), sample.batch()
            built = cls(sample, network, sample.optimizer(network), batch)
            built.train_step()
        network.train(training)
        return built

    def apply_remedy(self, remedy: Remedy) -> Change:
        """The change made by the remedy, called with optimizer, inputs, loss and seed. Raises NotApplicable where it refuses."""
        catalogue, loss = {remedy.name: remedy}, self.sample.loss
        return apply(
            self.network, remedy.name, optimizer=self.optimizer, inputs=self.batch, loss=loss, seed=SEED, catalogue=catalogue
        )

    def train_step(self) -> Tensor:
        """The loss of one training step."""
        self.optimizer.zero_grad()
        loss = self.sample.loss(self.network(self.batch))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def evaluate(self, network: nn.Module | None = None) -> Tensor:
        """The outputs for the batch in evaluation mode, of `network` or by default its own; the network is left in that mode."""
        with torch.no_grad():
            return (self.network if network is None else network).eval()(self.batch)

    def snapshot(self) -> dict[str, Any]:
        """Everything that an undo has to restore."""
        return state_snapshot(self.network, self.optimizer)


@dataclass(slots=True)
class _ViolationLog:
    """The violations of a remedy so far, and the messages of its refusals."""

    remedy: Remedy
    violations: list[str] = field(default_factory=list[str])
    refusals: list[str] = field(default_factory=list[str])

    @contextmanager
    def check(self, invariant: str) -> Generator[None]:
        """Records an exception raised in the block as a violation of the invariant, and goes on."""
        try:
            yield
        except Violation as error:
            self.violations.append(f"{invariant}: {error}")
        except Exception as error:
            self.violations.append(f"{invariant}: {type(error).__name__}: {error}")

    def record_refusal(self, refusal: NotApplicable, before: dict[str, Any], tested: NetworkUnderTest) -> None:
        """Records why the remedy did not act, and checks that it left the network as in the snapshot `before`."""
        self.refusals.append(str(refusal))
        _require(str(refusal).startswith(f"{self.remedy.name}: "), f"a refusal begins with the remedy's name: {str(refusal)!r}")
        _require(not (difference := name_differences(before, tested.snapshot())), f"refused, and yet it altered {difference}")


class Violation(Exception):
    """An invariant does not hold; the message says how."""


def check_remedy(remedy: Remedy, sample: SampleNetwork) -> ConformanceResult:
    """The violations of a remedy on one network, without compilation and distribution. Cost: some hundredths of a second."""
    log = _ViolationLog(remedy)
    with warnings.catch_warnings(), seeded(1):
        warnings.simplefilter("error")
        first = NetworkUnderTest.build(sample)
        before, identity, state = first.snapshot(), ModuleIdentity.of(first.network, first.optimizer), random_state()
        with log.check("a plan alters and draws nothing"):
            _check_plan(remedy, first, before)
        change: Change | None = None
        with log.check("it acts, or says why it cannot"):
            try:
                change = first.apply_remedy(remedy)
            except NotApplicable as refusal:
                log.record_refusal(refusal, before, first)
        with log.check("the program's random state stays as it was"):
            _require(random_state() == state, "it drew from a generator of the program")
        if change is not None:
            _check_treated(remedy, first, change, (before, identity), log)
        with log.check("without optimizer, inputs and loss it acts or says why it cannot"):
            _check_without_context(remedy, sample, log)
    return ConformanceResult(change is not None, tuple(log.violations), tuple(log.refusals))


def check_compiled_and_distributed(remedy: Remedy, samples: Mapping[str, SampleNetwork]) -> tuple[str, ...]:
    """The violations of a remedy under torch.compile and DistributedDataParallel, on networks to which it applies.

    Cost: about a tenth of a second a network, for the compiler.
    """
    log = _ViolationLog(remedy)
    for name, sample in samples.items():
        with seeded(1), log.check(f"a treated network compiles to equal outputs ({name})"):
            tested = NetworkUnderTest.build(sample)
            tested.apply_remedy(remedy)
            expected = tested.evaluate()
            torch.compiler.reset()
            compiled = cast("nn.Module", torch.compile(tested.network, backend="eager"))
            torch.testing.assert_close(tested.evaluate(compiled), expected)  # not bit by bit: compiled attention uses other kernels
    with _process_group():
        for name, sample in samples.items():
            with seeded(1), log.check(f"a treated network takes the same steps under DistributedDataParallel ({name})"):
                _check_distributed(remedy, sample)
    return tuple(log.violations)


def _check_distributed(remedy: Remedy, sample: SampleNetwork) -> None:
    single, wrapped = NetworkUnderTest.build(sample), NetworkUnderTest.build(sample)
    for tested in (single, wrapped):
        tested.apply_remedy(remedy)
    parallel = replace(wrapped, network=DistributedDataParallel(wrapped.network))
    for tested in (single, parallel, single, parallel):
        with seeded(4):
            tested.train_step()
    _require_equal(wrapped.evaluate(), single.evaluate())


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seeds torch in the block, and restores the random state after it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _process_group() -> Generator[None]:
    """The default process group, or one of this process alone for the duration of the block."""
    if distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        # Gloo's threads need the interpreter lock to free the last tensors, and must have done so before they are joined.
        gc.collect()
        distributed.barrier()
        distributed.destroy_process_group()


def _check_plan(remedy: Remedy, tested: NetworkUnderTest, before: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(SEED)
    state = generator.get_state()
    with suppress(NotApplicable):  # the form of a refusal is checked elsewhere
        operations = remedy.plan(tested.network, Context(generator, (tested.optimizer,), tested.batch, tested.sample.loss))
        _require(bool(operations), "it planned nothing; where it cannot act it must raise NotApplicable")
    _require(not (difference := name_differences(before, tested.snapshot())), f"it altered {difference}")
    _require(torch.equal(generator.get_state(), state), "it drew random numbers before it was carried out")


def _check_treated(
    remedy: Remedy, first: NetworkUnderTest, change: Change, earlier: tuple[dict[str, Any], ModuleIdentity], log: _ViolationLog
) -> None:
    """Checks a network after the remedy: identity of parameters, training, copies, checkpoints, undo."""
    before, identity = earlier
    with log.check("the change says what it did"):
        _require(bool(change.edits), "it has no edits")
    with log.check("what it has no reason to touch stays"):
        violations = list(identity.list_violations(first.network, first.optimizer))
        _require(not violations, "; ".join(violations[:3]))
    weights = to_comparable(first.network.state_dict())
    with log.check("a treated network trains"):
        _require(all(torch.isfinite(first.train_step()).all() for _ in range(2)), "its loss is not finite")
        _require(all(torch.isfinite(p).all() for p in first.network.parameters()), "its parameters are not finite after two steps")
    _check_copies(first, log)
    _check_equal_network(remedy, first, weights, log)
    with log.check("undo after training, in evaluation mode, restores every bit"):
        first.network.eval()
        change.undo()
        _require(not (difference := name_differences(before, first.snapshot())), f"other than it was: {difference}")


def _check_copies(first: NetworkUnderTest, log: _ViolationLog) -> None:
    with log.check("a treated network gives finite outputs in evaluation mode"):
        _require(bool(torch.isfinite(first.evaluate()).all()), "they are not finite")
    with log.check("a deep copy gives equal outputs"):
        _require_equal(first.evaluate(copy.deepcopy(first.network)), first.evaluate())
    with log.check("torch.save and torch.load of the whole module give equal outputs"):
        stream = io.BytesIO()
        torch.save(first.network, stream)
        stream.seek(0)
        _require_equal(first.evaluate(torch.load(stream, weights_only=False)), first.evaluate())


def _check_equal_network(remedy: Remedy, first: NetworkUnderTest, weights: Any, log: _ViolationLog) -> None:
    """Checks an equal network in evaluation mode: equal weights, resuming from a checkpoint, a second application, undo of both."""
    twin = NetworkUnderTest.build(first.sample, training=False)
    before, identity = twin.snapshot(), ModuleIdentity.of(twin.network, twin.optimizer)
    changes: list[Change] = []
    with log.check("the same seed gives equal networks equal weights, in evaluation mode too"):
        changes.append(twin.apply_remedy(remedy))
        weights_after = to_comparable(twin.network.state_dict())
        _require(
            weights_after == weights,
            f"other values in {', '.join(name for name in weights if weights_after.get(name) != weights[name]) or 'new names'}",
        )
    if not changes:
        return
    with log.check("what it has no reason to touch stays, in evaluation mode too"):
        violations = list(identity.list_violations(twin.network, twin.optimizer))
        _require(not violations, "; ".join(violations[:3]))
    _check_checkpoint(first, twin, log)
    with log.check("applying it twice works, or is refused and alters nothing"):
        present = twin.snapshot()
        try:
            changes.append(twin.apply_remedy(remedy))
        except NotApplicable as refusal:
            log.record_refusal(refusal, present, twin)
        else:
            _require(bool(torch.isfinite(twin.train_step()).all()), "the loss is not finite after the second time")
    with log.check("undo restores every bit, later changes first"):
        for change in reversed(changes):
            change.undo()
            change.undo()
        twin.network.eval()
        _require(not (difference := name_differences(before, twin.snapshot())), f"other than it was: {difference}")


def _check_checkpoint(first: NetworkUnderTest, twin: NetworkUnderTest, log: _ViolationLog) -> None:
    with log.check("its checkpoint goes strictly into an equally treated network, and training goes on equally"):
        stored = io.BytesIO()
        torch.save((first.network.state_dict(), first.optimizer.state_dict()), stored)
        stored.seek(0)
        state_dict, optimizer_state = torch.load(stored, weights_only=True)
        twin.network.load_state_dict(state_dict)
        twin.optimizer.load_state_dict(optimizer_state)
        _require_equal(twin.evaluate(), first.evaluate())
        for tested in (first, twin):
            tested.network.train()
            with seeded(4):
                tested.train_step()
        _require_equal(twin.evaluate(), first.evaluate())


def _check_without_context(remedy: Remedy, sample: SampleNetwork, log: _ViolationLog) -> None:
    tested = NetworkUnderTest.build(sample)
    before = tested.snapshot()
    try:
        change = apply(tested.network, remedy.name, seed=SEED, catalogue={remedy.name: remedy})
    except NotApplicable as refusal:
        log.record_refusal(refusal, before, tested)
    else:
        _require(bool(torch.isfinite(tested.evaluate()).all()), "outputs are not finite")
        tested.network.train()
        change.undo()
        _require(not (difference := name_differences(before, tested.snapshot())), f"other than it was: {difference}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise Violation(message)


def _require_equal(one: Tensor, other: Tensor) -> None:
    if not torch.equal(one, other):
        gap = float((one.double() - other.double()).abs().max()) if one.shape == other.shape else float("nan")
        raise Violation(f"outputs differ by up to {gap:.3g}")
