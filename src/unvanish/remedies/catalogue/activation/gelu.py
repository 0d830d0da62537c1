"""The remedy gelu: Gaussian error linear units (GELU) in place of activations that saturate or die."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import ActivationForms, replace_activations
from unvanish.remedies.edits.method_rewriting import FunctionCall

GELU = ActivationForms(nn.GELU, FunctionCall("torch.nn.functional:gelu"))


@final
class Gelu(Remedy):
    """Replaces hidden activations by GELU: a ReLU with a rounded corner, which lets a little of the gradient through on the
    other side.

    Does: puts nn.GELU() in the place of every hidden activation module but GELU, and F.gelu(x) in that of calls such as
        torch.tanh(x) in `forward`. An activation of the output, such as the sigmoid before BCELoss, stays; so do gates (a
        result that multiplies another signal, seen where the forward pass can be traced) and whatever is inside recurrent,
        attention and transformer layers. A user's hooks on a replaced activation rest until the change is undone.
    Helps: deep networks of sigmoid or tanh units that lose their gradient in them, and rectifiers that die; the usual unit of
        transformers.
    Harms: at the initialisation that suits ReLU its signal still shrinks with depth, and theory calls its length map unstable:
        deep plain networks lose the gradient at the default initialisation (26 decades over 50 layers). Learned weights no
        longer fit.
    Cost: one error function a unit; slower than ReLU.
    References: Hendrycks and Gimpel 2016, arXiv 1606.08415.
    """

    name: ClassVar[str] = "gelu"
    family: ClassVar[str] = "activation"
    summary: ClassVar[str] = "GELU in place of hidden activations that saturate or die"
    treats: ClassVar[tuple[str, ...]] = ("dead-units", "vanishing-gradient", "saturated-activation")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation a module or call. Raises NotApplicable where no hidden activation can be replaced."""
        return replace_activations(network, context, replacement=GELU, remedy=self.name, keep=(nn.GELU,))
