"""Tells as data how the parameters of a module are initialised, by their paths in the network."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from unvanish.record.initial_values import InitialValues, Law


def parameter_path(module_path: str, name: str) -> str:
    """The dotted path of a module's parameter.

    Example:
        >>> parameter_path("net.0", "weight"), parameter_path("", "bias")
        ('net.0.weight', 'bias')
    """
    return f"{module_path}.{name}" if module_path else name


def zeros(path: str, parameter: Tensor) -> InitialValues:
    """The values of a parameter at that path which becomes zero."""
    return InitialValues(path, tuple(parameter.shape), Law.ZEROS)


def module_values(
    path: str, module: nn.Module, laws: Iterable[tuple[nn.Parameter, Law]], *, scale: float = 0.0, blocks: int = 1
) -> tuple[InitialValues, ...]:
    """The values of some of a module's own parameters, each by its law, all of the same scale and number of blocks.

    Arguments:
        path: path of the module in the network.
        module: the module.
        laws: parameters of the module, each with its law.
        scale: as in InitialValues.
        blocks: as in InitialValues.

    Example:
        >>> module_values("fc", layer := nn.Linear(2, 1), [(layer.bias, Law.ZEROS)])[0].parameter
        'fc.bias'
    """
    names = {id(parameter): name for name, parameter in module.named_parameters(recurse=False)}
    return tuple(
        InitialValues(parameter_path(path, names[id(parameter)]), tuple(parameter.shape), law, scale, blocks)
        for parameter, law in laws
    )
