"""The function mode of a sampled forward pass, which sees functional activations and fused attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from unvanish.network.distributed_tensors import local_part
from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.attention_entropy import fused_entropy
from unvanish.observe.statistics.tensor_statistics import SlopeSample
from unvanish.observe.structure.site_kinds import ELEMENTWISE, functional_activations

if TYPE_CHECKING:
    from unvanish.observe.hooks.forward_hooks import ForwardWatch

ATTENTION = "scaled_dot_product_attention"
fused_attention = getattr(torch.nn.functional, ATTENTION)


class FunctionWatch(TorchFunctionMode):
    """Intercepts every torch function called in Python, and records the activations and fused attention among them."""

    def __init__(self, watch: ForwardWatch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function's own result, after recording the call."""
        kwargs = kwargs or {}
        began = self._watch.clock()
        if func is fused_attention:
            return self._attention(func, args, kwargs, began)
        name = functional_activations().get(func)
        inputs = args[0] if args else kwargs.get("input")
        if name is None or not isinstance(inputs, Tensor) or not torch.is_grad_enabled():
            self._watch.charge_since(began)
            return func(*args, **kwargs)
        sample = self._sample(name, func, inputs, args[1:], kwargs)
        self._watch.charge_since(began)
        output = func(*args, **kwargs)
        began = self._watch.clock()
        try:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            self._watch.record_activation(name, sample, inputs, output, dim if isinstance(dim, int) else None)
        except Exception as fault:
            self._watch.postpone(fault)
        self._watch.charge_since(began)
        return output

    def _attention(self, func: Any, args: Any, kwargs: Any, began: float) -> Any:
        """Fused attention's own result, after recording the entropy of its weights."""
        self._watch.charge_since(began)
        output = func(*args, **kwargs)
        began = self._watch.clock()
        try:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            arguments = dict(zip(names, args, strict=False)) | kwargs
            arguments |= {name: local_part(value) for name, value in arguments.items() if isinstance(value, Tensor)}
            if torch.is_grad_enabled():
                self._watch.record_attention(
                    output,
                    lambda: fused_entropy(
                        arguments["query"],
                        arguments["key"],
                        arguments.get("attn_mask"),
                        causal=bool(arguments.get("is_causal")),
                        scale=arguments.get("scale"),
                    ),
                )
        except Exception as fault:
            self._watch.postpone(fault)
        self._watch.charge_since(began)
        return output

    def _sample(self, name: str, func: Any, inputs: Tensor, rest: Any, kwargs: Any) -> SlopeSample | None:
        """Inputs of an elementwise activation, taken before the call since it may work in place."""
        try:
            if name not in ELEMENTWISE or not inputs.is_floating_point() or inputs.numel() == 0:
                return None
            kwargs = {key: value for key, value in kwargs.items() if key not in ("input", "out")}  # `out` is the user's memory
            form = f"{name} {rest} {kwargs}"
            sample = tensor_statistics.sample_elements(local_part(inputs).detach())
            return SlopeSample(form, sample, lambda z: func(z, *rest, **kwargs))
        except Exception as fault:
            self._watch.postpone(fault)
            return None
