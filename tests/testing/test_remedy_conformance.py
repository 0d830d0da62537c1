"""Tests of the conformance suite for remedies: every remedy of unvanish passes it, and each violation is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import new_class
from typing import ClassVar

import pytest
import sample_remedies as samples
import torch
from torch import nn

from unvanish.remedies import Remedy, built_in_catalogue
from unvanish.testing import SAMPLE_NETWORKS, RemedyConformance, SampleNetwork
from unvanish.testing.invariants import NetworkUnderTest, check_remedy
from unvanish.testing.networks import class_loss, draw_images, make_sgd
from unvanish.testing.remedy_conformance import format_table

NO_LAYER = SampleNetwork(lambda: nn.Sequential(nn.Conv2d(1, 3, 6), nn.Flatten()), draw_images, make_sgd, class_loss)

# A search over hundreds of steps is slow, and is tested on a few networks; `python -m unvanish.testing.remedy_conformance` has all.
SLOW_REMEDIES = frozenset({"learning-rate"})
FEW_NETWORKS = dict(list(SAMPLE_NETWORKS.items())[::6])


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    """Compiles once, since torch's compiler wraps nn.Module.__init__ for good at its first compilation."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


def suite(remedy: Remedy) -> type[RemedyConformance]:
    """The suite of one remedy, on the networks that come with it."""
    members = {
        "__module__": __name__,
        "remedy": type(remedy),
        "networks": FEW_NETWORKS if remedy.name in SLOW_REMEDIES else SAMPLE_NETWORKS,
    }
    return new_class(f"Test{type(remedy).__name__}", (RemedyConformance,), exec_body=lambda body: body.update(members))


globals().update({kind.__name__: kind for kind in map(suite, built_in_catalogue().values())})


class TestZeroBias(RemedyConformance):
    """A remedy of a plugin that acts on networks with a Linear layer and refuses the others."""

    remedy = samples.Sound
    networks: ClassVar = SAMPLE_NETWORKS | {"no layer": NO_LAYER}


FLAWED: tuple[tuple[type[Remedy], str, str], ...] = (
    (samples.Hasty, "mlp", "a plan alters and draws nothing: it altered tensors"),
    (samples.Eager, "mlp", "it drew random numbers before it was carried out"),
    (samples.Idle, "mlp", "it planned nothing"),
    (samples.Curt, "mlp", "a refusal begins with the remedy's name"),
    (samples.Crashing, "mlp", "it acts, or says why it cannot: KeyError: 'bias'"),
    (samples.Gambling, "mlp", "it drew from a generator of the program"),
    (samples.Orphaning, "mlp", "extra.weight is trained and stands in 0 groups of the optimizer"),
    (samples.Doubling, "mlp", "0.weight is trained and stands in 2 groups of the optimizer"),
    (samples.Exchanging, "mlp", "0.weight is another object of the same shape"),
    (samples.Thawing, "partly frozen", "requires_grad of 0.weight was False and is True"),
    (samples.Forgetting, "mlp", "the optimizer's state of 0.weight is lost"),
    (samples.Waking, "mlp", "the network is in training mode, and should not be"),
    (samples.Scribbling, "mlp", "the network got or lost the attribute seen"),
    (samples.Marking, "mlp", "0.weight got an attribute"),
    (samples.Widening, "mlp", "extra.weight is torch.float64 on cpu, as nothing in the network was"),
    (samples.Untying, "tied weights", "one.weight and two.weight were one parameter and are several now"),
    (samples.Exploding, "mlp", "a treated network trains: its loss is not finite"),
    (samples.Random, "mlp", "the same seed gives equal networks equal weights, in evaluation mode too: other values in 6.bias"),
    (samples.Unpicklable, "mlp", "torch.save and torch.load of the whole module give equal outputs"),
    (samples.Counting, "mlp", "training goes on equally: outputs differ"),
    (samples.Elsewhere, "mlp", "undo restores every bit, later changes first"),
    (samples.Twice, "mlp", "applying it twice works, or is refused and alters nothing: a refusal begins with"),
    (samples.Bare, "mlp", "without optimizer, inputs and loss it acts or says why it cannot: AttributeError"),
)


@pytest.mark.parametrize(("kind", "network", "message"), FLAWED, ids=[flaw[0].__name__ for flaw in FLAWED])
def test_each_violation_is_reported(kind: type[Remedy], network: str, message: str) -> None:
    result = check_remedy(kind(), SAMPLE_NETWORKS[network])
    assert message in "\n".join(result.violations)
    assert result.status == "broken"


def test_a_remedy_that_acts_on_no_network_fails() -> None:
    suite = type("Suite", (RemedyConformance,), {"remedy": samples.Sound, "networks": {"no layer": NO_LAYER}})()
    with pytest.raises(AssertionError, match="it acts on none of them"):
        suite.test_it_acts_on_some_network()


def test_a_remedy_that_refuses_without_advice_fails() -> None:
    suite = type("Suite", (RemedyConformance,), {"remedy": samples.Helpless, "networks": {"mlp": SAMPLE_NETWORKS["mlp"]}})()
    with pytest.raises(AssertionError, match="then what to do instead"):
        suite.test_its_refusals_give_advice()


def test_a_network_that_cannot_be_compiled_or_distributed_is_reported() -> None:
    program = (
        "import sample_remedies as samples\nfrom unvanish.testing.networks import SAMPLE_NETWORKS\n"
        "from unvanish.testing.invariants import check_compiled_and_distributed\n"
        'print("\\n".join(check_compiled_and_distributed(samples.Branch(), {"mlp": SAMPLE_NETWORKS["mlp"]})))'
    )
    # A process of its own: after many recompilations by other tests, the compiler falls back to running code uncompiled.
    process = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    violations = process.stdout
    assert "a treated network compiles to equal outputs" in violations
    assert "a treated network takes the same steps under DistributedDataParallel" in violations


def test_the_table_has_a_sign_for_each_network_then_violations_and_reasons() -> None:
    text = format_table(
        {"zero-bias": samples.Sound(), "eager": samples.Eager()}, {"mlp": SAMPLE_NETWORKS["mlp"], "no layer": NO_LAYER}
    )
    lines = text.splitlines()
    assert [line.split() for line in lines[:4]] == [["mlp"], ["|no", "layer"], ["zero-bias", "+."], ["eager", "XX"]]
    assert any(line.startswith("eager, mlp: broken: a plan alters and draws nothing") for line in lines)
    assert "no layer: zero-bias: no Linear layer has a bias that is trained; choose another remedy" in lines


@pytest.mark.parametrize("kind", SAMPLE_NETWORKS)
def test_a_sample_network_is_equal_each_time_it_is_built_and_trains(kind: str) -> None:
    one, other = NetworkUnderTest.build(SAMPLE_NETWORKS[kind]), NetworkUnderTest.build(SAMPLE_NETWORKS[kind])
    assert torch.equal(one.evaluate(), other.evaluate())
    assert [optimizer_owns_all(built) for built in (one, other)] == [True, True]
    assert torch.isfinite(one.train_step())


def optimizer_owns_all(built: NetworkUnderTest) -> bool:
    """Whether the optimizer has exactly the trained parameters, each once."""
    optimizer_ids = [id(p) for group in built.optimizer.param_groups for p in group["params"]]
    return sorted(optimizer_ids) == sorted(id(p) for p in built.network.parameters() if p.requires_grad)
