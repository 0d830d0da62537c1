"""Gives operations of torch one name for all spellings, and their kind by that name and by what goes in. Works on names only."""

from __future__ import annotations

from unvanish.network import module_kinds


def _names(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


ACTIVATIONS = frozenset(module_kinds.ACTIVATIONS) | _names("log_sigmoid erf glu")
WEIGHTS = module_kinds.WEIGHT_FUNCTIONS | _names("addmm conv convolution mkldnn_convolution")
PRODUCTS = module_kinds.MATRIX_PRODUCTS | _names("baddbmm addbmm mv addmv dot tensordot inner outer chain_matmul multi_dot")
NORMALISATIONS = module_kinds.NORMALISATION_FUNCTIONS | _names(
    "native_batch_norm cudnn_batch_norm miopen_batch_norm sync_batch_norm native_layer_norm native_group_norm fused_rms_norm "
    "normalize"
)
ATTENTION = _names("scaled_dot_product_attention softmax multi_head_attention_forward")
POOLING = _names("mean sum amax amin max min logsumexp median interpolate upsample norm linalg_vector_norm")
MERGES = _names("add sub mul div cat concat concatenate stack hstack vstack where maximum minimum addcmul addcdiv lerp")
EMBEDDINGS = _names("embedding embedding_bag")
RECURRENCES = _names("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
LOSSES = _names(
    "log_softmax cross_entropy nll_loss nll_loss_nd nll_loss2d mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy "
    "binary_cross_entropy_with_logits kl_div ctc_loss gaussian_nll_loss poisson_nll_loss cosine_embedding_loss "
    "triplet_margin_loss"
)

# What torch's graph calls an operation, where that is not its name in Python.
GRAPH_NAMES = {
    "addmm": "linear",
    "mm": "linear",
    "convolution": "conv",
    "native_layer_norm": "layer_norm",
    "native_batch_norm": "batch_norm",
    "native_group_norm": "group_norm",
    "t": "transpose",
    "view": "reshape",
    "unsafe_view": "reshape",
    "as_strided": "view",
    "slice": "index",
    "select": "index",
    "unsafe_split": "split",
    "scaled_dot_product_flash_attention_for_cpu": "scaled_dot_product_attention",
    "scaled_dot_product_flash_attention": "scaled_dot_product_attention",
    "scaled_dot_product_efficient_attention": "scaled_dot_product_attention",
    "scaled_dot_product_cudnn_attention": "scaled_dot_product_attention",
}
SPELLINGS = {
    "getitem": "index",
    "setitem": "index_put",
    "truediv": "div",
    "true_divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "neg": "neg",
}


def operation_name(name: str) -> str:
    """The plain name of a torch function: "add" for `__iadd__`, "relu" for `relu_`, "index" for `__getitem__`."""
    name = name.strip("_")
    for prefix in ("i", "r"):
        if name[1:] in ("add", "sub", "mul", "truediv", "matmul", "pow") and name.startswith(prefix):
            name = name[1:]
    return SPELLINGS.get(name, name)


def node_operation(node_name: str) -> str:
    """The plain name of a node of the autograd graph: "linear" for `AddmmBackward0`, "my_function" for `MyFunctionBackward`."""
    stem = node_name.rsplit("::", 1)[-1].rstrip("0123456789").removesuffix("Backward")
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in stem).strip("_")
    return GRAPH_NAMES.get(snake, snake)


def operation_kind(operation: str, *, signals: int, weighted: bool) -> str:
    """The kind of an operation: activation, weight, normalisation, attention, pooling, merge, embedding, loss or other.

    `signals` counts the tensors that carry a gradient back from it, parameters left out; `weighted` says whether it uses a
    parameter.
    """
    for kind, names in (
        ("activation", ACTIVATIONS),
        ("weight", WEIGHTS),
        ("normalisation", NORMALISATIONS),
        ("attention", ATTENTION),
        ("embedding", EMBEDDINGS),
        ("loss", LOSSES),
    ):
        if operation in names:
            return kind
    if operation in PRODUCTS:
        return "weight" if weighted else "attention"
    if operation in MERGES:
        return "merge" if signals > 1 else "weight" if weighted else "other"
    return "pooling" if operation in POOLING or "pool" in operation else "other"
