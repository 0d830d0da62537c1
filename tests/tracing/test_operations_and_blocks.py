"""Labels, kinds, blocks and source lines of traced operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import network_cases
import pytest
import torch
import torch.nn.functional as F
from autograd_oracle import trace_case
from network_cases import build_case
from torch import Tensor, nn

from unvanish.record.gradient_flow import FlowOp, GradientFlow
from unvanish.record.structure import Location
from unvanish.tracing import operation_kinds, trace
from unvanish.tracing.blocks import BlockMember, common_path, find_cuts, name_blocks

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Spelled(nn.Module):
    """Everything on lines of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        h = F.relu(h)  # first relu
        h = h.relu()  # second relu
        h = h * self.scale  # own weight
        a, b = h.chunk(2, dim=1)  # in halves
        h = torch.cat([a, b], 1)  # joined
        return h + x  # a skip


def line_of(text: str, file: str = __file__) -> int:
    """The line of a file that ends so."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(text))


def ops(flow: GradientFlow) -> dict[str, FlowOp]:
    return {op.label: op for op in flow.ops}


@pytest.fixture(scope="module")
def spelled() -> GradientFlow:
    torch.manual_seed(0)
    return trace(Spelled(), X, Tensor.sum)


@pytest.mark.parametrize(
    ("label", "kind", "line"),
    [
        ("inner", "weight", "h = self.inner(x)"),
        ("Spelled:relu", "activation", "# first relu"),
        ("Spelled:relu#2", "activation", "# second relu"),
        ("Spelled:mul", "weight", "# own weight"),
        ("Spelled:chunk", "other", "# in halves"),
        ("Spelled:cat", "merge", "# joined"),
        ("Spelled:add", "merge", "# a skip"),
    ],
)
def test_functional_calls_have_a_label_a_kind_and_their_line(spelled: GradientFlow, label: str, kind: str, line: str) -> None:
    op = ops(spelled)[label]
    assert op.kind == kind
    assert op.location is not None
    assert (op.location.file, op.location.line) == (__file__, line_of(line))
    assert op.location.text.endswith(line)


def test_operations_are_in_the_order_of_the_forward_pass_and_have_unique_labels() -> None:
    for name in network_cases.CASES:
        flow = trace_case(build_case(name))
        assert [op.order for op in flow.ops] == list(range(len(flow.ops)))
        assert len(ops(flow)) == len(flow.ops), name


def test_lines_of_modules_are_those_that_built_them_where_they_are_known() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    built = Location("net.py", 7, "nn.Linear(6, 6)")
    flow = trace(model, X, Tensor.sum, build_location={model[0]: built}.get)
    assert ops(flow)["0"].location == built
    assert ops(flow)["1"].location is None  # only torch's own container has called it


def test_operations_inside_checkpoints_have_the_line_of_the_checkpoint_call() -> None:
    line = line_of("x = checkpoint(stage, x, use_reentrant=self.reentrant)", network_cases.__file__)
    for name in ("checkpoints", "reentrant checkpoints"):
        assert {op.location.line for op in trace_case(build_case(name)).ops if op.label.startswith("stages") and op.location} == {
            line
        }


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("mlp", [*(f"{2 * i} … {2 * i + 1}" for i in range(6)), "12"]),
        ("resnet", ["0", "1", "2", "3", "4", "5 … 6", "7"]),
        ("resnet with batch norm", ["0", "1", "2", "3", "4", "5 … 6", "7"]),
        ("pre-norm transformer", [*(f"encoder.layers.{i}" for i in range(3)), "EncoderNetwork:mean", "head"]),
        ("post-norm transformer", [*(f"encoder.layers.{i}" for i in range(3)), "EncoderNetwork:mean", "head"]),
    ],
)
def test_blocks_of_known_architectures(name: str, blocks: list[str]) -> None:
    assert list(trace_case(build_case(name)).shares("block")) == blocks


def test_a_block_of_a_resnet_takes_the_gain_between_its_ends() -> None:
    """Against plain autograd on the tensors between the blocks."""
    case = build_case("resnet with batch norm")
    flow = trace_case(case)
    steps = [case.inputs.clone().requires_grad_()]
    for layer in case.model:
        steps.append(layer(steps[-1]))
        steps[-1].retain_grad()
    case.loss(steps[-1]).backward()
    sizes = [float(step.grad.square().mean().log10() / 2) for step in steps]
    for block in range(5):
        assert flow.shares("block")[str(block)] == pytest.approx(sizes[block] - sizes[block + 1], abs=1e-10)


def test_a_custom_function_is_an_operation_of_its_own() -> None:
    op = ops(trace_case(build_case("custom function")))["CustomFunction:halving"]
    assert (op.op, op.kind) == ("halving", "other")
    assert op.location is not None
    assert op.location.text == "a, b = Halving.apply(self.first(x), 0.5, x)"


def test_a_recurrent_layer_is_several_operations() -> None:
    flow = trace_case(build_case("lstm"))
    assert {"body:linear", "body:sigmoid", "body:tanh", "body:mul"} <= set(ops(flow))
    assert {op.location.text for op in flow.ops if op.path == "body" and op.location} == {
        "return self.head(self.body(x)[0][:, -1])"
    }


def test_operations_of_the_loss_are_not_among_those_of_the_network() -> None:
    flow = trace_case(build_case("mlp"))
    assert [(op.label, op.kind) for op in flow.loss_ops] == [("loss:log_softmax", "loss"), ("loss:nll_loss", "loss")]
    assert not any(op.label.startswith("loss") for op in flow.ops)


def test_operations_of_a_loss_module_belong_to_the_loss() -> None:
    criterion, targets = nn.MSELoss(), torch.zeros(4, 6)
    flow = trace(nn.Linear(6, 6), X, lambda outputs: criterion(outputs, targets))
    assert [op.label for op in flow.loss_ops] == ["loss:mse_loss"]


def test_statistics_of_outputs_are_those_of_the_tensors(spelled: GradientFlow) -> None:
    torch.manual_seed(0)
    hidden = Spelled().inner(X)
    for label, tensor in (("inner", hidden), ("Spelled:relu", hidden.relu())):
        assert ops(spelled)[label].output_mean == pytest.approx(tensor.mean().item(), abs=1e-6)
        assert ops(spelled)[label].output_std == pytest.approx(tensor.std(correction=0).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("operation", "signals", "weighted", "kind"),
    [
        ("relu", 1, False, "activation"),
        ("conv2d", 1, True, "weight"),
        ("layer_norm", 1, True, "normalisation"),
        ("softmax", 1, False, "attention"),
        ("matmul", 1, True, "weight"),
        ("matmul", 2, False, "attention"),
        ("add", 2, False, "merge"),
        ("add", 1, True, "weight"),
        ("add", 1, False, "other"),
        ("adaptive_avg_pool2d", 1, False, "pooling"),
        ("mean", 1, False, "pooling"),
        ("embedding", 0, True, "embedding"),
        ("cross_entropy", 1, False, "loss"),
        ("permute", 1, False, "other"),
    ],
)
def test_the_kind_follows_from_the_name_and_the_inputs(operation: str, signals: int, weighted: bool, kind: str) -> None:
    assert operation_kinds.operation_kind(operation, signals=signals, weighted=weighted) == kind


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("relu_", "relu"),
        ("__iadd__", "add"),
        ("__radd__", "add"),
        ("__getitem__", "index"),
        ("__matmul__", "matmul"),
        ("truediv", "div"),
    ],
)
def test_spellings_of_one_function_are_one_operation(name: str, plain: str) -> None:
    assert operation_kinds.operation_name(name) == plain


@pytest.mark.parametrize(
    ("node", "plain"),
    [
        ("AddmmBackward0", "linear"),
        ("TanhBackward0", "tanh"),
        ("torch::autograd::SplitBackward0", "split"),
        ("MyFunctionBackward", "my_function"),
    ],
)
def test_nodes_of_the_graph_have_the_names_of_their_functions(node: str, plain: str) -> None:
    assert operation_kinds.node_operation(node) == plain


def test_cuts_are_the_nodes_on_every_path() -> None:
    """1 - 2 - 4 with 3 beside 2, then 5."""
    assert find_cuts([(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)], [1, 2, 3, 4, 5]) == [1, 4, 5]
    assert find_cuts([(1, 2), (2, 3), (1, 3)], [1, 2, 3]) == [1, 3]


def test_blocks_in_a_row_begin_with_their_weights() -> None:
    chain: list[list[Any]] = [
        [BlockMember(label, label, kind)] for label, kind in (("a", "weight"), ("b", "activation"), ("c", "weight"))
    ]
    assert name_blocks(chain) == ["a … b", "a … b", "c"]
    assert common_path(["net.0.a", "net.0.b"]) == "net.0"
    assert common_path([]) == common_path(["a", "b"]) == ""


def test_labels_say_the_layer_and_direction_of_a_stacked_recurrence() -> None:
    labels = set(ops(trace_case(build_case("stacked bidirectional lstm"))))
    assert {
        f"body:{op}_l{layer}{direction}" for op in ("sigmoid", "mul") for layer in (0, 1) for direction in ("", "_reverse")
    } <= labels
    assert "body:cat" in labels
