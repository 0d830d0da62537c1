"""Prints what a training computed, so that two of them can be compared bit for bit."""

import hashlib
import random

import numpy as np
import torch


def digest(*parts):
    return "x" + hashlib.sha256(b"".join(parts)).hexdigest()[:20]


def array_bytes(value):
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype == torch.bfloat16 else value
    return np.ascontiguousarray(value).tobytes()


def print_fingerprint(losses, weights):
    """Arguments: the loss of each step; tensors or arrays, or a state_dict of them."""
    values = weights.values() if hasattr(weights, "values") else weights
    print("fingerprint of losses", digest(*(float(loss).hex().encode() for loss in losses)), flush=True)
    print("fingerprint of weights", digest(*map(array_bytes, values)), flush=True)
    states = (repr(random.getstate()).encode(), repr(np.random.get_state()).encode(), array_bytes(torch.get_rng_state()))
    print("fingerprint of random state", digest(*states), flush=True)
