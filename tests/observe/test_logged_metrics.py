"""`unvanish.log` takes one number of any type under each name; any other value raises an error with advice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from watching import watching

import unvanish
from unvanish.errors import UsageError


class TensorSubclass(torch.Tensor):
    """A subclass of tensors, as libraries for images have."""


NUMBERS: dict[str, tuple[Any, float]] = {
    "float": (0.5, 0.5),
    "int": (3, 3.0),
    "bool": (True, 1.0),
    "float32": (np.float32(0.5), 0.5),
    "float16": (np.float16(0.5), 0.5),
    "int64": (np.int64(7), 7.0),
    "bool_": (np.bool_(True), 1.0),
    "array of one": (np.array([0.25]), 0.25),
    "0-d array": (np.array(0.25), 0.25),
    "0-d tensor": (torch.tensor(0.5), 0.5),
    "tensor of one": (torch.tensor([[0.5]]), 0.5),
    "bfloat16": (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
    "integer tensor": (torch.tensor(4), 4.0),
    "part of a graph": (torch.ones(2, requires_grad=True).sum(), 2.0),
    "parameter": (nn.Parameter(torch.tensor(1.5)), 1.5),
    "subclass": (torch.tensor(0.5).as_subclass(TensorSubclass), 0.5),
    "infinite": (math.inf, math.inf),
    "nan": (torch.tensor(math.nan), math.nan),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "text": ("0.93", r"text, '0\.93': pass the number itself, such as float\('0\.93'\)"),
    "array": (np.zeros((2, 3)), r"a ndarray of shape \(2, 3\): pass a summary, such as value\.mean\(\)"),
    "tensor": (torch.zeros(4), r"a Tensor of shape \(4,\)"),
    "empty": (torch.zeros(0), r"a Tensor of shape \(0,\)"),
    "none": (None, r"None: leave it out"),
    "list": ([0.5], r"a list: pass float\(value\)"),
    "dict": ({"a": 1}, r"a dict: "),
    "complex": (1j, r"a complex: "),
    "complex tensor": (torch.tensor(1j), r"a Tensor: "),
    "without data": (torch.zeros((), device="meta"), r"a Tensor: "),
    "too large": (10**400, r"a int: "),
}


def test_every_kind_of_number_is_logged_as_a_float() -> None:
    with watching() as watched:
        for name, (value, _) in NUMBERS.items():
            unvanish.log(**{name: value})
    assert [(metric.name, metric.value) for metric in watched.run.metrics] == [
        (name, pytest.approx(value, nan_ok=True)) for name, (_, value) in NUMBERS.items()
    ]


def test_a_value_that_is_no_number_raises_with_advice_and_nothing_of_the_call_is_logged() -> None:
    with watching() as watched:
        for value, message in REFUSED.values():
            with pytest.raises(UsageError, match=rf"^unvanish\.log\(second=\.\.\.\) takes one number, and was given {message}"):
                unvanish.log(first=1.0, second=value)
    assert watched.run.metrics == ()


def test_outside_a_run_no_value_is_read_and_no_call_fails() -> None:
    class FailsOnAccess:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(f"accessed {name}")

    assert unvanish.log(a=FailsOnAccess(), **{name: value for name, (value, _) in REFUSED.items()}) is None
