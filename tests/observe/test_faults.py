"""A fault of ours never reaches the user's step, a fault of the user's passes through unchanged, and neither leaves a trace."""

from __future__ import annotations

import gc
import inspect
import io
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from odd_trainings import ODD_TRAININGS
from small_networks import small_mlp
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from trainings import STEPS, TRAININGS, Outcome, Training, draw, seeded
from watching import at_site, labels, observed, watching

from unvanish.observe import observer
from unvanish.observe.head import head_observer
from unvanish.observe.hooks import forward_watch
from unvanish.observe.statistics import parameter_updates, site_statistics, tensor_statistics
from unvanish.observe.structure import model_index

# One place for each way in: module hook, function mode before and after the call, gradient hook, the two optimizer hooks,
# backward, module birth, optimizer birth, and the writing of the step.
PLACES: dict[str, tuple[Any, str]] = {
    "statistics of a step": (site_statistics, "describe"),
    "kind of a module": (forward_watch, "kind_of"),
    "sample of an activation's inputs": (tensor_statistics, "slope_sample"),
    "sample of an output": (tensor_statistics, "subsample"),
    "silent units of an activation": (tensor_statistics, "silent_share"),
    "norm of a gradient": (tensor_statistics, "norm"),
    "rows of a weight": (parameter_updates, "rows_of"),
    "slopes": (site_statistics, "slope_numbers"),
    "capture": (observer, "Capture"),
    "an optimizer taken in": (model_index.ModelIndex, "optimizer"),
    "an optimizer's birth": (model_index.ModelIndex, "optimizer_built"),
    "a module's birth": (model_index.ModelIndex, "born"),
    "a loss": (observer.StepLog, "loss"),
    "the end of a step": (observer.StepLog, "end"),
    "numbers of an input": (tensor_statistics, "input_numbers"),
    "what judges an output": (head_observer, "criteria"),
    "a judgement": (head_observer, "judge"),
    "a head": (model_index.ModelIndex, "head"),
    "a gradient and its weight": (parameter_updates, "along"),
    "a gradient that was left": (parameter_updates.StaleWatch, "backward_begins"),
    "a gradient before it is clipped": (observer, "gradient_norm"),
}
WITHIN: dict[str, tuple[Any, str]] = {
    "statistics of a batch": (forward_watch, "batch_statistics"),
    "an attention module": (forward_watch, "module_entropy"),
    "fused attention": (forward_watch, "fused_entropy"),
    "attention by hand": (forward_watch, "entropy_of"),
    "nearest neighbours": (head_observer.Neighbours, "meet"),
}
KINDS = ("functional, shared, never called, unregistered", "in-place relu", "lbfgs with a closure", "checkpointing, reentrant")


def broken(original: Callable[..., Any], *, after: int) -> Callable[..., Any]:
    """The callable as it is for a while, and from then on a fault."""
    calls = iter(range(10**9))

    def work(*args: Any, **kwargs: Any) -> Any:
        if next(calls) >= after:
            raise ZeroDivisionError("a fault of ours")
        return original(*args, **kwargs)

    return work


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_bit_identically_when_observing_fails(
    kind: str, place: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_goes_on(TRAININGS[kind], *PLACES[place], after, monkeypatch)


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("place", WITHIN)
def test_a_training_of_everything_goes_on_when_reading_it_fails(place: str, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_goes_on(ODD_TRAININGS["everything at once"], *WITHIN[place], after, monkeypatch)


def assert_goes_on(training: Training, owner: Any, name: str, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = training.run()
    monkeypatch.setattr(owner, name, broken(getattr(owner, name), after=after))
    outcomes: list[Outcome] = []
    with watching() as watched:
        outcomes.append(training.run())
        if watched.warnings:
            assert_let_go()
    assert outcomes[0].state == alone.state
    assert repr(outcomes[0].losses) == repr(alone.losses)
    if not watched.warnings:  # it was called too seldom to break
        assert after > 0
        assert watched.run.facts.faults == ()
        return
    assert len(watched.warnings) == 1
    assert "the training goes on (ZeroDivisionError: a fault of ours)" in watched.warnings[0]
    assert watched.run.facts.faults == ("ZeroDivisionError: a fault of ours",)
    assert watched.run.step_count < STEPS


def assert_let_go() -> None:
    hooks = nn.modules.module
    assert not hooks._global_forward_pre_hooks
    assert not hooks._global_forward_hooks
    assert torch.overrides._len_torch_function_stack() == 0
    assert inspect.unwrap(torch.autograd.backward) is torch.autograd.backward
    assert inspect.unwrap(nn.Module.__init__) is nn.Module.__init__


@pytest.mark.parametrize("place", ["an optimizer taken in", "the end of a step"])
def test_a_fault_in_an_optimizer_hook_spares_the_hooks_of_others(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = PLACES[place]
    monkeypatch.setattr(owner, name, broken(getattr(owner, name), after=0))
    network, called = small_mlp(), []
    with watching() as watched:
        theirs = [
            register_optimizer_step_pre_hook(lambda *_: called.append("before")),
            register_optimizer_step_post_hook(lambda *_: called.append("after")),
        ]
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(3):
            network(torch.ones(2, 6)).sum().backward()
            optimizer.step()
    for handle in theirs:
        handle.remove()
    assert called == ["before", "after"] * 3
    assert len(watched.warnings) == 1


def test_a_fault_within_a_mode_of_the_users_leaves_that_mode_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_statistics, "slope_sample", broken(tensor_statistics.slope_sample, after=0))
    network, seen = small_mlp(), []

    class Theirs(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with watching() as watched, Theirs():
        network(torch.ones(2, 6)).sum().backward()
        count = len(seen)
        assert torch.overrides._len_torch_function_stack() == 1
        torch.ones(2).relu()
        assert len(seen) > count
    assert len(watched.warnings) == 1


class Fragile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = small_mlp()
        self.breaks: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner[1](self.inner[0](x))
        if self.breaks is not None:
            raise self.breaks
        return self.inner[2:](torch.relu(x))


@pytest.mark.parametrize("fault", [ValueError("mine"), KeyboardInterrupt(), StopIteration()])
def test_an_exception_in_the_users_forward_passes_through_and_the_next_steps_are_observed(fault: BaseException) -> None:
    network = Fragile()
    with watching() as watched:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for step in range(6):
            network.breaks = fault if step == 2 else None
            if step == 2:
                with pytest.raises(type(fault)) as caught:
                    network(draw(3, 6))
                assert caught.value is fault
                continue
            loss = network(draw(3, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert watched.warnings == []
    assert watched.run.steps.tolist() == watched.run.sampled.tolist() == [1, 2, 3, 4, 5]
    assert labels(watched.run) == ["inner.0", "inner.1", "network:relu", "inner.2", "inner.3", "inner.4"]
    assert (at_site(watched.run, "log10_gradient_rms", "inner.0") > -10).all()


def test_an_exception_of_the_users_ends_the_run_with_its_name() -> None:
    def fails() -> None:
        small_mlp()(torch.ones(2, 6)).sum().backward()
        raise LookupError("theirs")

    with pytest.raises(LookupError, match="theirs"), watching() as watched:
        fails()
    assert watched.run.facts.ending == "LookupError"


def test_a_closure_that_raises_costs_no_later_step() -> None:
    def train() -> None:
        network = small_mlp()
        optimizer = torch.optim.LBFGS(network.parameters(), max_iter=2)
        for step in range(6):

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = network(torch.ones(2, 6)).square().mean()
                if step == 2:  # noqa: B023
                    raise ValueError("theirs")
                loss.backward()
                return loss

            try:
                optimizer.step(closure)
            except ValueError:
                continue

    run = observed(train)
    assert run.step_count == 5
    assert (at_site(run, "log10_gradient_rms", "0")[-2:] > -10).all()


def test_a_backward_of_the_users_own_that_wraps_ours_survives_us() -> None:
    network, calls, original = small_mlp(), [], torch.autograd.backward
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def step() -> None:
        network(torch.ones(2, 6)).sum().backward()
        optimizer.step()

    try:
        with watching() as watched:
            ours = torch.autograd.backward

            def theirs(*args: Any, **kwargs: Any) -> None:
                calls.append(1)
                ours(*args, **kwargs)

            torch.autograd.backward = theirs
            step()
        assert torch.autograd.backward is theirs
        step()
        assert len(calls) == 2
        assert watched.run.step_count == 1
    finally:
        torch.autograd.backward = original


def test_a_module_birth_that_wraps_ours_survives_us_and_lets_the_observer_go() -> None:
    """As torch's compiler does, once it is loaded."""
    original = nn.Module.__init__
    try:
        with watching() as watched:
            ours = nn.Module.__init__
            nn.Module.__init__ = lambda self, *args, **kwargs: ours(self, *args, **kwargs)  # type: ignore[method-assign]
            small_mlp()
        alive = weakref.ref(watched.observer)
        del watched
        gc.collect()
        assert alive() is None
        assert len(list(small_mlp().parameters())) == 6
    finally:
        nn.Module.__init__ = original  # type: ignore[method-assign]


def test_a_tensor_with_our_hook_can_be_saved_without_a_word() -> None:
    network = small_mlp()

    def train() -> None:
        output = network(torch.ones(2, 6))
        torch.save(output, io.BytesIO())
        output.sum().backward()

    assert observed(train).anatomy.sites


def test_the_memory_that_a_call_writes_to_is_left_alone() -> None:
    class WritesOut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.kept = torch.empty(2, 3)
            torch.sigmoid(x.detach(), out=self.kept)
            return F.relu(x)

    network, x = WritesOut(), torch.ones(2, 3, requires_grad=True)

    def train() -> None:
        network(x).sum().backward()

    run = observed(train)
    assert torch.equal(network.kept, torch.sigmoid(torch.ones(2, 3)))
    assert len(run.anatomy.sites) == 2


def test_what_a_function_deletes_is_gone_although_its_frame_was_read() -> None:
    def train() -> None:
        data, kept = torch.ones(1000), torch.ones(10)
        held = locals()
        gone = weakref.ref(data)
        network = small_mlp()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        network(torch.ones(2, 6)).sum().backward()
        optimizer.step()
        assert held["kept"] is kept  # the script's own snapshot is left as it was
        assert gone() is held["data"]

    def train_without_locals() -> None:
        data = torch.ones(1000)
        gone = weakref.ref(data)
        network = small_mlp()
        torch.optim.SGD(network.parameters(), lr=0.1)
        network(torch.ones(2, 6)).sum().backward()
        del data
        assert gone() is None

    observed(train)
    observed(train_without_locals)


def test_watching_keeps_nothing_alive() -> None:
    seeded()

    def train() -> list[weakref.ref[Any]]:
        network = small_mlp()
        optimizer = torch.optim.Adam(network.parameters())
        for _ in range(3):
            output = network(draw(4, 6))
            output.sum().backward()
            optimizer.step()
        return [weakref.ref(thing) for thing in (network, optimizer, output, *network.parameters())]

    with watching():
        left = train()
        small_mlp()(torch.ones(2, 6)).sum().backward()  # the step after: the last one's are let go
        gc.collect()
        assert [ref() for ref in left] == [None] * len(left)
