"""Every remedy that comes with unvanish passes the suite that remedies of others are held to."""

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
from unvanish.testing import PATIENTS, Patient, RemedyConformance
from unvanish.testing.invariants import Subject, examine
from unvanish.testing.networks import by_sgd, images, judged
from unvanish.testing.remedy_conformance import table

NO_LAYER = Patient(lambda: nn.Sequential(nn.Conv2d(1, 3, 6), nn.Flatten()), images, by_sgd, judged)

# A trial of hundreds of steps on each network takes its time: here, on a few networks; the table has them all.
SLOW = frozenset({"learning-rate"})
SOME = dict(list(PATIENTS.items())[::6])


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    """Torch's compiler wraps nn.Module.__init__ for good when it first compiles: before anything is watched."""
    torch.compile(nn.Linear(1, 1), backend="eager")(torch.zeros(1, 1))


def suite(remedy: Remedy) -> type[RemedyConformance]:
    """The suite of one remedy, on the networks that come with it."""
    members = {"__module__": __name__, "remedy": type(remedy), "networks": SOME if remedy.name in SLOW else PATIENTS}
    return new_class(f"Test{type(remedy).__name__}", (RemedyConformance,), exec_body=lambda body: body.update(members))


globals().update({kind.__name__: kind for kind in map(suite, built_in_catalogue().values())})


class TestZeroBias(RemedyConformance):
    """A remedy of somebody else: it acts on what has a Linear layer, and says why not on the rest."""

    remedy = samples.Sound
    networks: ClassVar = PATIENTS | {"no layer": NO_LAYER}


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


@pytest.mark.parametrize(("kind", "network", "said"), FLAWED, ids=[flaw[0].__name__ for flaw in FLAWED])
def test_a_broken_promise_is_told(kind: type[Remedy], network: str, said: str) -> None:
    found = examine(kind(), PATIENTS[network])
    assert said in "\n".join(found.faults)
    assert found.word == "broken"


def test_a_remedy_that_acts_nowhere_does_not_pass() -> None:
    suite = type("Suite", (RemedyConformance,), {"remedy": samples.Sound, "networks": {"no layer": NO_LAYER}})()
    with pytest.raises(AssertionError, match="it acts on none of them"):
        suite.test_it_acts_on_some_network()


def test_a_remedy_that_refuses_without_advice_does_not_pass() -> None:
    suite = type("Suite", (RemedyConformance,), {"remedy": samples.Helpless, "networks": {"mlp": PATIENTS["mlp"]}})()
    with pytest.raises(AssertionError, match="then what to do instead"):
        suite.test_its_refusals_say_what_to_do_instead()


def test_what_cannot_be_compiled_or_spread_is_told() -> None:
    program = (
        "import sample_remedies as samples\nfrom unvanish.testing.networks import PATIENTS\n"
        "from unvanish.testing.invariants import deploy\n"
        'print("\\n".join(deploy(samples.Branch(), {"mlp": PATIENTS["mlp"]})))'
    )
    # A process of its own: the compiler gives up on code that many tests before have had compiled anew, and runs it as it is.
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    faults = done.stdout
    assert "a treated network compiles to equal outputs" in faults
    assert "a treated network takes the same steps under DistributedDataParallel" in faults


def test_the_table_has_a_sign_for_each_network_then_faults_and_reasons() -> None:
    text = table({"zero-bias": samples.Sound(), "eager": samples.Eager()}, {"mlp": PATIENTS["mlp"], "no layer": NO_LAYER})
    lines = text.splitlines()
    assert [line.split() for line in lines[:4]] == [["mlp"], ["|no", "layer"], ["zero-bias", "+."], ["eager", "XX"]]
    assert any(line.startswith("eager, mlp: broken: a plan alters and draws nothing") for line in lines)
    assert "no layer: zero-bias: no Linear layer has a bias that is trained; choose another remedy" in lines


@pytest.mark.parametrize("kind", PATIENTS)
def test_the_networks_are_equal_for_equal_seeds_and_train_untreated(kind: str) -> None:
    one, other = Subject.of(PATIENTS[kind]), Subject.of(PATIENTS[kind])
    assert torch.equal(one.answer(), other.answer())
    assert [owned(each) for each in (one, other)] == [True, True]
    assert torch.isfinite(one.step())


def owned(subject: Subject) -> bool:
    """Whether the optimizer holds exactly what is trained, each parameter once."""
    held = [id(p) for group in subject.optimizer.param_groups for p in group["params"]]
    return sorted(held) == sorted(id(p) for p in subject.network.parameters() if p.requires_grad)
