"""The rule gradient-underflow: gradients are smaller than the smallest number of their half-precision type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import MEASURED_FAULT
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView, finite_median, nanmedian
from unvanish.diagnose.thresholds import DEAD, HALF_PRECISION, NEAR_THE_END, UNDERFLOWN
from unvanish.record.finding import Cause, Finding, Severity


@final
class GradientUnderflow(Rule):
    """In half precision most gradients are exactly zero, or at the very end of what their type can hold.

    Sees: the type of every site's gradient, its share of zeros, and its size against the smallest number of that type.

    Why it matters: a gradient of 1e-9 is nothing in float16, and the weights behind it never move.

    Known problems: gradients behind a ReLU are zero where the unit is off, which is no underflow: only sites of which nine
    tenths are zero count, and none behind dead units.

    Example: `torch.autocast` with float16 and without a gradient scaler.

    References: Micikevicius 2018, "Mixed precision training" (arXiv 1710.03740); PyTorch documentation, "Gradient scaling".
    """

    code: ClassVar[str] = "gradient-underflow"
    rank: ClassVar[int] = 15
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "vanishing-gradient", "learning-rate-too-low", "disconnected-parameter", "vanishing-through-time"}
        | {"representation-collapse", "off-critical-init"}
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        log10_smallest = view.values("log10_smallest_gradient")
        zeros, sizes = view.late_median("gradient_zero_fraction"), view.late_median("log10_gradient_rms")
        silent_fractions = view.late_median("silent_fraction")
        for stack in view.stacks:
            half_precision = [i for i in stack.layers if (log10_smallest[:, i] >= HALF_PRECISION.value).any()]
            if not half_precision or (silent_fractions[list(stack.activations)] >= DEAD.value).any():
                continue
            smallest = finite_median(log10_smallest[:, half_precision])
            underflown = [i for i in half_precision if zeros[i] >= UNDERFLOWN.value or sizes[i] <= smallest + NEAR_THE_END.value]
            if len(underflown) * 2 > len(half_precision):
                yield self._finding(view, stack, underflown, finite_median(zeros[underflown]), smallest)

    def _finding(self, view: RunView, stack: LayerStack, underflown: list[int], zero: float, smallest: float) -> Finding:
        zero_fraction = nanmedian(view.values("gradient_zero_fraction")[:, underflown].T)
        return Finding(
            self.code,
            Severity.CRITICAL,
            UNDERFLOWN.confidence(zero, MEASURED_FAULT),
            "The gradients are too small for half precision: they are rounded to zero.",
            f"{wording.format_percent(zero)} of the gradient at {wording.format_names(view.site_labels(underflown))} is exactly "
            f"zero. The smallest number that its type can hold is 10^{smallest:.1f}.",
            advice="Scale the loss with torch.amp.GradScaler, or use bfloat16.",
            sites=view.site_labels(underflown),
            cause=Cause("half-precision"),
            evidence=(UNDERFLOWN.as_evidence("gradient_zero_fraction", zero, view.structure.site_label(underflown[0])),),
            remedies=("loss-scaling",),
            began=view.first_sampled_step(zero_fraction >= UNDERFLOWN.value) or int(view.run.sampled[0]),
            location=view.location(stack.layers[0]),
        )
