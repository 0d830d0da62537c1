"""Tests of bounded-logits, sigmoid-output and softmax-output: finite logarithms, gradients of p - y, and what is replaced."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies import apply, built_in_catalogue
from unvanish.remedies.layers.bounded_scores import bound_scores, bounded_sigmoid, bounded_softmax, score_limit

WIDE = torch.tensor([-3e4, -40.0, -1.0, 0.0, 2.0, 40.0, 3e4])


def by_hand(p: Tensor, y: Tensor) -> Tensor:
    """The cross entropy as people write it."""
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).sum()


def headed(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.Linear(5, 3), *last)


class Called(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.out, self.form = nn.Linear(4, 3), form

    def forward(self, x: Tensor) -> Tensor:
        scores = self.out(x)
        if self.form == "method":
            return scores.softmax(-1)
        if self.form == "sigmoid":
            return torch.sigmoid(scores).squeeze(-1)
        if self.form == "relu":
            return torch.relu(scores)
        return F.softmax(scores, dim=1)


def far_out(network: nn.Module) -> nn.Module:
    """The network with scores so large that probabilities would be rounded to 0 and 1."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1e3)
    return network


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_no_probability_is_rounded_to_0_or_1(dtype: torch.dtype) -> None:
    x = WIDE.to(dtype)
    for p in (bounded_sigmoid(x), bounded_softmax(x.clamp(-40, 40), dim=0)):
        assert p.dtype is dtype
        assert torch.isfinite(torch.log(p)).all()
    assert torch.isfinite(torch.log(1 - bounded_sigmoid(x))).all()


def test_small_logits_give_the_same_as_torch() -> None:
    x = torch.randn(6, 5, dtype=torch.float64)
    assert torch.equal(bounded_sigmoid(x), torch.sigmoid(x))
    assert torch.equal(bounded_softmax(x, 1), torch.softmax(x, 1))
    assert torch.equal(bounded_softmax(x), torch.softmax(x, 1))
    assert bounded_softmax(x, dim=-1, dtype=torch.float32).dtype is torch.float32


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_the_gradient_of_a_cross_entropy_by_hand_is_p_minus_y_however_far_out(y: float) -> None:
    x = WIDE.clone().requires_grad_()
    p = bounded_sigmoid(x)
    by_hand(p, torch.full_like(x, y)).backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, torch.sigmoid(WIDE) - y, atol=2e-2)
    wrong = x.grad[-1] if y == 0.0 else x.grad[0]
    assert abs(float(wrong)) == pytest.approx(1.0, abs=0.1)


def test_the_gradient_of_a_likelihood_by_hand_is_p_minus_y_however_far_out() -> None:
    x = torch.tensor([[80.0, -60.0, 0.0]], requires_grad=True)
    (-torch.log(bounded_softmax(x, dim=1))[0, 1]).backward()
    assert x.grad is not None
    assert x.grad[0].tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-3)


@pytest.mark.parametrize(
    "network",
    [headed(nn.Sigmoid()), headed(nn.Softmax(dim=1)), *map(Called, ("function", "method", "sigmoid"))],
    ids=["Sigmoid", "Softmax", "function", "method", "sigmoid"],
)
def test_bounded_logits_keeps_the_output_activation_and_makes_its_logarithm_finite(network: nn.Module) -> None:
    network = far_out(copy.deepcopy(network))
    x = torch.randn(64, 4)
    plain = network(x)
    keys = list(network.state_dict())
    change = apply(network, "bounded-logits")
    held = network(x)
    assert not torch.isfinite(torch.log(plain)).all()
    assert torch.isfinite(torch.log(held)).all()
    assert torch.allclose(held, plain, atol=1e-5)
    assert list(network.state_dict()) == ["changed by unvanish: bounded-logits", *keys]
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin(x), held)
    with pytest.raises(NotApplicable, match="already"):
        apply(network, "bounded-logits")
    change.undo()
    assert torch.equal(network(x), plain)


def test_logits_that_the_program_turns_into_probabilities_are_bounded_at_the_output() -> None:
    network, x, y = far_out(headed()), torch.randn(64, 4), torch.zeros(64, 3)
    assert not torch.isfinite(by_hand(torch.sigmoid(network(x)), y))
    apply(network, "bounded-logits")
    loss = by_hand(torch.sigmoid(network(x)), y)
    assert torch.isfinite(loss)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("last", [(), (nn.ReLU(),), (nn.Softmax(dim=1),), (nn.Tanh(),)])
def test_sigmoid_output_ends_the_network_in_a_sigmoid_alone(last: tuple[nn.Module, ...]) -> None:
    network, x = headed(*last), torch.randn(6, 4)
    raw = network[:3](x)
    change = apply(network, "sigmoid-output")
    assert torch.allclose(network(x), torch.sigmoid(raw))
    with pytest.raises(NotApplicable, match="another end already"):
        apply(network, "sigmoid-output")
    change.undo()
    assert torch.equal(network(x), network[3](raw) if last else raw)


def test_softmax_output_is_over_the_classes_of_linear_and_convolution_outputs() -> None:
    rows, maps = torch.randn(6, 4), torch.randn(2, 3, 5)
    called = Called("relu")
    apply(called, "softmax-output")
    assert torch.allclose(called(rows), torch.softmax(called.out(rows), -1))
    convolution = nn.Sequential(nn.Conv1d(3, 4, 1))
    raw = convolution(maps)
    apply(convolution, "softmax-output")
    assert torch.allclose(convolution(maps), torch.softmax(raw, 1))
    with pytest.raises(NotApplicable, match="one output"):
        apply(nn.Sequential(nn.Linear(3, 1)), "softmax-output")


def test_a_softmax_over_the_examples_becomes_one_over_the_classes() -> None:
    network, right = headed(nn.Softmax(dim=0)), headed(nn.Softmax(dim=1))
    x = torch.randn(6, 4)
    expected = torch.softmax(network[:3](x), 1)
    apply(network, "softmax-output")
    assert torch.allclose(network(x), expected)
    with pytest.raises(NotApplicable, match="softmax already"):
        apply(right, "softmax-output")


def test_log_softmax_output_fits_nll_loss() -> None:
    network, x = headed(nn.Softmax(dim=1)), torch.randn(6, 4)
    expected = torch.log_softmax(network[:3](x), 1)
    apply(network, "log-softmax-output")
    assert torch.allclose(network(x), expected)
    with pytest.raises(NotApplicable, match="one output"):
        apply(nn.Sequential(nn.Linear(3, 1)), "log-softmax-output")


def test_logarithms_of_probabilities_are_left_alone() -> None:
    for name in ("log-softmax-output", "bounded-logits", "sigmoid-output", "softmax-output"):
        with pytest.raises(NotApplicable, match="puts out logarithms"):
            apply(headed(nn.LogSoftmax(dim=1)), name)
    with pytest.raises(NotApplicable, match="neither probabilities nor scores"):
        apply(headed(nn.ReLU()), "bounded-logits")


def test_an_output_that_is_no_tensor_raises_at_the_forward_pass() -> None:
    network = nn.Sequential(nn.LSTM(3, 3))
    apply(network, "sigmoid-output")
    with pytest.raises(TypeError, match="puts out tuple"):
        network(torch.randn(2, 3))


def test_a_logit_within_bounds_is_unchanged_and_a_larger_one_keeps_its_gradient() -> None:
    largest = score_limit(torch.float32)
    x = torch.tensor([-1e9, -2.0, largest * 0.99, 1e9], requires_grad=True)
    held = bound_scores(x)
    held.sum().backward()
    assert held.tolist() == pytest.approx([-largest, -2.0, largest * 0.99, largest])
    assert x.grad is not None
    assert x.grad.tolist() == [1.0] * 4


def test_only_logits_and_log_softmax_output_alter_the_meaning_of_the_loss() -> None:
    assert {name for name, remedy in built_in_catalogue().items() if remedy.alters_loss} == {"logits", "log-softmax-output"}
