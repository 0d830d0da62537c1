"""gradient-underflow: gradients are smaller than the numbers that should hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView, nanmedian, typical
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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        types = chart.values("log10_smallest_gradient")
        zeros, sizes = chart.late("gradient_zero_fraction"), chart.late("log10_gradient_rms")
        silent = chart.late("silent_fraction")
        for chain in chart.chains:
            half = [i for i in chain.layers if (types[:, i] >= HALF_PRECISION.value).any()]
            if not half or (silent[list(chain.activations)] >= DEAD.value).any():
                continue
            smallest = typical(types[:, half])
            gone = [i for i in half if zeros[i] >= UNDERFLOWN.value or sizes[i] <= smallest + NEAR_THE_END.value]
            if len(gone) * 2 > len(half):
                yield self._finding(chart, chain, gone, typical(zeros[gone]), smallest)

    def _finding(self, chart: RunView, chain: LayerStack, gone: list[int], zero: float, smallest: float) -> Finding:
        lost = nanmedian(chart.values("gradient_zero_fraction")[:, gone].T)
        return Finding(
            self.code,
            Severity.CRITICAL,
            UNDERFLOWN.confidence(zero, least=0.85),
            "The gradients are too small for half precision: they are rounded to zero.",
            f"{wording.percent(zero)} of the gradient at {wording.span(chart.labels(gone))} is exactly zero. The smallest "
            "number that its type can "
            f"hold is 10^{smallest:.1f}.",
            advice="Scale the loss with torch.amp.GradScaler, or use bfloat16.",
            sites=chart.labels(gone),
            cause=Cause("half-precision"),
            evidence=(UNDERFLOWN.shown("gradient_zero_fraction", zero, chart.anatomy.site_label(gone[0])),),
            remedies=("loss-scaling",),
            began=chart.sampled_step(lost >= UNDERFLOWN.value) or int(chart.run.sampled[0]),
            location=chart.location(chain.layers[0]),
        )
