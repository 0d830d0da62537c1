"""Every threshold that a rule goes by, in one table: its value, its unit, and where it comes from.

`origin` tells how much a number is worth: "theory" follows from a formula, "published" stands in the paper named, "calibrated" was
set on labelled trainings by `python -m benchmarks.diagnosis`, which says how well the family left out fared with it, and
"convention" is a choice that a person could make otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unvanish.diagnose.confidences import USUAL, ConfidenceRange
from unvanish.record.finding import Evidence

Origin = Literal["theory", "published", "calibrated", "convention"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that a reading is compared with, its unit, and its source.

    `sure` is the value from which on the finding is beyond doubt; between `value` and `sure` the confidence grows. It may lie on
    either side of `value`; None stands for a confidence that does not grow.

    Example:
        >>> quiet = Threshold(-3.0, "log10", "convention", "a thousandth of the usual size", sure=-5.0)
        >>> quiet.confidence(-4.0, ConfidenceRange(0.5, 1.0, "as an example"))
        0.75
        >>> quiet.as_evidence("size", -4.0).threshold
        -3.0
    """

    value: float
    unit: str
    origin: Origin
    source: str
    sure: float | None = None

    def as_evidence(self, quantity: str, value: float, site: str | None = None) -> Evidence:
        """The measured value as evidence, beside this threshold and its source.

        Arguments:
            quantity: What was measured, in words.
            value: The measurement, in the threshold's unit.
            site: Where, as `RunView.site_labels` names it.
        """
        return Evidence(quantity, value, self.unit, self.value, self.source, site)

    def confidence(self, value: float, within: ConfidenceRange = USUAL) -> float:
        """The confidence that a value gives, 0 to 1: linear from `within.least` at the threshold to `within.most` at `sure`.

        Beyond these two it stays at their ends. It is `within.least` for NaN, and where the threshold has no `sure`.
        """
        if self.sure is None or self.sure == self.value or value != value:
            return within.least
        position = (value - self.value) / (self.sure - self.value)
        return within.least + (within.most - within.least) * min(max(position, 0.0), 1.0)


# Of the loss: how much of what a constant answer leaves has been learned, 0 to 1.
NOTHING_LEARNED = Threshold(
    0.1, "fraction", "calibrated", "a tenth of what the best constant answer leaves; healthy trainings learn more", sure=0.0
)
UNLEARNED = Threshold(0.05, "fraction", "calibrated", "a twentieth of what the best constant answer leaves")
HARDLY_LEARNED = Threshold(0.25, "fraction", "calibrated", "a quarter of what the best constant answer leaves")
HALF_LEARNED = Threshold(0.5, "fraction", "convention", "half of what the best constant answer leaves")
MOSTLY_LEARNED = Threshold(0.75, "fraction", "convention", "three quarters of what the best constant answer leaves")
WELL_LEARNED = Threshold(0.9, "fraction", "convention", "nine tenths of what the best constant answer leaves")
FLAT_LOSS = Threshold(0.02, "fraction", "convention", "two per cent of its start: about what learning the mean answer brings")

# Of the gradient between the layers.
VANISHED = Threshold(-3.0, "log10", "published", "ratio 1e-3 of first to last layer, as in AUTOTRAINER (Zhang 2021)", sure=-5.0)
EXPLODED = Threshold(3.0, "log10", "published", "the mirror image of the vanishing ratio, 1e3 (Zhang 2021)", sure=4.0)
THROWN_START = Threshold(
    1.0, "log10", "theory", "the first loss over that of the best constant answer: a sound start is near it (LeCun 1998)", sure=2.0
)
SIGNAL_GREW = Threshold(2.0, "log10", "convention", "a factor of 100 from first to last layer")
FADED_IN_TIME = Threshold(
    3.0, "log10", "published", "a thousandth from the last step to the first, as for depth (AUTOTRAINER, Zhang 2021)", sure=5.0
)
OFF_CRITICAL = Threshold(
    3.0, "log10", "theory", "ratio 1e-3 between output and input; predicted by mean-field theory (Schoenholz 2017)"
)
STANDSTILL = Threshold(-4.5, "log10", "theory", "30,000 steps to move a weight by its own size")
SHATTERED = Threshold(
    0.1,
    "cosine",
    "calibrated",
    "gradients of consecutive batches at the first layers; healthy plain networks measured: 0.16 and more",
    sure=0.0,
)
SHATTERED_DEPTH = Threshold(
    16.0,
    "layers",
    "theory",
    "normalised plain ReLU layers multiply the squared gradient by 1.47 each (Yang 2019): a decade over so many",
)
UNDERFLOWN = Threshold(0.9, "fraction", "convention", "nine in ten of the gradients are zero", sure=1.0)
HALF_PRECISION = Threshold(-10.0, "log10", "theory", "IEEE 754: float16 ends at 6e-8, bfloat16 and float32 below 1e-39")
NEAR_THE_END = Threshold(1.0, "log10", "convention", "within a decade of the smallest number of its type")
AGREEMENT = Threshold(0.1, "cosine", "calibrated", "gradients of consecutive batches; of pure noise they agree by 0", sure=0.03)
FEW_EXAMPLES = Threshold(8.0, "count", "convention", "examples in a batch from which noise is no wonder", sure=2.0)
STALE = Threshold(
    -1.0,
    "log10",
    "theory",
    "the gradient of the step before, over the one used: cleared it is nothing, kept it is about one",
    sure=-0.3,
)

# Of activations and outputs.
SATURATED = Threshold(0.5, "fraction", "published", "more than half of the units at the ends (Glorot and Bengio 2010)", sure=0.8)
SATURATED_OUTPUT = Threshold(0.95, "fraction", "convention", "all but one in twenty of the values at the ends", sure=0.99)
DEAD = Threshold(0.9, "fraction", "calibrated", "nine units in ten; healthy networks measured stay under 0.25", sure=1.0)
COLLAPSED = Threshold(0.05, "ratio", "calibrated", "deviation between examples over the size of the output", sure=0.01)
BLURRED = Threshold(0.2, "ratio", "calibrated", "deviation between examples over the size of the output", sure=0.05)
COLLAPSED_FALL = Threshold(-0.7, "log10", "convention", "a fifth of what it was at the start", sure=-1.5)
UNREACHABLE = Threshold(0.05, "fraction", "convention", "one target in twenty", sure=0.2)
NOT_LOGARITHMS = Threshold(0.05, "log10", "theory", "the logarithms of probabilities sum to one: 0 decades", sure=0.3)
COMPARED = Threshold(1.5, "count", "theory", "each value is compared once", sure=2.0)
FLOOR = Threshold(0.05, "fraction", "theory", "the least loss that bounded scores allow, over that of blind guessing", sure=0.3)
ZERO_SCORES = Threshold(0.25, "fraction", "convention", "a quarter of the scores", sure=0.7)

# Of the initial weights.
COPIES = Threshold(1e-4, "ratio", "theory", "the size of ten updates; neighbours that break a symmetry differ by more")
COPIES_AT_FIRST = Threshold(1e-6, "ratio", "theory", "rounding of float32")

# Of the optimizer.
VIOLENT = Threshold(
    -1.0, "log10", "published", "1e-3 of a weight a step is usual (Karpathy, CS231n); this is a hundred times that", sure=-0.5
)
LONG = Threshold(
    -1.75, "log10", "calibrated", "1e-3 of a weight a step is usual (Karpathy, CS231n); this is twenty times that", sure=-1.0
)
SAME_WAY = Threshold(0.3, "cosine", "calibrated", "gradients of far samples at the end; of healthy trainings 0.1", sure=0.6)
CONSTANT_REWARD = Threshold(
    0.1, "fraction", "theory", "spread of the rewards over their size: what is common to all teaches nothing", sure=0.02
)
SLOW = Threshold(
    -3.5,
    "log10",
    "calibrated",
    "1e-3 of a weight a step is usual (Karpathy, CS231n); healthy networks measured: 10^-3.1 and faster",
    sure=-4.0,
)
EPSILON = Threshold(1.0, "log10", "theory", "Adam divides by sqrt(v) + eps: here eps is ten times the gradient", sure=2.0)
CLIPPED_HARD = Threshold(-1.3, "log10", "calibrated", "nineteen twentieths of every gradient are cut off", sure=-2.0)
CLIPPED = Threshold(-1.0, "log10", "calibrated", "nine tenths of every gradient are cut off", sure=-1.5)
STEADY_FACTOR = Threshold(1e-3, "log10", "theory", "what unscaling takes is the same at every step, what clipping takes is not")
DECAY = Threshold(0.0, "log10", "theory", "the pull of weight decay over that of the loss: here it is stronger", sure=0.5)
ALONG_WEIGHT = Threshold(
    0.5, "cosine", "theory", "a penalty's gradient lies along the weight (1), that of data across it (about 0)", sure=0.8
)
SHRUNK = Threshold(-0.2, "log10", "calibrated", "the weights have lost a third of their size", sure=-0.5)

# Of the data.
LARGE_INPUT = Threshold(
    1.0, "log10", "theory", "RMS of the largest feature: initialisations are made for inputs of about 1 (LeCun 1998)", sure=2.0
)
SMALL_INPUT = Threshold(
    -2.0, "log10", "theory", "RMS of the input: initialisations are made for inputs of about 1 (LeCun 1998)", sure=-3.0
)
NO_RELATION = Threshold(2.5, "1", "theory", "standard errors of a correlation that is zero (1 in 160)", sure=1.0)
ENOUGH_NEIGHBOURS = Threshold(120.0, "count", "theory", "below that, a correlation of 0.2 is not told from none")

# Of batch normalisation.
FEW_VALUES = Threshold(
    4.0, "count", "theory", "relative error of a variance from n values: sqrt(2 / (n - 1)), here 0.8 and more", sure=2.0
)
DRIFTED = Threshold(
    1.0,
    "1",
    "calibrated",
    "evaluation would see another output by one standard deviation; healthy networks measured: up to 0.3",
    sure=2.0,
)

# Of what is learned.
PREDICTABLE = Threshold(0.3, "correlation", "calibrated", "similar inputs have similar answers", sure=0.7)
WORSE_THAN_CONSTANT = Threshold(1.1, "ratio", "theory", "the validation loss of an answer that ignores the input", sure=1.5)
ROSE_AGAIN = Threshold(1.15, "ratio", "calibrated", "the validation loss over its own best", sure=1.5)
SCORE_GAP = Threshold(0.2, "fraction", "calibrated", "the training score minus the one on other data", sure=0.35)
MEMORISED = Threshold(0.5, "ratio", "calibrated", "the training loss over the validation loss", sure=0.2)

# Of attention.
EVEN = Threshold(1.0 - 1e-6, "fraction", "theory", "queries and keys that are zero give an even look, and get no gradient")
SHARP = Threshold(
    0.1,
    "fraction",
    "calibrated",
    "entropy of the attention over that of an even look; at the start healthy ones have 0.9",
    sure=0.02,
)

# Of single rules. How many steps or samples a rule needs is a constant of the rule's own module.
SETTLED = Threshold(0.05, "fraction", "convention", "fall of the loss over the second half, over its end")
SHARE_TOLD = Threshold(0.5, "fraction", "convention", "half of what similar inputs tell")
ALIVE = Threshold(0.5, "fraction", "convention", "silent units of a layer that is alive")
KILLED = Threshold(0.8, "fraction", "convention", "silent units of a layer that has been switched off")
DIVERGED = Threshold(2.0, "ratio", "convention", "a loss that ends at twice its start")
LEAPT = Threshold(3.0, "ratio", "convention", "a loss that leaps to three times its start in the first steps")
BEGAN_TO_FALL = Threshold(0.05, "fraction", "convention", "fall of the loss over its start: a twentieth is a beginning")
LATE_START = Threshold(
    0.15, "fraction", "calibrated", "of a run before the loss began to fall; 0.06 at most in healthy trainings", sure=0.4
)
MOVED_TARGETS = Threshold(
    2.0,
    "ratio",
    "theory",
    "largest target at the end against the start: their square, and with it the loss, is four times as large",
)
GREW = Threshold(0.5, "log10", "calibrated", "growth of the weights over a run; 0.3 at most in healthy trainings", sure=1.0)
SOUND_START = Threshold(
    -0.5, "log10", "theory", "sqrt(fan_in) times the RMS of a weight at the start: torch's default gives -0.24, He's 0.15"
)
ABOVE_START = Threshold(1.5, "ratio", "convention", "a loss well above where it began")
OFTEN = Threshold(3.0, "count", "calibrated", "leaps beyond the start; healthy trainings with little noise have none")
LITTLE_LEARNED = Threshold(0.5, "fraction", "convention", "fall of the loss over its start: below it, most is still to come")
RELAPSED = Threshold(3.0, "ratio", "convention", "a loss that ends at three times its lowest")
HARDLY_FELL = Threshold(0.1, "fraction", "convention", "fall of the loss over its start")
NOISY_LOSS = Threshold(0.1, "fraction", "convention", "noise of the loss over its start: above it, leaps are noise")
LOST_GRADIENT = Threshold(3.0, "log10", "convention", "decades of a weight's gradient between start and end")
ON_ITS_WAY = Threshold(0.1, "fraction", "convention", "a loss that fell by a tenth of its start is on its way")
NO_MORE_TO_LEARN = Threshold(0.9, "fraction", "convention", "a training score that leaves little but accidents")
SEEN_AGAIN = Threshold(0.2, "fraction", "convention", "share of the examples that came again")
GROWS_BACK = Threshold(0.5, "log10", "theory", "normalised plain layers enlarge the gradient on its way back (Yang 2019)")
SOUND_FOR_TANH = Threshold(
    0.3, "log10", "theory", "sqrt(fan_in) times the RMS of a weight: twice the scale that Glorot (2010) gives"
)
SOUND_FOR_SCORES = Threshold(
    0.5, "log10", "theory", "sqrt(fan_in) times the RMS of a weight: three times what keeps the size of a signal"
)
SOUND_FOR_RELU = Threshold(0.2, "log10", "theory", "sqrt(fan_in) times the RMS of a weight: He's (2015) is 0.15")
LARGE_WEIGHTS = Threshold(0.35, "log10", "theory", "sqrt(fan_in) times the RMS of a weight: 1.6 times He's (2015)")
VISIBLE_GROWTH = Threshold(1.0, "log10", "convention", "decades of growth: less, and the numbers broke down for another reason")
TRACED_GROWTH = Threshold(1.0, "log10", "theory", "decades from the output to the input, exactly: less is no growth")
RAN_AWAY = Threshold(4.0, "log10", "convention", "deviation of a signal before the first bad value")
LOSS_RAN_AWAY = Threshold(1000.0, "ratio", "convention", "largest finite loss over the first")
SMALL_PART = Threshold(0.01, "fraction", "convention", "share of the weights; less is hardly missed")
TWO_VALUES = Threshold(2.0, "count", "theory", "from two values every output is +1 or -1")
BY_HEART = Threshold(0.5, "fraction", "convention", "how much of what was seen before may have been learned by heart")
MOSTLY = Threshold(0.8, "fraction", "convention", "of the samples, and of the weights")
NEAR_CRITICAL = Threshold(
    0.02, "fraction", "theory", "a scale within 2 % is the critical one, for all that some hundred layers can tell"
)
DROWNED = Threshold(1.0, "log10", "convention", "largest over middle feature that is worth a sentence")


def all_thresholds() -> Mapping[str, Threshold]:
    """All thresholds by the names that they have in this module."""
    return {name: value for name, value in globals().items() if isinstance(value, Threshold)}
