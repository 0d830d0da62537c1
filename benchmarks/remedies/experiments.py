"""The two trainings of each remedy that its stored verdicts come from: one in which it helps, and one in which it does not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EXPERIMENTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        # remedy: the training that it helps, and one that it does not; names of tasks
        "relu": ("sigmoid 8", "glorot tanh 30"),
        "leaky-relu": ("dead relu", "glorot tanh 30"),
        "elu": ("sigmoid 8", "sigmoid 30"),
        "selu": ("sigmoid 30", "glorot tanh 30"),
        "gelu": ("sigmoid 8", "glorot tanh 30"),
        "silu": ("sigmoid 8", "glorot tanh 30"),
        "tailored-activation": ("sigmoid 50", "glorot tanh 30"),
        "glorot-init": ("tanh 30", "sigmoid 30"),
        "he-init": ("relu 30", "sigmoid 30"),
        "lecun-init": ("selu 30", "sigmoid 30"),
        "orthogonal-init": ("tanh 50", "sigmoid 30"),
        "critical-init": ("tanh 50", "shallow tanh"),
        "delta-orthogonal-init": ("tanh cnn 20", "relu cnn 3"),
        "lsuv-init": ("relu 30", "sigmoid 30"),
        "identity-rnn-init": ("adding rnn", "lines rnn"),
        "forget-bias": ("adding lstm", "lines lstm"),
        "zero-init-residual": ("branches 30", "branches 2"),
        "batchnorm": ("sigmoid 30", "he relu 50"),
        "layernorm": ("tanh 20", "sigmoid 30"),
        "groupnorm": ("relu cnn 3", "norm cnn pairs"),
        "rmsnorm": ("tanh 20", "sigmoid 30"),
        "online-norm": ("one by one", "he relu 50"),
        "dynamic-tanh": ("large relu 8", "sigmoid 30"),
        "lstm": ("adding rnn", "lines rnn"),
        "gru": ("adding rnn", "lines rnn"),
        "residual": ("relu 30", "shallow relu"),
        "pre-norm": ("rash transformer", "transformer 2"),
        "learning-rate": ("rash adam", "shallow relu"),
        "warmup": ("rash transformer", "shallow relu"),
        "adamw": ("slow sgd", "tuned sgd"),
        "sgd-momentum": ("slow sgd", "transformer 2"),
        "muon": ("short", "sigmoid 30"),
        "clip-norm": ("rash sgd", "lines lstm"),
        "clip-adaptive": ("rash sgd", "shallow relu"),
        "loss-scaling": ("half sigmoid 4", "half relu 3"),
        "skip-non-finite": ("sigmoid by hand", "shallow relu"),
        "epsilon": ("large eps", "small eps"),
        "standardise-input": ("raw wine", "sigmoid 30"),
        "logits": ("softmax output", "bounded regression"),
        "bounded-logits": ("sigmoid by hand", "softmax output"),
        "sigmoid-output": ("scores by hand", "bounded regression"),
        "softmax-output": ("scores by hand", "tuned sgd"),
        "log-softmax-output": ("scores as logarithms", "tuned sgd"),
    }
)
