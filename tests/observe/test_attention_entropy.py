"""The entropy of attention weights agrees with a plain loop over queries, for every kind of attention and mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watching import observe_training

LENGTH, BATCH, HEADS, WIDTH = 5, 3, 2, 4
LOWER = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
PADDED = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]])


def entropy_of_row(scores: list[float]) -> float | None:
    """Entropy of one query's weights over that of equal ones; scores are -inf where a key is hidden. None for a single key."""
    visible = [s for s in scores if s > -math.inf]
    if len(visible) < 2:
        return None
    parts = [math.exp(s - max(visible)) for s in visible]
    weights = [part / sum(parts) for part in parts]
    return -sum(w * math.log(w) for w in weights if w > 0) / math.log(len(visible))


def naive(query: Tensor, key: Tensor, hidden: Callable[[int, int, int, int], float], scale: float | None = None) -> float:
    """Mean entropy; query and key of shape (batch, heads, length, width), `hidden` is what is added to a score."""
    rows = []
    for b, one in enumerate(query.tolist()):
        for h, head in enumerate(one):
            keys = key[b, h * key.shape[1] // query.shape[1]].tolist()
            for i, q in enumerate(head):
                size = 1 / math.sqrt(len(q)) if scale is None else scale
                scores = [size * sum(u * v for u, v in zip(q, k, strict=True)) + hidden(b, h, i, j) for j, k in enumerate(keys)]
                rows.append(entropy_of_row(scores))
    known = [row for row in rows if row is not None]
    return sum(known) / len(known)


def hiding(mask: Tensor) -> Callable[[int, int, int, int], float]:
    """What a mask of torch's fused attention adds; True shows."""
    expanded = mask.expand(BATCH, HEADS, LENGTH, LENGTH)

    def added(b: int, h: int, i: int, j: int) -> float:
        value = expanded[b, h, i, j]
        return (0.0 if value else -math.inf) if mask.dtype == torch.bool else value.item()

    return added


def nothing(*_: int) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Fused:
    """A call of scaled dot-product attention: its options, and what they add to the scores."""

    options: dict[str, object]
    hidden: Callable[[int, int, int, int], float] = nothing
    key_heads: int = HEADS


torch.manual_seed(21)
FLOAT_MASK, ROW_MASK = torch.randn(BATCH, 1, LENGTH, LENGTH), torch.rand(BATCH, HEADS, LENGTH, LENGTH) > 0.4
FUSED = {
    "plain": Fused({}),
    "causal": Fused({"is_causal": True}, hiding(LOWER)),
    "boolean mask": Fused({"attn_mask": LOWER}, hiding(LOWER)),
    "boolean mask by example": Fused(
        {"attn_mask": ROW_MASK | torch.eye(LENGTH).bool()}, hiding(ROW_MASK | torch.eye(LENGTH).bool())
    ),
    "float mask": Fused({"attn_mask": FLOAT_MASK}, hiding(FLOAT_MASK)),
    "scale": Fused({"scale": 2.0}),
    "grouped queries": Fused({"enable_gqa": True}, key_heads=1),
    "row without a key": Fused({"attn_mask": LOWER.tril(-1)}, hiding(LOWER.tril(-1))),
}


def entropy(network: nn.Module, *inputs: Tensor, op: str) -> float:
    """The entropy that one observed step of the network records at the site of that operation."""

    def train() -> None:
        network(*inputs).nan_to_num().square().mean().backward()

    run = observe_training(train)
    (index,) = [i for i, site in enumerate(run.structure.sites) if site.op == op]
    return float(run.readings["attention_entropy"][0, index])


@pytest.mark.parametrize("name", FUSED)
def test_entropy_of_fused_attention_agrees_with_a_plain_loop(name: str) -> None:
    case = FUSED[name]

    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(WIDTH))

        def forward(self, q: Tensor, k: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q * self.scale, k, k, **case.options)  # type: ignore[arg-type]

    q, k = 2 * torch.randn(BATCH, HEADS, LENGTH, WIDTH), torch.randn(BATCH, case.key_heads, LENGTH, WIDTH)
    expected = naive(q, k, case.hidden, scale=case.options.get("scale"))  # type: ignore[arg-type]
    assert entropy(Attends(), q, k, op="scaled_dot_product_attention") == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_entropy_of_fused_attention_without_heads_or_batch_agrees_with_a_plain_loop(dims: int) -> None:
    class Attends(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(super().forward(x), x, x)

    network, x = Attends(WIDTH, WIDTH), 3 * torch.randn((BATCH, 9, WIDTH)[3 - dims :])
    q = network.weight.new_tensor(F.linear(x, network.weight, network.bias).tolist())
    four = (q.reshape(-1, 1, 9, WIDTH), x.reshape(-1, 1, 9, WIDTH))
    assert entropy(network, x, op="scaled_dot_product_attention") == pytest.approx(naive(*four, nothing), abs=1e-5)


class Module(nn.Module):
    """torch's multi-head attention, called as the case wants."""

    def __init__(self, *, by_position: bool = False, call: dict[str, object], **options: object) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(HEADS * WIDTH, HEADS, **options)  # type: ignore[arg-type]
        self.call, self.by_position = call, by_position

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        if self.by_position:
            return self.attention(query, key, key, self.call.get("key_padding_mask"), False, self.call.get("attn_mask"))[0]
        return self.attention(query, key, value=key, need_weights=False, **self.call)[0]


def projections(attention: nn.MultiheadAttention, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys of shape (batch, heads, length, width), from inputs with the batch first."""
    wide = HEADS * WIDTH
    if attention.in_proj_weight is not None:
        weights = (attention.in_proj_weight[:wide], attention.in_proj_weight[wide : 2 * wide])
    else:
        weights = (attention.q_proj_weight, attention.k_proj_weight)
    biases = (torch.zeros(wide),) * 2 if attention.in_proj_bias is None else attention.in_proj_bias.reshape(3, wide)[:2]
    projected = [x @ w.T + b for x, w, b in zip((query, key), weights, biases, strict=True)]
    return tuple(m.detach().reshape(BATCH, LENGTH, HEADS, WIDTH).movedim(2, 1) for m in projected)  # type: ignore[return-value]


UPPER = ~LOWER
BY_HEAD = torch.rand(BATCH * HEADS, LENGTH, LENGTH) * 3


def padded(b: int, _h: int, _i: int, j: int) -> float:
    return -math.inf if PADDED[b, j] else 0.0


def padded_and_causal(b: int, h: int, i: int, j: int) -> float:
    return padded(b, h, i, j) if j <= i else -math.inf


MODULES: dict[str, tuple[dict[str, object], Callable[[int, int, int, int], float]]] = {
    "batch first": ({"batch_first": True, "call": {}}, nothing),
    "length first": ({"call": {}}, nothing),
    "without bias": ({"batch_first": True, "bias": False, "call": {}}, nothing),
    "separate projections": ({"batch_first": True, "kdim": 6, "vdim": 6, "call": {}}, nothing),
    "dropout": ({"batch_first": True, "dropout": 0.3, "call": {}}, nothing),
    "causal": ({"batch_first": True, "call": {"attn_mask": UPPER, "is_causal": True}}, hiding(LOWER)),
    "boolean mask": ({"batch_first": True, "call": {"attn_mask": UPPER}}, hiding(LOWER)),
    "float mask by head": (
        {"batch_first": True, "call": {"attn_mask": BY_HEAD}},
        lambda b, h, i, j: BY_HEAD[b * HEADS + h, i, j].item(),
    ),
    "padding": ({"batch_first": True, "call": {"key_padding_mask": PADDED}}, padded),
    "padding, length first": ({"call": {"key_padding_mask": PADDED}}, padded),
    "padding and mask": ({"batch_first": True, "call": {"key_padding_mask": PADDED, "attn_mask": UPPER}}, padded_and_causal),
    "masks by position": (
        {"batch_first": True, "by_position": True, "call": {"key_padding_mask": PADDED, "attn_mask": UPPER}},
        padded_and_causal,
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_entropy_of_the_attention_module_agrees_with_a_plain_loop(name: str) -> None:
    options, hidden = MODULES[name]
    network = Module(**options)  # type: ignore[arg-type]
    query = 3 * torch.randn(BATCH, LENGTH, HEADS * WIDTH)
    key = torch.randn(BATCH, LENGTH, options.get("kdim", HEADS * WIDTH))  # type: ignore[call-overload]
    q, k = projections(network.attention, query, key)
    inputs = (query, key) if options.get("batch_first") else (query.transpose(0, 1), key.transpose(0, 1))
    assert entropy(network, *inputs, op="multiheadattention") == pytest.approx(naive(q, k, hidden), abs=1e-5)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2])
def test_entropy_of_a_softmax_call_agrees_with_a_plain_loop(dim: int) -> None:
    class Weighs(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.softmax(super().forward(x), dim)

    network, x = Weighs(4, 6), 5 * torch.randn(3, 5, 4)
    rows = F.linear(x, network.weight, network.bias).movedim(dim, -1).flatten(0, -2).tolist()
    expected = sum(entropy_of_row(row) or 0.0 for row in rows) / len(rows)
    assert entropy(network, x, op="softmax") == pytest.approx(expected, abs=1e-5)


def test_attention_to_one_place_only_has_no_entropy() -> None:
    class Weighs(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(super().forward(x), -1)

    assert math.isnan(entropy(Weighs(4, 1), torch.randn(3, 4), op="softmax"))


@pytest.mark.parametrize("gradients", [True, False])
def test_entropy_under_autocast_is_about_that_in_full_precision(gradients: bool) -> None:
    """Under autocast the entropy is that of rounded scores: about three digits."""
    torch.manual_seed(22)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(4, 6, 8, requires_grad=gradients)
    entropies = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            entropies.append(entropy(layer, x, op="multiheadattention"))
    assert entropies[1] == pytest.approx(entropies[0], abs=0.01)
