"""The remedy leaky-relu: leaky rectified linear units in place of activations that saturate or die."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import ActivationForms, replace_activations
from unvanish.remedies.edits.method_rewriting import FunctionCall

LEAKY_RELU = ActivationForms(nn.LeakyReLU, FunctionCall("torch.nn.functional:leaky_relu"))


@final
class LeakyRelu(Remedy):
    """Replaces hidden activations by leaky ReLU, which passes on a hundredth of the gradient where ReLU passes none.

    Does: puts nn.LeakyReLU() in the place of every hidden activation module but the leaky relatives of ReLU, and
        F.leaky_relu(x) in that of calls such as torch.tanh(x) in `forward`. An activation of the output, such as the sigmoid
        before BCELoss, stays; so do gates (a result that multiplies another signal, seen where the forward pass can be traced)
        and whatever is inside recurrent, attention and transformer layers. A user's hooks on a replaced activation rest until
        the change is undone.
    Helps: a network of rectifiers whose units have died, or will at its learning rate; a deep network of sigmoid or tanh units,
        together with he-init.
    Harms: a unit that is mostly negative still learns a hundred times more slowly. Very deep plain networks need a steeper
        slope below zero than this one: see tailored-activation.
    Cost: none.
    References: Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic models"; He et al. 2015,
        arXiv 1502.01852.
    """

    name: ClassVar[str] = "leaky-relu"
    family: ClassVar[str] = "activation"
    summary: ClassVar[str] = "leaky ReLU in place of hidden activations that saturate or die"
    treats: ClassVar[tuple[str, ...]] = ("dead-units", "vanishing-gradient", "saturated-activation")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation a module or call. Raises NotApplicable where no hidden activation can be replaced."""
        return replace_activations(
            network, context, replacement=LEAKY_RELU, remedy=self.name, keep=(nn.LeakyReLU, nn.PReLU, nn.RReLU)
        )
