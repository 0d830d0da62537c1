"""The remedy elu: exponential linear units (ELU) in place of activations that saturate or die."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import ActivationForms, replace_activations
from unvanish.remedies.edits.method_rewriting import FunctionCall

ELU = ActivationForms(nn.ELU, FunctionCall("torch.nn.functional:elu"))


@final
class Elu(Remedy):
    """Replaces hidden activations by ELU: slope one above zero, and a slope that fades without ever being zero below.

    Does: puts nn.ELU() in the place of every hidden activation module but ELU, CELU and SELU, and PReLU, whose slope is
        learned, and F.elu(x) in that of calls such as torch.tanh(x) in `forward`. An activation of the output, such as the
        sigmoid before BCELoss, stays; so do gates (a result that multiplies another signal, seen where the forward pass can be
        traced) and whatever is inside recurrent, attention and transformer layers. A user's hooks on a replaced activation rest
        until the change is undone.
    Helps: a deep network of sigmoid or tanh units that loses its gradient in them, and a network of rectifiers whose units have
        died. Its mean output is near zero, so it needs he-init less than ReLU does.
    Harms: it saturates below zero, so a shift of the input can still flatten it. Learned weights no longer fit.
    Cost: one exponential a unit; slightly slower than ReLU.
    References: Clevert, Unterthiner and Hochreiter 2015, arXiv 1511.07289.
    """

    name: ClassVar[str] = "elu"
    family: ClassVar[str] = "activation"
    summary: ClassVar[str] = "ELU in place of hidden activations that saturate or die"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "saturated-activation", "dead-units")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation a module or call. Raises NotApplicable where no hidden activation can be replaced."""
        return replace_activations(network, context, replacement=ELU, remedy=self.name, keep=(nn.ELU, nn.CELU, nn.SELU, nn.PReLU))
