"""The rule non-finite: NaN or infinity in the forward pass, a gradient, or the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import NON_FINITE
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import LOSS_RAN_AWAY, RAN_AWAY
from unvanish.record.finding import Cause, Evidence, Finding, Severity

GREW_BEFORE = "The signal had been growing out of bounds before."
OUTSIDE_DOMAIN = (
    "Everything was of ordinary size before: an operation met a value outside its domain (the logarithm of zero, the square root's "
    "slope at zero, a division by zero)."
)
ADVICE_GREW = "Lower the learning rate, or bring the weights to scale."
ADVICE_OUTSIDE_DOMAIN = "Use the loss on logits, or keep arguments inside the domain."


@final
class NonFinite(Rule):
    """A NaN or an infinity appeared, and where.

    Sees: non-finite values in the output of every site, in the gradient there, and in the loss.

    Why it matters: one NaN reaches every weight with the next step, and nothing is learned from then on.

    Known problems: a gradient scaler skips single infinite steps on purpose, and they are not counted unless they reach the
    weights.

    Example: a hand-made cross entropy when the sigmoid reaches 1; the square root of a distance that is zero.

    References: IEEE 754; PyTorch documentation, "Automatic mixed precision".
    """

    code: ClassVar[str] = "non-finite"
    rank: ClassVar[int] = 30
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "dead-units", "vanishing-gradient", "saturated-activation", "learning-rate-too-low"}
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        steps, losses = view.run.objective(0)
        bad_loss = ~np.isfinite(losses)
        # The last fifth decides: steps that were skipped, and left the weights alone, do no harm.
        last_fifth = bad_loss[-max(1, len(bad_loss) // 5) :]
        is_broken = bool(last_fifth.mean() > 0.5) if len(last_fifth) else False
        values, gradients = view.values("nonfinite_count"), view.values("gradient_nonfinite")
        if not is_broken and not (len(values) and np.nansum(values[-1]) > 0):
            return
        first_loss = int(steps[np.argmax(bad_loss)]) if bad_loss.any() else None
        first_row, site, forward = _first_non_finite(values, gradients)
        first_sample = int(view.run.sampled[first_row]) if first_row is not None else None
        began = min(s for s in (first_loss, first_sample) if s is not None)
        is_runaway = _is_runaway(view, first_row) or _is_runaway_loss(losses)
        place = view.structure.site_label(site) if site is not None else "the loss"
        tensor = "output" if forward else "gradient"
        yield Finding(
            self.code,
            Severity.CRITICAL,
            NON_FINITE.value,
            f"The computation breaks down at step {began}: the numbers stop being numbers.",
            f"The first NaN or infinity is seen in the {tensor} of {place}, at step {began}. "
            + (GREW_BEFORE if is_runaway else OUTSIDE_DOMAIN),
            advice=ADVICE_GREW if is_runaway else ADVICE_OUTSIDE_DOMAIN,
            sites=view.site_labels([site]) if site is not None else (),
            cause=Cause("exploding-gradient" if is_runaway else "numerical-domain"),
            evidence=(
                Evidence("non-finite values", _count_non_finite(values, gradients, first_row), "count", 0.0, "IEEE 754", place),
                *_size_before(view, first_row),
            ),
            remedies=_remedies(view, is_runaway=is_runaway),
            began=began,
            location=view.location(site) if site is not None else None,
        )


def _remedies(view: RunView, *, is_runaway: bool) -> tuple[str, ...]:
    """Smaller steps or weights for what grew; else probabilities kept off 0 and 1 where the loss takes logarithms, and a bypass."""
    if is_runaway:
        return ("learning-rate", "clip-norm", "batchnorm", "he-init")
    is_handmade_likelihood = any(head.criterion == "logarithm" for head in view.structure.heads)
    return ("bounded-logits", "skip-non-finite") if is_handmade_likelihood else ("skip-non-finite",)


def _first_non_finite(values: NDArray[np.float64], gradients: NDArray[np.float64]) -> tuple[int | None, int | None, bool]:
    """The first sampled row with a non-finite value, the site nearest its origin, and whether it is in the forward pass.

    Forward, the origin is the first site that has one; backward, the last.
    """
    for row in range(len(values)):
        forward = np.flatnonzero(np.nan_to_num(values[row]) > 0)
        if len(forward):
            return row, int(forward[0]), True
        backward = np.flatnonzero(np.nan_to_num(gradients[row]) > 0)
        if len(backward):
            return row, int(backward[-1]), False
    return None, None, True


def _is_runaway(view: RunView, row: int | None) -> bool:
    """Whether signals were enormous up to the first sample with a non-finite value, its finite values included."""
    spreads = view.values("activation_std")
    rows = spreads[: (row if row is not None else len(spreads)) + 1]
    finite = rows[np.isfinite(rows)]
    return bool(len(finite) and np.log10(max(finite.max(), 1e-300)) >= RAN_AWAY.value)


def _is_runaway_loss(losses: NDArray[np.float64]) -> bool:
    finite = np.abs(losses[np.isfinite(losses)])
    return bool(len(finite) > 1 and finite.max() > LOSS_RAN_AWAY.value * max(finite[0], 1e-12))


def _size_before(view: RunView, row: int | None) -> tuple[Evidence, ...]:
    if not row:
        return ()
    spreads = view.values("activation_std")[row - 1]
    finite = spreads[np.isfinite(spreads)]
    if not len(finite):
        return ()
    step = int(view.run.sampled[row - 1])
    return (Evidence("largest activation_std before", float(finite.max()), "1", 10**RAN_AWAY.value, f"sampled at step {step}"),)


def _count_non_finite(values: NDArray[np.float64], gradients: NDArray[np.float64], row: int | None) -> float:
    return float(np.nansum(values[row]) + np.nansum(gradients[row])) if row is not None else wording.NOT_COUNTED
