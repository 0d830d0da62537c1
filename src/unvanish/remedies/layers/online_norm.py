"""Online Normalization: normalises one sample at a time by statistics of the samples before, so that it needs no batch.

In the paper's symbols, for one feature and sample t, with decays a (forward) and a' (backward), and mean() and var() over the
positions of the feature in that sample (one position on a plain batch: mean x, var 0):

    y_t = (x_t - m_{t-1}) / sqrt(s2_{t-1} + eps)
    s2_t = a s2_{t-1} + (1 - a) var(x_t) + a (1 - a) (mean(x_t) - m_{t-1})^2          m_t = a m_{t-1} + (1 - a) mean(x_t)
    t_t = g_t - (1 - a') e_y y_t                     e_y <- e_y + mean(t_t y_t)
    x'_t = t_t / sqrt(s2_{t-1} + eps) - (1 - a') e_1          e_1 <- e_1 + mean(x'_t)

The two errors e_y and e_1 accumulate the components of the gradients along y and along 1, and correct later gradients for them:
over time the gradient is orthogonal to both, as the exact gradient of a normalisation is (Chiley 2019, arXiv 1905.05894). All four
recurrences are linear in their own state, so a batch is a scan over its samples.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast, final

import torch
from torch import Tensor, nn

FORWARD_DECAY = 0.999  # a, Chiley 2019
BACKWARD_DECAY = 0.99  # a', the same
CLAMP_LIMIT = 5.0  # where outputs are clamped: the same
EPS = 1e-5  # as in torch's own normalisations

Scaling: TypeAlias = Literal["layer", "clamp"]


@final
class OnlineNorm(nn.Module):
    """Normalises every feature by running statistics, one sample after the other (Chiley et al. 2019, arXiv 1905.05894).

    In training, samples are processed in their order in the batch. In evaluation m and s2 stay as they are, and the gradient is
    autograd's own. The buffers m, s2, e_y and e_1 and all sums are float32 or wider, whatever the input's dtype and whatever the
    module is cast to. A gradient that is not finite, as gradient scaling provokes, leaves e_y and e_1 as they were. The backward
    pass writes to e_y and e_1: a second one through the same graph counts the samples twice.

    Arguments:
        num_features: number of features C.
        axis: axis of the features, not 0.
        forward_decay: decay of the statistics m and s2 for each sample.
        backward_decay: decay of the errors e_y and e_1 for each sample.
        affine: whether each feature has a learned `weight` and `bias` after scaling.
        scaling: what limits outputs, which can be large since statistics lag behind: "layer" divides the outputs of a sample by
            their root mean square over all features and positions, with an ordinary gradient; "clamp" clamps them to +-5.

    Shapes: (batch, ..., C, ...) with C at `axis`, all other axes being positions of a sample, to the same shape and dtype.

    Example:
        >>> norm = OnlineNorm(2, scaling="clamp")
        >>> norm(torch.tensor([[3.0, -9.0]])).detach()  # statistics start at mean 0 and variance 1
        tensor([[ 3.0000, -5.0000]])
    """

    m: Tensor
    s2: Tensor
    e_y: Tensor
    e_1: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        axis: int = 1,
        forward_decay: float = FORWARD_DECAY,
        backward_decay: float = BACKWARD_DECAY,
        affine: bool = True,
        scaling: Scaling = "layer",
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.axis = axis
        self.forward_decay = forward_decay
        self.backward_decay = backward_decay
        self.scaling = scaling
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        wide = torch.promote_types(torch.get_default_dtype(), torch.float32)
        self.register_buffer("m", torch.zeros(num_features, dtype=wide))
        self.register_buffer("s2", torch.ones(num_features, dtype=wide))
        self.register_buffer("e_y", torch.zeros(num_features, dtype=wide))
        self.register_buffer("e_1", torch.zeros(num_features, dtype=wide))

    def forward(self, x: Tensor) -> Tensor:
        """The normalised, scaled and shifted input, of its shape and dtype. Cost: some five passes over it, log2 N over (N, C)."""
        axis = self.axis % x.dim()
        wide = x.to(torch.promote_types(x.dtype, self.m.dtype))
        feature_shape = [1] * x.dim()
        feature_shape[axis] = self.num_features
        if self.training:
            mean, variance = self._advance(wide.detach(), axis)
            per_sample_shape = [x.shape[0], *feature_shape[1:]]
            scale = (variance + EPS).rsqrt().reshape(per_sample_shape)
            mean = mean.reshape(per_sample_shape)
            y = cast(Tensor, _SteeredNormalisation.apply(wide, mean, scale, self.e_y, self.e_1, axis, self.backward_decay))
        else:
            y = (wide - self.m.reshape(feature_shape)) * (self.s2 + EPS).rsqrt().reshape(feature_shape)
        if self.scaling == "layer":
            y = y * (y.square().mean(dim=tuple(range(1, x.dim())), keepdim=True) + EPS).rsqrt()
        else:
            y = y.clamp(-CLAMP_LIMIT, CLAMP_LIMIT)
        if self.weight is not None and self.bias is not None:
            y = y * self.weight.reshape(feature_shape) + self.bias.reshape(feature_shape)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """The arguments that are not the default, for the module's repr."""
        defaults = {"axis": 1, "forward_decay": FORWARD_DECAY, "backward_decay": BACKWARD_DECAY, "scaling": "layer"}
        others = [f"{name}={getattr(self, name)!r}" for name, default in defaults.items() if getattr(self, name) != default]
        return ", ".join([str(self.num_features), *others])

    @torch.no_grad()
    def _advance(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Statistics m and s2 before every sample, each (N, C); sets the buffers to those after the last."""
        positions = _positions(x, axis)
        mean = _mean(x, positions)
        decay = self.forward_decay
        m, last_m = _constant_decay_scan(self.m, (1.0 - decay) * mean, decay)
        gain = decay * (1.0 - decay) * (mean - m).square()
        if positions:
            centred = x - x.mean(positions, keepdim=True)
            gain += (1.0 - decay) * centred.square_().mean(positions)  # x.var() takes twenty times as long on a CPU
        s2, last_s2 = _constant_decay_scan(self.s2, gain, decay)
        self.m.copy_(last_m)
        self.s2.copy_(last_s2)
        return m, s2

    def _apply(self, fn: Any, recurse: bool = True) -> OnlineNorm:
        """Keeps buffers wide in .half(), .to() and the like: running sums in half precision would lose every new sample."""
        super()._apply(fn, recurse)
        for name, buffer in self.named_buffers(recurse=False):
            self.register_buffer(name, buffer.to(torch.promote_types(buffer.dtype, torch.float32)))
        return self


@final
class _SteeredNormalisation(torch.autograd.Function):
    """(x - mean) * scale, with the corrected gradient; the backward pass updates `e_y` and `e_1`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, e_y: Tensor, e_1: Tensor, axis: int, decay: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = (x - mean).mul_(scale)
        ctx.save_for_backward(y, scale)
        ctx.errors, ctx.axis, ctx.decay = (e_y, e_1), axis, decay
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y, scale = cast(tuple[Tensor, Tensor], ctx.saved_tensors)
        e_y, e_1 = cast(tuple[Tensor, Tensor], ctx.errors)
        axis, rest = ctx.axis, 1.0 - ctx.decay
        positions, rows = _positions(y, axis), (y.shape[0], y.shape[axis])
        along_y, last_y = _variable_decay_scan(e_y, _mean(g * y, positions), 1.0 - rest * _mean(y * y, positions))
        t = torch.addcmul(g, along_y.reshape(scale.shape), y, value=-rest)
        per_sample = _mean(t, positions) * scale.reshape(rows)
        along_1, last_1 = _constant_decay_scan(e_1, per_sample, ctx.decay)
        e_y.copy_(torch.where(last_y.isfinite(), last_y, e_y))
        e_1.copy_(torch.where(last_1.isfinite(), last_1, e_1))
        return t.mul_(scale).sub_(rest * along_1.reshape(scale.shape)), None, None, None, None, None, None


def _constant_decay_scan(start: Tensor, gains: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """The state of h <- decay h + gain before each sample, (N, C), and after the last, (C,).

    A parallel prefix scan (Hillis and Steele 1986): log2 N passes over (N, C), without a division.

    Arguments:
        start: the state before the first sample, (C,).
        gains: the gain of each sample, (N, C).
        decay: the decay of all samples.
    """
    gains = torch.cat([gains[:1].add(start, alpha=decay), gains[1:]])
    reach = 1
    while reach < gains.shape[0]:
        gains = torch.cat([gains[:reach], gains[reach:].add(gains[:-reach], alpha=decay**reach)])
        reach *= 2
    return _states_before(start, gains), gains[-1]


def _variable_decay_scan(start: Tensor, gains: Tensor, decays: Tensor) -> tuple[Tensor, Tensor]:
    """The same with a decay for each sample and feature, (N, C)."""
    gains = torch.cat([torch.addcmul(gains[:1], decays[:1], start), gains[1:]])
    reach = 1
    while reach < gains.shape[0]:
        gains = torch.cat([gains[:reach], torch.addcmul(gains[reach:], decays[reach:], gains[:-reach])])
        decays = torch.cat([decays[:reach], decays[reach:] * decays[:-reach]])
        reach *= 2
    return _states_before(start, gains), gains[-1]


def _states_before(start: Tensor, after: Tensor) -> Tensor:
    return torch.cat([start[None].to(after.dtype), after[:-1]])


def _positions(x: Tensor, axis: int) -> tuple[int, ...]:
    return tuple(index for index in range(1, x.dim()) if index != axis)


def _mean(x: Tensor, positions: tuple[int, ...]) -> Tensor:
    """The mean over some axes; for no axes the tensor itself (torch would reduce all)."""
    return x.mean(positions) if positions else x
