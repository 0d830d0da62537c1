"""The remedies that come with the package, one a file. Nothing here chooses between them."""

from __future__ import annotations

from unvanish.remedies.contract import Remedy
from unvanish.remedies.shelf.adamw import AdamW
from unvanish.remedies.shelf.batchnorm import BatchNorm
from unvanish.remedies.shelf.bounded_logits import BoundedLogits
from unvanish.remedies.shelf.clip_adaptive import ClipAdaptive
from unvanish.remedies.shelf.clip_norm import ClipNorm
from unvanish.remedies.shelf.critical_init import CriticalInit
from unvanish.remedies.shelf.delta_orthogonal_init import DeltaOrthogonalInit
from unvanish.remedies.shelf.dynamic_tanh import DyT
from unvanish.remedies.shelf.elu import Elu
from unvanish.remedies.shelf.epsilon import Epsilon
from unvanish.remedies.shelf.forget_bias import ForgetBias
from unvanish.remedies.shelf.gelu import Gelu
from unvanish.remedies.shelf.glorot_init import GlorotInit
from unvanish.remedies.shelf.groupnorm import GroupNorm
from unvanish.remedies.shelf.gru import Gru
from unvanish.remedies.shelf.he_init import HeInit
from unvanish.remedies.shelf.identity_rnn_init import IdentityRnnInit
from unvanish.remedies.shelf.layernorm import LayerNorm
from unvanish.remedies.shelf.leaky_relu import LeakyRelu
from unvanish.remedies.shelf.learning_rate import LearningRate
from unvanish.remedies.shelf.lecun_init import LecunInit
from unvanish.remedies.shelf.log_softmax_output import LogSoftmaxOutput
from unvanish.remedies.shelf.logits import Logits
from unvanish.remedies.shelf.loss_scaling import LossScaling
from unvanish.remedies.shelf.lstm import Lstm
from unvanish.remedies.shelf.lsuv_init import LsuvInit
from unvanish.remedies.shelf.muon import Muon
from unvanish.remedies.shelf.online_norm import OnlineNormalisation
from unvanish.remedies.shelf.orthogonal_init import OrthogonalInit
from unvanish.remedies.shelf.pre_norm import PreNorm
from unvanish.remedies.shelf.relu import Relu
from unvanish.remedies.shelf.residual import SkipInit
from unvanish.remedies.shelf.rmsnorm import RmsNorm
from unvanish.remedies.shelf.selu import Selu
from unvanish.remedies.shelf.sgd_momentum import SgdMomentum
from unvanish.remedies.shelf.sigmoid_output import SigmoidOutput
from unvanish.remedies.shelf.silu import Silu
from unvanish.remedies.shelf.skip_non_finite import SkipNonFinite
from unvanish.remedies.shelf.softmax_output import SoftmaxOutput
from unvanish.remedies.shelf.standardise_input import StandardiseInput
from unvanish.remedies.shelf.tailored_activation import Tailoring
from unvanish.remedies.shelf.warmup import WarmUp
from unvanish.remedies.shelf.zero_init_residual import ZeroInitResidual

KINDS: tuple[type[Remedy], ...] = (
    *(Relu, LeakyRelu, Elu, Selu, Gelu, Silu, Tailoring),
    *(GlorotInit, HeInit, LecunInit, OrthogonalInit, CriticalInit, DeltaOrthogonalInit, LsuvInit),
    *(IdentityRnnInit, ForgetBias, ZeroInitResidual),
    *(BatchNorm, LayerNorm, GroupNorm, RmsNorm, OnlineNormalisation, DyT),
    *(Lstm, Gru, SkipInit, PreNorm),
    *(LearningRate, WarmUp, AdamW, SgdMomentum, Muon),
    *(ClipNorm, ClipAdaptive, LossScaling, SkipNonFinite, Epsilon),
    *(StandardiseInput, Logits, BoundedLogits, SigmoidOutput, SoftmaxOutput, LogSoftmaxOutput),
)
"""In the order in which lists show them: by family, and in each from the plain to the special."""


def built_in() -> tuple[Remedy, ...]:
    """One remedy of each kind."""
    return tuple(kind() for kind in KINDS)
