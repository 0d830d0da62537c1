"""The rules that come with unvanish, one problem in each module; plugins register theirs beside them."""

from __future__ import annotations

from unvanish.diagnose.rule import Rule
from unvanish.diagnose.rules.attention_collapse import AttentionCollapse
from unvanish.diagnose.rules.batch_too_small import BatchTooSmall
from unvanish.diagnose.rules.clipping_dominates import ClippingDominates
from unvanish.diagnose.rules.dead_units import DeadUnits
from unvanish.diagnose.rules.degenerate_labels import DegenerateLabels
from unvanish.diagnose.rules.disconnected_parameter import DisconnectedParameter
from unvanish.diagnose.rules.exploding_gradient import ExplodingGradient
from unvanish.diagnose.rules.exploding_through_time import ExplodingThroughTime
from unvanish.diagnose.rules.gradient_noise import GradientNoise
from unvanish.diagnose.rules.gradient_underflow import GradientUnderflow
from unvanish.diagnose.rules.learning_rate_too_high import LearningRateTooHigh
from unvanish.diagnose.rules.learning_rate_too_low import LearningRateTooLow
from unvanish.diagnose.rules.loss_not_decreasing import LossNotDecreasing
from unvanish.diagnose.rules.non_finite import NonFinite
from unvanish.diagnose.rules.off_critical_init import OffCriticalInit
from unvanish.diagnose.rules.optimizer_epsilon import OptimizerEpsilon
from unvanish.diagnose.rules.output_mismatch import OutputMismatch
from unvanish.diagnose.rules.overfitting import Overfitting
from unvanish.diagnose.rules.representation_collapse import RepresentationCollapse
from unvanish.diagnose.rules.running_stats_drift import RunningStatsDrift
from unvanish.diagnose.rules.saturated_activation import SaturatedActivation
from unvanish.diagnose.rules.shattered_gradient import ShatteredGradient
from unvanish.diagnose.rules.stale_gradient import StaleGradient
from unvanish.diagnose.rules.symmetric_init import SymmetricInit
from unvanish.diagnose.rules.underfitting import Underfitting
from unvanish.diagnose.rules.unscaled_input import UnscaledInput
from unvanish.diagnose.rules.vanishing_gradient import VanishingGradient
from unvanish.diagnose.rules.vanishing_through_time import VanishingThroughTime
from unvanish.diagnose.rules.weight_decay_dominates import WeightDecayDominates


def built_in() -> tuple[Rule, ...]:
    """A new object of every rule that comes with unvanish, by rank: the nearest to a root first."""
    rules: tuple[Rule, ...] = (
        AttentionCollapse(),
        BatchTooSmall(),
        ClippingDominates(),
        DeadUnits(),
        DegenerateLabels(),
        DisconnectedParameter(),
        ExplodingGradient(),
        ExplodingThroughTime(),
        GradientNoise(),
        GradientUnderflow(),
        LearningRateTooHigh(),
        LearningRateTooLow(),
        LossNotDecreasing(),
        NonFinite(),
        OffCriticalInit(),
        OptimizerEpsilon(),
        OutputMismatch(),
        Overfitting(),
        RepresentationCollapse(),
        RunningStatsDrift(),
        SaturatedActivation(),
        ShatteredGradient(),
        StaleGradient(),
        SymmetricInit(),
        Underfitting(),
        UnscaledInput(),
        VanishingGradient(),
        VanishingThroughTime(),
        WeightDecayDominates(),
    )
    return tuple(sorted(rules, key=lambda rule: rule.rank))
