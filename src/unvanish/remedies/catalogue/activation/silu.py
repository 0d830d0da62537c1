"""The remedy silu: sigmoid linear units (SiLU, swish) in place of activations that saturate or die."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import ActivationForms, replace_activations
from unvanish.remedies.edits.method_rewriting import FunctionCall

SILU = ActivationForms(nn.SiLU, FunctionCall("torch.nn.functional:silu"))


@final
class Silu(Remedy):
    """Replaces hidden activations by SiLU (swish), x times its own sigmoid: smooth, and alive on both sides of zero.

    Does: puts nn.SiLU() in the place of every hidden activation module but SiLU and its hard form, and F.silu(x) in that of
        calls such as torch.tanh(x) in `forward`. An activation of the output, such as the sigmoid before BCELoss, stays; so do
        gates (a result that multiplies another signal, seen where the forward pass can be traced) and whatever is inside
        recurrent, attention and transformer layers. A user's hooks on a replaced activation rest until the change is undone.
    Helps: deep networks of sigmoid or tanh units that lose their gradient in them, and rectifiers that die; the usual unit of
        modern convolutional networks.
    Harms: it passes on only about half of the signal near zero: a deep plain network at the default initialisation loses the
        gradient all the same (26 decades over 50 layers). Learned weights no longer fit.
    Cost: one sigmoid a unit; slower than ReLU.
    References: Elfwing, Uchibe and Doya 2017, arXiv 1702.03118; Ramachandran, Zoph and Le 2017, arXiv 1710.05941.
    """

    name: ClassVar[str] = "silu"
    family: ClassVar[str] = "activation"
    summary: ClassVar[str] = "SiLU in place of hidden activations that saturate or die"
    treats: ClassVar[tuple[str, ...]] = ("dead-units", "vanishing-gradient", "saturated-activation")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation a module or call. Raises NotApplicable where no hidden activation can be replaced."""
        return replace_activations(network, context, replacement=SILU, remedy=self.name, keep=(nn.SiLU, nn.Hardswish))
