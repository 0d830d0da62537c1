"""The remedy relu: rectified linear units (ReLU) in place of activations that saturate."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import ActivationForms, replace_activations
from unvanish.remedies.edits.method_rewriting import FunctionCall

RELU = ActivationForms(nn.ReLU, FunctionCall("torch.nn.functional:relu"))


@final
class Relu(Remedy):
    """Replaces hidden activations that saturate by ReLU, whose slope is exactly one wherever it is active.

    Does: puts nn.ReLU() in the place of every hidden activation module but ReLU and its leaky relatives, and F.relu(x) in that
        of calls such as torch.tanh(x) in `forward`. An activation of the output, such as the sigmoid before BCELoss, stays; so
        do gates (a result that multiplies another signal, seen where the forward pass can be traced) and whatever is inside
        recurrent, attention and transformer layers. A user's hooks on a replaced activation rest until the change is undone.
    Helps: a deep network of sigmoid or tanh units that loses its gradient in them: a sigmoid passes on at most a quarter.
        Together with he-init, since weights that suit sigmoid units let the signal of rectifiers die out.
    Harms: units may die (a unit that is never active gets no gradient), more so at a high learning rate. A network that relies
        on bounded activations, such as a controller or an implicit function, loses that. Learned weights no longer fit.
    Cost: none; cheaper than sigmoid and tanh.
    References: Nair and Hinton 2010; Glorot, Bordes and Bengio 2011, "Deep sparse rectifier neural networks", AISTATS.
    """

    name: ClassVar[str] = "relu"
    family: ClassVar[str] = "activation"
    summary: ClassVar[str] = "ReLU in place of hidden activations that saturate"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "saturated-activation")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation a module or call. Raises NotApplicable where no hidden activation can be replaced."""
        return replace_activations(
            network, context, replacement=RELU, remedy=self.name, keep=(nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU)
        )
