"""The built-in remedies, one a file in the folder of its family. A new one is imported here and added to `REMEDY_CLASSES`."""

from __future__ import annotations

from unvanish.remedies.base import Remedy
from unvanish.remedies.catalogue.activation.elu import Elu
from unvanish.remedies.catalogue.activation.gelu import Gelu
from unvanish.remedies.catalogue.activation.leaky_relu import LeakyRelu
from unvanish.remedies.catalogue.activation.relu import Relu
from unvanish.remedies.catalogue.activation.selu import Selu
from unvanish.remedies.catalogue.activation.silu import Silu
from unvanish.remedies.catalogue.activation.tailored_activation import TailoredActivations
from unvanish.remedies.catalogue.architecture.gru import Gru
from unvanish.remedies.catalogue.architecture.lstm import Lstm
from unvanish.remedies.catalogue.architecture.pre_norm import PreNorm
from unvanish.remedies.catalogue.architecture.residual import ResidualConnections
from unvanish.remedies.catalogue.data_output.bounded_logits import BoundedLogits
from unvanish.remedies.catalogue.data_output.log_softmax_output import LogSoftmaxOutput
from unvanish.remedies.catalogue.data_output.logits import Logits
from unvanish.remedies.catalogue.data_output.sigmoid_output import SigmoidOutput
from unvanish.remedies.catalogue.data_output.softmax_output import SoftmaxOutput
from unvanish.remedies.catalogue.data_output.standardise_input import StandardiseInput
from unvanish.remedies.catalogue.initialisation.critical_init import CriticalInit
from unvanish.remedies.catalogue.initialisation.delta_orthogonal_init import DeltaOrthogonalInit
from unvanish.remedies.catalogue.initialisation.forget_bias import ForgetBias
from unvanish.remedies.catalogue.initialisation.glorot_init import GlorotInit
from unvanish.remedies.catalogue.initialisation.he_init import HeInit
from unvanish.remedies.catalogue.initialisation.identity_rnn_init import IdentityRnnInit
from unvanish.remedies.catalogue.initialisation.lecun_init import LecunInit
from unvanish.remedies.catalogue.initialisation.lsuv_init import LsuvInit
from unvanish.remedies.catalogue.initialisation.orthogonal_init import OrthogonalInit
from unvanish.remedies.catalogue.initialisation.zero_init_residual import ZeroInitResidual
from unvanish.remedies.catalogue.normalisation.batchnorm import BatchNorm
from unvanish.remedies.catalogue.normalisation.dynamic_tanh import DyT
from unvanish.remedies.catalogue.normalisation.groupnorm import GroupNorm
from unvanish.remedies.catalogue.normalisation.layernorm import LayerNorm
from unvanish.remedies.catalogue.normalisation.online_norm import OnlineNormalisation
from unvanish.remedies.catalogue.normalisation.rmsnorm import RmsNorm
from unvanish.remedies.catalogue.optimisation.adamw import AdamW
from unvanish.remedies.catalogue.optimisation.clip_adaptive import ClipAdaptive
from unvanish.remedies.catalogue.optimisation.clip_norm import ClipNorm
from unvanish.remedies.catalogue.optimisation.epsilon import Epsilon
from unvanish.remedies.catalogue.optimisation.learning_rate import LearningRate
from unvanish.remedies.catalogue.optimisation.loss_scaling import LossScaling
from unvanish.remedies.catalogue.optimisation.muon import Muon
from unvanish.remedies.catalogue.optimisation.sgd_momentum import SgdMomentum
from unvanish.remedies.catalogue.optimisation.skip_non_finite import SkipNonFinite
from unvanish.remedies.catalogue.optimisation.warmup import WarmUp

REMEDY_CLASSES: tuple[type[Remedy], ...] = (
    # activation
    *(Relu, LeakyRelu, Elu, Selu, Gelu, Silu, TailoredActivations),
    # initialisation
    *(GlorotInit, HeInit, LecunInit, OrthogonalInit, CriticalInit, DeltaOrthogonalInit, LsuvInit),
    *(IdentityRnnInit, ForgetBias, ZeroInitResidual),
    # normalisation
    *(BatchNorm, LayerNorm, GroupNorm, RmsNorm, OnlineNormalisation, DyT),
    # architecture
    *(Lstm, Gru, ResidualConnections, PreNorm),
    # optimisation
    *(LearningRate, WarmUp, AdamW, SgdMomentum, Muon),
    *(ClipNorm, ClipAdaptive, LossScaling, SkipNonFinite, Epsilon),
    # data
    StandardiseInput,
    # output
    *(Logits, BoundedLogits, SigmoidOutput, SoftmaxOutput, LogSoftmaxOutput),
)
"""In the order in which lists show them: by family, and in each from the general to the special."""


def built_in() -> tuple[Remedy, ...]:
    """One instance of every built-in remedy; the entry point `unvanish.remedies` names this function."""
    return tuple(remedy_class() for remedy_class in REMEDY_CLASSES)
