"""Entropy of attention weights over that of uniform ones: 1 where a query attends to all places alike, 0 where to one only.

Fused attention does not return its weights, so they are computed again from queries and keys, on a few examples; where a program
calls softmax itself, its result is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from unvanish.observe.statistics.tensor_statistics import Number, to_number

MAX_EXAMPLES = 4
ARGUMENT_NAMES = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal")
MAX_ROWS = 4096  # of a softmax's result, evenly spaced


def softmax_entropy(weights: Tensor, dim: int) -> Number:
    """Mean entropy of a softmax's result along `dim`, over the logarithm of its length; NaN where that length is 1.

    Masked places count as places with a small weight, since the result does not show the mask.

    Example:
        >>> softmax_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), 1)
        0.5
    """
    rows = weights.detach().movedim(dim, -1)
    rows = rows.reshape(-1, rows.shape[-1])
    rows = rows[:: max(1, -(-len(rows) // MAX_ROWS))].double()
    return _mean_entropy(rows, torch.full_like(rows[:, 0], rows.shape[1]))


def fused_entropy(query: Tensor, key: Tensor, mask: Tensor | None, *, causal: bool, scale: float | None) -> Number:
    """Mean entropy of the weights of scaled dot-product attention, over the logarithm of the number of places that are not masked.

    `query` and `key` have shape (batch, ..., length, width) or (length, width); `mask` is boolean (True attends) or added to the
    scores. Rows with fewer than two places are left out; NaN where no row is left.
    """
    q, k = (t.detach()[None] if t.dim() == 2 else t.detach()[:MAX_EXAMPLES] for t in (query, key))
    q, k = q.float(), k.float()
    if k.shape[:-2] != q.shape[:-2]:  # grouped queries
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    # scores: (examples, ..., queries, keys)
    scores = q @ k.transpose(-2, -1) * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf)
    if mask is not None:
        part = mask[:MAX_EXAMPLES] if mask.dim() == scores.dim() else mask
        scores = scores.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else scores + part
    places = (scores > -torch.inf).sum(-1).reshape(-1)
    weights = scores.softmax(-1).nan_to_num().reshape(-1, scores.shape[-1])
    return _mean_entropy(weights.double(), places.double())


def module_entropy(module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Number:
    """The same for a call of `nn.MultiheadAttention`; NaN for parametrised weights and for inputs without a batch."""
    arguments: dict[str, Any] = {**dict(zip(ARGUMENT_NAMES, args, strict=False)), **kwargs}
    query, key = arguments.get("query"), arguments.get("key")
    if not isinstance(query, Tensor) or not isinstance(key, Tensor) or query.dim() != 3 or is_parametrized(module):
        return math.nan  # to read a weight that is computed may alter what it is computed from, as spectral normalisation does
    if not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    head_count, width = module.num_heads, module.head_dim
    packed, biases = module.in_proj_weight, module.in_proj_bias  # torch annotates neither as what it may be, which is None
    bias_q, bias_k = (None, None) if biases is None else biases.detach().chunk(3)[:2]  # pyright: ignore[reportUnnecessaryComparison]
    separate = packed is None  # pyright: ignore[reportUnnecessaryComparison]
    weights = (module.q_proj_weight, module.k_proj_weight) if separate else packed.chunk(3)[:2]
    weight_q, weight_k = (weight.detach() for weight in weights)
    q, k = (
        F.linear(inputs.detach()[:MAX_EXAMPLES].to(weight.dtype), weight, bias).unflatten(-1, (head_count, width)).transpose(1, 2)
        for inputs, weight, bias in ((query, weight_q, bias_q), (key, weight_k, bias_k))
    )
    mask, padding_mask = arguments.get("attn_mask"), arguments.get("key_padding_mask")
    combined = _combine_masks(mask, padding_mask, q.shape[0], head_count)
    return fused_entropy(q, k, combined, causal=mask is None and bool(arguments.get("is_causal")), scale=None)


def _combine_masks(mask: Any, padding_mask: Any, batch_size: int, head_count: int) -> Tensor | None:
    """Both masks of `nn.MultiheadAttention`, in which True hides a place, as one that is added to the scores."""
    parts: list[Tensor] = []
    if isinstance(mask, Tensor):
        by_example = mask.reshape(-1, head_count, *mask.shape[1:])[:batch_size] if mask.dim() == 3 else mask
        parts.append(_to_additive(by_example))
    if isinstance(padding_mask, Tensor):
        parts.append(_to_additive(padding_mask[:batch_size, None, None, :]))
    return sum(parts[1:], parts[0]) if parts else None


def _to_additive(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask.float()


def _mean_entropy(weights: Tensor, places: Tensor) -> Number:
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1)
    has_choice = places > 1
    share = torch.where(has_choice, entropy / places.clamp_min(2).log(), torch.zeros_like(entropy))
    count = has_choice.sum()
    return to_number(torch.where(count > 0, share.sum() / count.clamp_min(1), torch.full_like(share.sum(), math.nan)))
