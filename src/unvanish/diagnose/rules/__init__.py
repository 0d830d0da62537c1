"""One problem a file. The shelf below is what `diagnose` applies, in the order in which roots come before what they cause."""

from __future__ import annotations

from unvanish.diagnose.rule import Rule
from unvanish.diagnose.rules.dead_units import DeadUnits
from unvanish.diagnose.rules.disconnected_parameter import DisconnectedParameter
from unvanish.diagnose.rules.exploding_gradient import ExplodingGradient
from unvanish.diagnose.rules.exploding_through_time import ExplodingThroughTime
from unvanish.diagnose.rules.learning_rate_too_high import LearningRateTooHigh
from unvanish.diagnose.rules.learning_rate_too_low import LearningRateTooLow
from unvanish.diagnose.rules.loss_not_decreasing import LossNotDecreasing
from unvanish.diagnose.rules.non_finite import NonFinite
from unvanish.diagnose.rules.off_critical_init import OffCriticalInit
from unvanish.diagnose.rules.saturated_activation import SaturatedActivation
from unvanish.diagnose.rules.symmetric_init import SymmetricInit
from unvanish.diagnose.rules.vanishing_gradient import VanishingGradient
from unvanish.diagnose.rules.vanishing_through_time import VanishingThroughTime


def built_in() -> tuple[Rule, ...]:
    """The rules that come with unvanish."""
    return (
        DisconnectedParameter(),
        SymmetricInit(),
        ExplodingThroughTime(),
        ExplodingGradient(),
        DeadUnits(),
        SaturatedActivation(),
        VanishingThroughTime(),
        VanishingGradient(),
        OffCriticalInit(),
        LearningRateTooHigh(),
        NonFinite(),
        LearningRateTooLow(),
        LossNotDecreasing(),
    )
