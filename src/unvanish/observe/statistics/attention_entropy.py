"""How sharply attention looks: the entropy of its weights, over that of uniform ones. It computes them anew on a few examples.

Fused attention never shows its weights, so queries and keys are taken and the rest is done here; where a program calls softmax
itself, its result is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from unvanish.observe.statistics.tensor_statistics import Number, number

EXAMPLES = 4
NAMES = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal")
ROWS = 4096  # of a softmax's result, evenly spaced


def entropy_of(weights: Tensor, dim: int) -> Number:
    """Mean entropy of the rows of a softmax's result along `dim`, over the logarithm of their length: what a mask has hidden is not
    told from what is small. NaN where rows have one place only."""
    rows = weights.detach().movedim(dim, -1)
    rows = rows.reshape(-1, rows.shape[-1])
    rows = rows[:: max(1, -(-len(rows) // ROWS))].double()
    return _mean_entropy(rows, torch.full_like(rows[:, 0], rows.shape[1]))


def fused_entropy(query: Tensor, key: Tensor, mask: Tensor | None, *, causal: bool, scale: float | None) -> Number:
    """The same for scaled dot-product attention; `query` and `key` of shape (batch, ..., length, width)."""
    q, k = (each.detach()[None] if each.dim() == 2 else each.detach()[:EXAMPLES] for each in (query, key))
    q, k = q.float(), k.float()
    if k.shape[:-2] != q.shape[:-2]:  # grouped queries
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    scores = q @ k.transpose(-2, -1) * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf)
    if mask is not None:
        ours = mask[:EXAMPLES] if mask.dim() == scores.dim() else mask
        scores = scores.masked_fill(~ours, -torch.inf) if ours.dtype == torch.bool else scores + ours
    allowed = (scores > -torch.inf).sum(-1).reshape(-1)
    weights = scores.softmax(-1).nan_to_num().reshape(-1, scores.shape[-1])
    return _mean_entropy(weights.double(), allowed.double())


def module_entropy(module: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Number:
    """The same for a call of torch's own multi-head attention."""
    given: dict[str, Any] = {**dict(zip(NAMES, args, strict=False)), **kwargs}
    query, key = given.get("query"), given.get("key")
    if not isinstance(query, Tensor) or not isinstance(key, Tensor) or query.dim() != 3 or is_parametrized(module):
        return math.nan  # to read a weight that is computed may alter what it is computed from, as spectral normalisation does
    if not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    heads, width = module.num_heads, module.head_dim
    packed, biases = module.in_proj_weight, module.in_proj_bias  # torch annotates neither as what it may be, which is None
    bias_q, bias_k = (None, None) if biases is None else biases.detach().chunk(3)[:2]  # pyright: ignore[reportUnnecessaryComparison]
    separate = packed is None  # pyright: ignore[reportUnnecessaryComparison]
    weights = (module.q_proj_weight, module.k_proj_weight) if separate else packed.chunk(3)[:2]
    weight_q, weight_k = (each.detach() for each in weights)
    q, k = (
        F.linear(each.detach()[:EXAMPLES].to(weight.dtype), weight, bias).unflatten(-1, (heads, width)).transpose(1, 2)
        for each, weight, bias in ((query, weight_q, bias_q), (key, weight_k, bias_k))
    )
    mask, hidden = given.get("attn_mask"), given.get("key_padding_mask")
    full = _additive(mask, hidden, q.shape[0], heads)
    return fused_entropy(q, k, full, causal=mask is None and bool(given.get("is_causal")), scale=None)


def _additive(mask: Any, hidden: Any, batch: int, heads: int) -> Tensor | None:
    """Both masks of torch's attention as one that is added; there, True hides."""
    parts: list[Tensor] = []
    if isinstance(mask, Tensor):
        shaped = mask.reshape(-1, heads, *mask.shape[1:])[:batch] if mask.dim() == 3 else mask
        parts.append(_hiding(shaped))
    if isinstance(hidden, Tensor):
        parts.append(_hiding(hidden[:batch, None, None, :]))
    return sum(parts[1:], parts[0]) if parts else None


def _hiding(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask.float()


def _mean_entropy(weights: Tensor, allowed: Tensor) -> Number:
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(-1)
    several = allowed > 1
    share = torch.where(several, entropy / allowed.clamp_min(2).log(), torch.zeros_like(entropy))
    count = several.sum()
    return number(torch.where(count > 0, share.sum() / count.clamp_min(1), torch.full_like(share.sum(), math.nan)))
