"""The kinds of layers and functions in the vocabularies of `observe`, `remedies` and `tracing`, which are built from one table."""

from __future__ import annotations

import pytest
from torch import nn

from unvanish.network import module_kinds
from unvanish.observe.structure import site_kinds as observed
from unvanish.remedies.graph import signal_kinds as treated
from unvanish.tracing import operation_kinds as traced

# The kind of an observed site, the kind for remedies: classes of torch.nn.
MODULES = """
weight WEIGHT: Linear Bilinear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d LazyLinear LazyConv2d
recurrence WEIGHT: RNN LSTM GRU RNNCell LSTMCell GRUCell
attention WEIGHT: MultiheadAttention
embedding WEIGHT: Embedding EmbeddingBag
merge WEIGHT: TransformerEncoderLayer TransformerDecoderLayer TransformerEncoder Transformer AdaptiveLogSoftmaxWithLoss
normalisation NORMALISATION: BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d
    LayerNorm RMSNorm GroupNorm LocalResponseNorm
weight ACTIVATION: PReLU
other ACTIVATION: ReLU ReLU6 LeakyReLU RReLU ELU CELU SELU GELU SiLU Mish Hardswish Softplus Sigmoid Hardsigmoid LogSigmoid Tanh
    Hardtanh Softsign Tanhshrink Softshrink Hardshrink Threshold
pooling NEUTRAL: MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d
    AdaptiveMaxPool1d AdaptiveMaxPool2d
other NEUTRAL: AdaptiveAvgPool3d AdaptiveMaxPool3d LPPool1d MaxUnpool1d Dropout Dropout2d AlphaDropout Identity
other RESHAPE: Flatten Unflatten
other OTHER: GLU Softmax LogSoftmax Softmin CrossEntropyLoss MSELoss ZeroPad1d Upsample PixelShuffle Fold CosineSimilarity
    Sequential ModuleList ModuleDict ParameterList DataParallel
"""
CONTAINERS = {"Sequential", "ModuleList", "ModuleDict"}
# The kind of a traced operation, the kind for remedies: functions. Where the first depends on what goes in: one signal | one signal
# and a weight | two signals | two signals and a weight.
FUNCTIONS = """
activation ACTIVATION: relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu celu gelu silu mish sigmoid sigmoid_ hardsigmoid
    logsigmoid log_sigmoid tanh tanh_ hardtanh tanhshrink softsign softplus hardswish softshrink hardshrink threshold prelu
    rrelu
activation OTHER: erf glu
attention OTHER: softmax multi_head_attention_forward
attention WEIGHT: scaled_dot_product_attention
attention|weight|attention|weight WEIGHT: __matmul__ matmul mm bmm einsum
attention|weight|attention|weight OTHER: addbmm addmv baddbmm chain_matmul dot inner multi_dot mv outer tensordot
embedding OTHER: embedding embedding_bag
loss OTHER: log_softmax cross_entropy nll_loss mse_loss l1_loss huber_loss kl_div ctc_loss
normalisation NORMALISATION: batch_norm instance_norm layer_norm rms_norm group_norm local_response_norm
normalisation OTHER: native_batch_norm cudnn_batch_norm miopen_batch_norm native_layer_norm native_group_norm fused_rms_norm
    sync_batch_norm normalize
weight WEIGHT: linear bilinear addmm conv conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d
weight OTHER: mkldnn_convolution
other|weight|merge|merge OTHER: add __iadd__ __radd__ sub div __truediv__ cat stack where maximum lerp
other|weight|merge|merge PRODUCT: mul __mul__ multiply
pooling NEUTRAL: max_pool2d adaptive_avg_pool1d lp_pool1d max_unpool2d
pooling OTHER: mean sum amax max min logsumexp interpolate norm
other ACTIVATION: tailored tailoredactivation
other NEUTRAL: dropout alpha_dropout clone contiguous
other RESHAPE: view reshape flatten permute transpose squeeze expand_as
other OTHER: exp sin index_select chunk split cumsum clamp clip
"""
WATCHED = (
    "relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid hardsigmoid logsigmoid tanh hardtanh tanhshrink softsign softplus "
    "hardswish softshrink hardshrink threshold erf clamp clip softmax log_softmax glu prelu"
)
ARGUMENTS = (
    (),
    (4,),
    (4, 4),
    (4, 4, 2),
    (2, 4),
    (0.5, 1.0),
    ([nn.Linear(2, 2)],),
    (2, (2, 2)),
    (nn.TransformerEncoderLayer(4, 2), 1),
    (8, 100, [10]),
)


def read_table(text: str) -> dict[str, tuple[str, str]]:
    """The two kinds of every name in a table, of which a line that is indented continues the one above."""
    rows = [row.partition(": ") for row in text.replace("\n    ", " ").strip().splitlines()]
    return {name: (kinds.split()[0], kinds.split()[1]) for kinds, _, names in rows for name in names.split()}


def build(class_name: str) -> nn.Module:
    """A module of that class, with the first of the arguments that it takes."""
    for arguments in ARGUMENTS:
        try:
            return getattr(nn, class_name)(*arguments)
        except (TypeError, ValueError, AssertionError):
            continue
    raise AssertionError(f"no arguments here build {class_name}")


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # lazy layers, and a transformer without batch_first
@pytest.mark.parametrize("class_name", read_table(MODULES))
def test_modules_have_their_kind_in_both_vocabularies(class_name: str) -> None:
    module = build(class_name)
    assert (observed.kind_of(module), treated.kind_of(module).name) == read_table(MODULES)[class_name]
    assert treated.is_one_operation(module) is (class_name not in CONTAINERS)


@pytest.mark.parametrize("name", read_table(FUNCTIONS))
def test_functions_have_their_kind_in_both_vocabularies(name: str) -> None:
    operation = traced.operation_name(name)
    traced_kinds = [traced.operation_kind(operation, signals=n, weighted=w) for n in (1, 2) for w in (False, True)]
    treated_kind = treated.kind_of_call(treated.op_name(name)).name
    traced_kind = traced_kinds[0] if len(set(traced_kinds)) == 1 else "|".join(traced_kinds)
    assert (traced_kind, treated_kind) == read_table(FUNCTIONS)[name]


def test_the_watched_activations_are_those_that_can_be_evaluated_once_more() -> None:
    assert list(dict.fromkeys(observed.functional_activations().values())) == WATCHED.split()


def test_every_activation_function_is_named_as_its_class() -> None:
    for name, layer in module_kinds.ACTIVATIONS.items():
        assert treated.op_name(name) == layer.__name__.lower()
        assert callable(getattr(nn.functional, name))
