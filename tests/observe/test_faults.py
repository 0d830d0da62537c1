"""A fault of the observer never reaches the user's step, an exception of the user passes through; neither leaves hooks."""

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
from trainings import STEPS, TRAININGS, Outcome, Training, draw, set_seeds
from watching import observe_training, site_labels, site_values, watching

from unvanish.observe import observer
from unvanish.observe.hooks import forward_hooks, function_watch
from unvanish.observe.output_head import head_observer
from unvanish.observe.statistics import parameter_observer, site_statistics, tensor_statistics
from unvanish.observe.structure import model_index

# One for each kind of callback: module hook, function mode before and after the call, gradient hook, the two optimizer hooks,
# backward, module and optimizer construction, and the writing of the step.
PLACES: dict[str, tuple[Any, str]] = {
    "statistics of a step": (site_statistics, "describe"),
    "kind of a module": (forward_hooks, "kind_of"),
    "sample of an activation's inputs": (tensor_statistics, "sample_elements"),
    "sample of an output": (tensor_statistics, "subsample"),
    "silent units of an activation": (tensor_statistics, "silent_fraction"),
    "norm of a gradient": (tensor_statistics, "euclidean_norm"),
    "rows of a weight": (parameter_observer, "sample_matrix"),
    "slopes": (site_statistics, "slope_statistics"),
    "capture": (observer, "Capture"),
    "registering an optimizer": (model_index.ModelIndex, "objective_index"),
    "construction of an optimizer": (model_index.ModelIndex, "optimizer_built"),
    "construction of a module": (model_index.ModelIndex, "module_built"),
    "a loss": (observer.StepLog, "record_loss"),
    "the end of a step": (observer.StepLog, "end_step"),
    "numbers of an input": (tensor_statistics, "describe_input"),
    "criteria of a loss": (head_observer, "search_loss"),
    "metrics of a head": (head_observer, "measure_head"),
    "a head": (model_index.ModelIndex, "head_index"),
    "a gradient and its weight": (parameter_observer, "gradient_weight_cosine"),
    "a gradient that was not cleared": (parameter_observer.StaleGradients, "backward_begins"),
    "a gradient before it is clipped": (parameter_observer, "gradient_norm"),
}
LAYER_PLACES: dict[str, tuple[Any, str]] = {
    "statistics of a batch": (forward_hooks, "batch_norm_statistics"),
    "an attention module": (forward_hooks, "module_entropy"),
    "fused attention": (function_watch, "fused_entropy"),
    "attention by hand": (forward_hooks, "softmax_entropy"),
    "nearest neighbours": (head_observer.Neighbours, "update"),
}
KINDS = ("functional, shared, never called, unregistered", "in-place relu", "lbfgs with a closure", "checkpointing, reentrant")


def failing(original: Callable[..., Any], *, after: int) -> Callable[..., Any]:
    """The callable for a number of calls; later calls raise."""
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
    assert_training_goes_on(TRAININGS[kind], *PLACES[place], after, monkeypatch)


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("place", LAYER_PLACES)
def test_a_training_with_every_layer_goes_on_when_measuring_one_fails(
    place: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_training_goes_on(ODD_TRAININGS["everything at once"], *LAYER_PLACES[place], after, monkeypatch)


def assert_training_goes_on(training: Training, owner: Any, name: str, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = training.run()
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), after=after))
    outcomes: list[Outcome] = []
    with watching() as watched:
        outcomes.append(training.run())
        if watched.warnings:
            assert_detached()
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


def assert_detached() -> None:
    hooks = nn.modules.module
    assert not hooks._global_forward_pre_hooks
    assert not hooks._global_forward_hooks
    assert torch.overrides._len_torch_function_stack() == 0
    assert inspect.unwrap(torch.autograd._engine_run_backward) is torch.autograd._engine_run_backward
    assert inspect.unwrap(nn.Module.__init__) is nn.Module.__init__


@pytest.mark.parametrize("place", ["registering an optimizer", "the end of a step"])
def test_a_fault_in_an_optimizer_hook_spares_the_hooks_of_others(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = PLACES[place]
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), after=0))
    network, calls = small_mlp(), []
    with watching() as watched:
        handles = [
            register_optimizer_step_pre_hook(lambda *_: calls.append("before")),
            register_optimizer_step_post_hook(lambda *_: calls.append("after")),
        ]
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(3):
            network(torch.ones(2, 6)).sum().backward()
            optimizer.step()
    for handle in handles:
        handle.remove()
    assert calls == ["before", "after"] * 3
    assert len(watched.warnings) == 1


def test_a_fault_within_a_function_mode_of_the_user_leaves_that_mode_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_statistics, "sample_elements", failing(tensor_statistics.sample_elements, after=0))
    network, intercepted = small_mlp(), []

    class UserMode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            intercepted.append(func)
            return func(*args, **(kwargs or {}))

    with watching() as watched, UserMode():
        network(torch.ones(2, 6)).sum().backward()
        count = len(intercepted)
        assert torch.overrides._len_torch_function_stack() == 1
        torch.ones(2).relu()
        assert len(intercepted) > count
    assert len(watched.warnings) == 1


class RaisesInForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = small_mlp()
        self.exception: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner[1](self.inner[0](x))
        if self.exception is not None:
            raise self.exception
        return self.inner[2:](torch.relu(x))


@pytest.mark.parametrize("fault", [ValueError("mine"), KeyboardInterrupt(), StopIteration()])
def test_an_exception_in_the_users_forward_passes_through_and_the_next_steps_are_observed(fault: BaseException) -> None:
    network = RaisesInForward()
    with watching() as watched:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for step in range(6):
            network.exception = fault if step == 2 else None
            if step == 2:
                with pytest.raises(type(fault)) as raised:
                    network(draw(3, 6))
                assert raised.value is fault
                continue
            loss = network(draw(3, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert watched.warnings == []
    assert watched.run.steps.tolist() == watched.run.sampled.tolist() == [1, 2, 3, 4, 5]
    assert site_labels(watched.run) == ["inner.0", "inner.1", "network:relu", "inner.2", "inner.3", "inner.4"]
    assert (site_values(watched.run, "log10_gradient_rms", "inner.0") > -10).all()


def test_an_exception_of_the_users_ends_the_run_with_its_name() -> None:
    def fails() -> None:
        small_mlp()(torch.ones(2, 6)).sum().backward()
        raise LookupError("theirs")

    with pytest.raises(LookupError, match="theirs"), watching() as watched:
        fails()
    assert watched.run.facts.ending == "LookupError"


def test_steps_after_a_closure_that_raised_are_recorded() -> None:
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

    run = observe_training(train)
    assert run.step_count == 5
    assert (site_values(run, "log10_gradient_rms", "0")[-2:] > -10).all()


def test_a_wrapper_of_the_user_around_our_backward_stays_and_works_after_closing() -> None:
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


def test_a_wrapper_around_our_module_init_stays_and_works_and_releases_the_observer() -> None:
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


def test_a_tensor_with_our_hook_can_be_saved_without_a_warning() -> None:
    network = small_mlp()

    def train() -> None:
        output = network(torch.ones(2, 6))
        torch.save(output, io.BytesIO())
        output.sum().backward()

    assert observe_training(train).structure.sites


def test_the_out_argument_of_a_call_is_not_overwritten() -> None:
    class WritesOut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.kept = torch.empty(2, 3)
            torch.sigmoid(x.detach(), out=self.kept)
            return F.relu(x)

    network, x = WritesOut(), torch.ones(2, 3, requires_grad=True)

    def train() -> None:
        network(x).sum().backward()

    run = observe_training(train)
    assert torch.equal(network.kept, torch.sigmoid(torch.ones(2, 3)))
    assert len(run.structure.sites) == 2


def test_a_local_variable_that_the_script_deletes_is_freed_although_its_frame_was_read() -> None:
    def train() -> None:
        data, kept = torch.ones(1000), torch.ones(10)
        snapshot = locals()
        reference = weakref.ref(data)
        network = small_mlp()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        network(torch.ones(2, 6)).sum().backward()
        optimizer.step()
        assert snapshot["kept"] is kept  # the script's own snapshot is left as it was
        assert reference() is snapshot["data"]

    def train_without_locals() -> None:
        data = torch.ones(1000)
        reference = weakref.ref(data)
        network = small_mlp()
        torch.optim.SGD(network.parameters(), lr=0.1)
        network(torch.ones(2, 6)).sum().backward()
        del data
        assert reference() is None

    observe_training(train)
    observe_training(train_without_locals)


def test_observing_keeps_no_object_alive() -> None:
    set_seeds()

    def train() -> list[weakref.ref[Any]]:
        network = small_mlp()
        optimizer = torch.optim.Adam(network.parameters())
        for _ in range(3):
            output = network(draw(4, 6))
            output.sum().backward()
            optimizer.step()
        return [weakref.ref(thing) for thing in (network, optimizer, output, *network.parameters())]

    with watching():
        references = train()
        small_mlp()(torch.ones(2, 6)).sum().backward()  # the step after: the last one's are let go
        gc.collect()
        assert [ref() for ref in references] == [None] * len(references)
